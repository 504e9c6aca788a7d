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
#include "engine/page_pool.h"
#include "engine/prefix_pages.h"
#include "engine/sample_group.h"
#include "engine/sample_inbox.h"
#include "engine/sample_pass.h"
#include "engine/sample_plan.h"
#include "engine/sampled_sequences.h"

namespace tinylora {
namespace {

constexpr int kMostDrafts = 3;  // for each completion

}  // namespace

struct Sampler::State {
  Model& model;
  Adapters& adapters;
  int max_sequences;
  int pages;
  TokenBytes token_bytes;

  PagePool pool{pages};
  PrefixPages prefixes{pool, pages};
  std::unique_ptr<SamplePass> pass{};
  std::list<SampleGroup> groups{};  // unfinished, in the order they came
  int active = 0;                   // number of starting and running completions
  SampledSequences sampled{pool, prefixes};
  std::vector<std::int32_t> spoiled{};  // pages that may hold NaN: zeroed before the next pass

  // Shared with the thread that submits.
  SampleInbox inbox{};
  std::atomic<std::size_t> cache_bytes = 0, activation_bytes = 0;

  void receive(std::vector<SampleEvent>& events);
  void prepare();
  void prepare_keeping();
  void admit();
  bool can_keep(const SampleRequest& request) const;
  int drafts() const;
  void take_pages(int drafts);
  void commit(const SamplePlan& plan, const std::vector<Drawn>& drawn, std::vector<SampleEvent>& events);
  void accept(SampleGroup& group, int index, Drawn drawn, std::vector<SampleEvent>& events);
  void fail_group(SampleGroup& group, const std::string& code, const std::string& message,
                  std::vector<SampleEvent>& events);
  void end(SampleGroup& group, int index, const char* reason, std::vector<SampleEvent>& events);
  void end_group(SampleGroup& group, std::vector<SampleEvent>& events);
  void release(SampleGroup& group, Completion& completion);
  void spoil(const std::vector<std::int32_t>& some);
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
  state_.reset(
      new State{model, adapters, max_sequences, (cache_tokens + kPageSize - 1) / kPageSize, std::move(token_bytes)});
}

Sampler::~Sampler() = default;

void Sampler::submit(SampleRequest request) {
  State& state = *state_;
  check_sample_request(request, state.model.config, state.adapters.slots(), state.pages,
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

const SampledSequences& Sampler::sampled() const { return state_->sampled; }

std::size_t Sampler::cache_bytes() const { return state_->cache_bytes; }

std::size_t Sampler::activation_bytes() const { return state_->activation_bytes; }

std::vector<SampleEvent> Sampler::step(const std::atomic<bool>& abort) {
  State& state = *state_;
  std::vector<SampleEvent> events;
  state.receive(events);
  if (!events.empty() || state.groups.empty()) return events;  // so that an exception below loses no event
  state.prepare();
  state.sampled.give_up_stale(state.adapters);
  state.prepare_keeping();
  state.activation_bytes = state.pass->activation_bytes() + state.sampled.bytes();
  state.pass->clear_pages(state.spoiled);
  state.spoiled.clear();
  state.admit();
  const int drafts = state.drafts();
  state.take_pages(drafts);
  const SamplePlan plan = plan_pass(state.groups, state.prefixes, drafts);
  const bool keeps = std::ranges::any_of(state.groups, &SampleGroup::keeps);
  const SampledActivations* keep = keeps ? state.sampled.activations() : nullptr;
  const std::vector<Drawn> drawn = state.pass->run(plan.batch, plan.draws, keep, abort);
  state.commit(plan, drawn, events);
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
  pass = std::make_unique<SamplePass>(model, adapters, most + kPrefillRows, most, pages);
  cache_bytes = pass->cache_bytes();
}

/// Memory for what the first request that asks for it wants kept, before anything is computed that would be missing.
void Sampler::State::prepare_keeping() {
  const auto first =
      std::ranges::find_if(groups, [](const SampleGroup& group) { return group.request.keep_activations; });
  if (first == groups.end() || sampled.fits(adapters, first->request.gradient_checkpointing)) return;
  if (std::ranges::any_of(groups, &SampleGroup::started)) return;
  sampled.lie_nowhere();  // before the new memory is asked for
  sampled.lie_in(pass->make_sampled_activations(first->request.gradient_checkpointing), pass->cache());
}

/// In strict order: no request may overtake one that does not fit, which could then wait for ever. When nothing is
/// active, only pages of the first group's prompt are in use, but for those that are kept, so its next completion fits.
void Sampler::State::admit() {
  for (SampleGroup& group : groups) {
    for (Completion& completion : group.completions) {
      if (completion.state != Completion::waiting) continue;
      const bool first = !group.started();
      const SampleRequest& request = group.request;
      const int own = group.own_pages(request.max_completion_length);
      const auto fits = [&] {
        return own + (first ? prefixes.missing(request.slot, request.prompt) : 0) <= pool.available();
      };
      if (active == max_sequences) return;
      while (!fits()) {
        if (!sampled.give_up_oldest(groups)) return;
      }
      if (first) {
        group.keeps = can_keep(request);
        group.prompt_pages = prefixes.take(request.slot, request.prompt);
      }
      completion.pages.reserve(static_cast<std::size_t>(own));
      pool.promise(completion.promised = own);
      completion.state = Completion::starting;
      ++active;
    }
  }
}

/// Whether all that a request may share with those before it is kept as well.
bool Sampler::State::can_keep(const SampleRequest& request) const {
  return request.keep_activations && sampled.fits(adapters, request.gradient_checkpointing) &&
         std::ranges::none_of(groups, [](const SampleGroup& group) { return group.started() && !group.keeps; });
}

/// Drafts for each running completion: as many rows as cost the backend hardly more than the completions alone.
int Sampler::State::drafts() const {
  int running = 0;
  for (const SampleGroup& group : groups) {
    running += static_cast<int>(std::ranges::count(group.completions, Completion::running, &Completion::state));
  }
  return running == 0 ? 0 : std::clamp(model.backend->cheap_rows() / running - 1, 0, kMostDrafts);
}

/// For what the next pass stores.
void Sampler::State::take_pages(int drafts) {
  for (SampleGroup& group : groups) {
    for (Completion& completion : group.completions) {
      if (completion.state == Completion::waiting || completion.state == Completion::ended) continue;
      const auto drawn = static_cast<int>(completion.tokens.size());
      const int stored = drawn == 0 ? 1 : drawn + 1 + group.most_drafts(drawn, drafts);
      const auto needed = static_cast<std::size_t>(group.own_pages(stored));
      for (; completion.pages.size() < needed; --completion.promised) completion.pages.push_back(pool.take_promised());
    }
  }
}

void Sampler::State::commit(const SamplePlan& plan, const std::vector<Drawn>& drawn, std::vector<SampleEvent>& events) {
  for (const std::int32_t page : plan.prompt_pages) prefixes.set_computed(page);
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

/// The whole request ends. Nobody knows what the pages of its completions hold.
void Sampler::State::fail_group(SampleGroup& group, const std::string& code, const std::string& message,
                                std::vector<SampleEvent>& events) {
  sampled.give_up(group);
  group.keeps = false;
  spoil(prefixes.unshared(group.prompt_pages));
  for (Completion& completion : group.completions) {
    spoil(completion.pages);
    release(group, completion);
  }
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
  release(group, completion);
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
  if (std::ranges::none_of(group.completions, drawn)) spoil(prefixes.unshared(group.prompt_pages));
  for (int index = 0; index < static_cast<int>(group.completions.size()); ++index) {
    if (group.completions[static_cast<std::size_t>(index)].state == Completion::ended) continue;
    end(group, index, "aborted", events);
  }
}

void Sampler::State::release(SampleGroup& group, Completion& completion) {
  if (completion.state == Completion::ended) return;
  if (completion.state != Completion::waiting) --active;
  if (!completion.kept) pool.give_back(completion.pages);
  pool.forgo(completion.promised);
  completion.state = Completion::ended;
  ++group.ended;
  if (group.done() && !group.holds()) prefixes.give_back(group.prompt_pages);
}

void Sampler::State::spoil(const std::vector<std::int32_t>& some) {
  spoiled.insert(spoiled.end(), some.begin(), some.end());
}

void Sampler::State::remove_done() {
  for (auto group = groups.begin(); group != groups.end();) {
    const auto next = std::next(group);
    if (group->done()) {
      inbox.forget(group->request.id);
      if (group->holds()) {
        sampled.add(groups, group);
      } else {
        groups.erase(group);
      }
    }
    group = next;
  }
}

}  // namespace tinylora
