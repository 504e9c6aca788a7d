// Requests wait in the order they came. Each step:
//   1. cancelled requests end;
//   2. the first waiting completions get a place and the promise of pages for all tokens that they may have, as long as
//      both last; prompts with a common beginning share the pages of it; each takes the pages that it needs by now;
//   3. one pass runs the last token of every running completion, with drafts behind it where few run (draft.h), and a
//      piece of the prompts of the starting ones;
//   4. a token is drawn for each completion whose last row was in the pass, and one more for each draft that the draw
//      before it agreed with; completions that have reached their end leave.
// A token depends only on (weights, v, prompt, options, seed, sequence): a row does not depend on the other rows of its
// batch (row invariance, ops.h), and the draw is a function of (seed, sequence, position).
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <list>

#include "core/error.h"
#include "engine/sample_group.h"
#include "engine/sample_inbox.h"
#include "engine/sample_pages.h"
#include "engine/sample_pass.h"
#include "engine/sample_plan.h"

namespace tinylora {
namespace {

constexpr int kMostDrafts = 3;  // for each completion

}  // namespace

struct Sampler::State {
  Model& model;
  Adapters& adapters;
  int max_sequences;
  TokenBytes token_bytes;
  SamplePages pages;

  std::unique_ptr<SamplePass> pass{};
  std::list<SampleGroup> groups{};  // unfinished, in the order they came

  // Shared with the thread that submits.
  SampleInbox inbox{};
  std::atomic<std::size_t> cache_bytes = 0, activation_bytes = 0;

  void receive(std::vector<SampleEvent>& events);
  void prepare();
  void prepare_keeping();
  int drafts() const;
  void commit(const SamplePlan& plan, const std::vector<Drawn>& drawn, bool kept, std::vector<SampleEvent>& events);
  void accept(SampleGroup& group, int index, Drawn drawn, std::vector<SampleEvent>& events);
  void fail_group(SampleGroup& group, const std::string& code, const std::string& message,
                  std::vector<SampleEvent>& events);
  void end(SampleGroup& group, int index, const char* reason, std::vector<SampleEvent>& events);
  void end_group(SampleGroup& group, std::vector<SampleEvent>& events);
  void remove_done();
};

Sampler::Sampler(Model& model, Adapters& adapters, int max_sequences, int cache_tokens, TokenBytes token_bytes) {
  check(max_sequences >= 1 && max_sequences <= 1 << 16, "ERR_ARGUMENT", "sampler: sequences: expected 1 to ", 1 << 16,
        ", found ", max_sequences);
  check(cache_tokens >= kPageSize && cache_tokens <= 1 << 28, "ERR_ARGUMENT", "sampler: tokens of the cache: expected ",
        kPageSize, " to ", 1 << 28, ", found ", cache_tokens);
  const auto& offsets = token_bytes.offsets;
  const bool sorted = std::is_sorted(offsets.begin(), offsets.end());
  check(sorted && (offsets.empty() || offsets.back() <= token_bytes.bytes.size()), "ERR_ARGUMENT",
        "sampler: token bytes: expected ascending offsets up to ", token_bytes.bytes.size());
  const int pages = (cache_tokens + kPageSize - 1) / kPageSize;
  state_.reset(new State{model, adapters, max_sequences, std::move(token_bytes), {adapters, max_sequences, pages}});
}

Sampler::~Sampler() = default;

void Sampler::submit(SampleRequest request) {
  State& state = *state_;
  check_sample_request(request, state.model.config, state.adapters.slots(), state.pages.count(),
                       !state.token_bytes.offsets.empty());
  // To be moved from list to list, for which no memory is needed that might be missing.
  std::list<SampleGroup> entry(1);
  SampleGroup& group = entry.front();
  group.completions.resize(static_cast<std::size_t>(request.num_generations));
  group.request = std::move(request);
  state.inbox.put(entry);
}

void Sampler::cancel(std::int64_t id) { state_->inbox.cancel(id); }

bool Sampler::idle() const { return state_->inbox.idle(); }

bool Sampler::busy() const { return state_->inbox.busy(); }

bool Sampler::uses(int slot) const { return state_->inbox.uses(slot); }

const SampledSequences& Sampler::sampled() const { return state_->pages.sampled(); }

std::size_t Sampler::cache_bytes() const { return state_->cache_bytes; }

std::size_t Sampler::activation_bytes() const { return state_->activation_bytes; }

std::vector<SampleEvent> Sampler::step(const std::atomic<bool>& abort) {
  State& state = *state_;
  std::vector<SampleEvent> events;
  state.receive(events);
  if (!events.empty() || state.groups.empty()) return events;  // so that an exception below loses no event
  SamplePages& pages = state.pages;
  state.prepare();
  pages.sampled().give_up_stale(state.adapters);
  state.prepare_keeping();
  state.activation_bytes = state.pass->activation_bytes() + pages.sampled().bytes();
  pages.clear_spoiled(*state.pass);
  pages.admit(state.groups);
  const int drafts = state.drafts();
  pages.take(state.groups, drafts);
  const SamplePlan plan = plan_pass(state.groups, pages.prefixes(), drafts);
  const bool keeps = std::ranges::any_of(state.groups, &SampleGroup::keeps);
  const SampledActivations* keep = keeps ? pages.sampled().activations() : nullptr;
  const std::vector<Drawn> drawn = state.pass->run(plan.batch, plan.draws, keep, abort);
  state.commit(plan, drawn, keeps, events);
  return events;
}

std::vector<SampleEvent> Sampler::end_cancelled() {
  std::vector<SampleEvent> events;
  state_->receive(events);
  return events;
}

std::vector<SampleEvent> Sampler::end_all() {
  State& state = *state_;
  std::vector<SampleEvent> events;
  state.receive(events);
  for (SampleGroup& group : state.groups) state.end_group(group, events);
  state.remove_done();
  return events;
}

std::vector<SampleEvent> Sampler::fail_all(const std::string& code, const std::string& message) {
  State& state = *state_;
  std::vector<SampleEvent> events;
  state.receive(events);
  for (SampleGroup& group : state.groups) state.fail_group(group, code, message, events);
  state.remove_done();
  return events;
}

/// Takes over what was submitted and ends what was cancelled.
void Sampler::State::receive(std::vector<SampleEvent>& events) {
  for (const std::int64_t id : inbox.take(groups, adapters)) {
    const auto found =
        std::find_if(groups.begin(), groups.end(), [&](const SampleGroup& group) { return group.request.id == id; });
    if (found != groups.end()) end_group(*found, events);
  }
  remove_done();
}

void Sampler::State::prepare() {
  if (pass != nullptr) return;
  const int most = max_sequences + model.backend->cheap_rows() - 1;  // completions, and drafts
  pass = std::make_unique<SamplePass>(model, adapters, most + kPrefillRows, most, pages.count());
  cache_bytes = pass->cache_bytes();
}

/// Memory for what the first request that asks for it wants kept, before anything is computed that would be missing.
void Sampler::State::prepare_keeping() {
  SampledSequences& sampled = pages.sampled();
  const auto first =
      std::ranges::find_if(groups, [](const SampleGroup& group) { return group.request.keep_activations; });
  if (first == groups.end() || sampled.fits(adapters, first->request.gradient_checkpointing)) return;
  if (sampled.activations() && std::ranges::any_of(groups, &SampleGroup::started)) return;
  sampled.lie_nowhere();  // before the new memory is asked for
  sampled.lie_in(pass->make_sampled_activations(first->request.gradient_checkpointing), pass->cache());
}

/// Drafts for each running completion: as many rows as cost the backend hardly more than the completions alone.
int Sampler::State::drafts() const {
  int running = 0;
  for (const SampleGroup& group : groups) {
    running += static_cast<int>(std::ranges::count(group.completions, Completion::running, &Completion::state));
  }
  return running == 0 ? 0 : std::clamp(model.backend->cheap_rows() / running - 1, 0, kMostDrafts);
}

void Sampler::State::commit(const SamplePlan& plan, const std::vector<Drawn>& drawn, bool kept,
                            std::vector<SampleEvent>& events) {
  for (const std::int32_t page : plan.prompt_pages) pages.prefixes().set_computed(page, kept);
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const SamplePlan::Target& target = plan.targets[i];
    const Completion& completion = target.group->completions[static_cast<std::size_t>(target.completion)];
    if (completion.state == Completion::ended) continue;  // by the draw before, or its group has failed
    const bool agreed = completion.tokens.size() == target.tokens &&
                        (completion.tokens.empty() || completion.tokens.back() == target.last);
    if (agreed) accept(*target.group, target.completion, drawn[i], events);
  }
  remove_done();
}

void Sampler::State::accept(SampleGroup& group, int index, Drawn drawn, std::vector<SampleEvent>& events) {
  const SampleRequest& request = group.request;
  if (std::isnan(drawn.logprob)) {
    const std::string name = "request " + std::to_string(request.id);
    return fail_group(group, "ERR_NUMERIC", name + ": expected finite logits, found NaN or infinity", events);
  }
  Completion& completion = group.completions[static_cast<std::size_t>(index)];
  completion.state = Completion::running;
  completion.tokens.push_back(drawn.token);
  completion.logprobs.push_back(drawn.logprob);
  completion.entropies.push_back(drawn.entropy);
  if (request.stream) {
    events.push_back({.type = SampleEvent::tokens,
                      .id = request.id,
                      .completion = index,
                      .token_ids = {drawn.token},
                      .logprobs = {drawn.logprob},
                      .entropies = {},
                      .reason = {},
                      .code = {}});
  }
  const bool stop_token =
      std::find(request.stop_tokens.begin(), request.stop_tokens.end(), drawn.token) != request.stop_tokens.end();
  if (completion.stop.add(token_bytes.of(drawn.token), request.stop_strings) || stop_token) {
    end(group, index, "stop", events);
  } else if (static_cast<int>(completion.tokens.size()) == request.max_completion_length) {
    end(group, index, "length", events);
  }
}

/// The whole request ends.
void Sampler::State::fail_group(SampleGroup& group, const std::string& code, const std::string& message,
                                std::vector<SampleEvent>& events) {
  pages.discard(group);
  events.push_back({.type = SampleEvent::failed,
                    .id = group.request.id,
                    .token_ids = {},
                    .logprobs = {},
                    .entropies = {},
                    .reason = message,
                    .code = code});
}

void Sampler::State::end(SampleGroup& group, int index, const char* reason, std::vector<SampleEvent>& events) {
  Completion& completion = group.completions[static_cast<std::size_t>(index)];
  completion.kept = group.keeps && std::string_view(reason) != "aborted";
  pages.release(group, completion);
  events.push_back({.type = SampleEvent::finished,
                    .id = group.request.id,
                    .completion = index,
                    .token_ids = completion.kept ? completion.tokens : std::move(completion.tokens),
                    .logprobs = std::move(completion.logprobs),
                    .entropies = std::move(completion.entropies),
                    .reason = reason,
                    .code = {},
                    .version = group.version});
}

void Sampler::State::end_group(SampleGroup& group, std::vector<SampleEvent>& events) {
  // Before the first draw nothing has shown that the keys and values of these pages are finite.
  const auto drawn = [](const Completion& completion) { return !completion.tokens.empty(); };
  if (std::ranges::none_of(group.completions, drawn)) pages.spoil_prompt(group);
  for (int index = 0; index < static_cast<int>(group.completions.size()); ++index) {
    if (group.completions[static_cast<std::size_t>(index)].state == Completion::ended) continue;
    end(group, index, "aborted", events);
  }
}

void Sampler::State::remove_done() {
  for (auto group = groups.begin(); group != groups.end();) {
    const auto next = std::next(group);
    if (group->done()) {
      inbox.forget(group->request.id);
      if (group->holds()) {
        pages.sampled().add(groups, group);
      } else {
        groups.erase(group);
      }
    }
    group = next;
  }
}

}  // namespace tinylora
