#include "engine/sample_pages.h"

#include <algorithm>

namespace tinylora {

SamplePages::SamplePages(const Adapters& adapters, int max_sequences, int pages)
    : adapters_(adapters), max_sequences_(max_sequences), pages_(pages) {}

void SamplePages::admit(std::list<SampleGroup>& groups) {
  for (SampleGroup& group : groups) {
    for (Completion& completion : group.completions) {
      if (completion.state != Completion::waiting) continue;
      const int own = group.own_pages(group.request.max_completion_length);
      if (active_ == max_sequences_ || !make_room(group, own, groups)) return;
      if (!group.started()) {
        group.keeps = can_keep(group.request);
        group.prompt_pages = prefixes_.take(group.request.slot, group.request.prompt);
      }
      completion.pages.reserve(static_cast<std::size_t>(own));
      pool_.promise(completion.promised = own);
      completion.state = Completion::starting;
      ++active_;
    }
  }
}

/// For a completion with `own` pages. When nothing is active, only pages of the first group's prompt are in use, but
/// for those that are kept, so its next completion finds room.
bool SamplePages::make_room(const SampleGroup& group, int own, std::list<SampleGroup>& groups) {
  const auto missing = [&] {
    return own + (group.started() ? 0 : prefixes_.missing(group.request.slot, group.request.prompt));
  };
  while (missing() > pool_.available()) {
    if (!sampled_.give_up_oldest(groups)) return false;
  }
  return true;
}

/// Whether all that a request shares with those before it is kept, too, or will be: by the passes from now on.
bool SamplePages::can_keep(const SampleRequest& request) const {
  return request.keep_activations && sampled_.fits(adapters_, request.gradient_checkpointing) &&
         prefixes_.kept(request.slot, request.prompt);
}

void SamplePages::take(std::list<SampleGroup>& groups, int drafts) {
  for (SampleGroup& group : groups) {
    for (Completion& completion : group.completions) {
      if (completion.state == Completion::waiting || completion.state == Completion::ended) continue;
      const auto drawn = static_cast<int>(completion.tokens.size());
      const int stored = drawn == 0 ? 1 : drawn + 1 + group.most_drafts(drawn, drafts);
      const auto needed = static_cast<std::size_t>(group.own_pages(stored));
      for (; completion.pages.size() < needed; --completion.promised) {
        completion.pages.push_back(pool_.take_promised());
      }
    }
  }
}

void SamplePages::release(SampleGroup& group, Completion& completion) {
  if (completion.state == Completion::ended) return;
  if (completion.state != Completion::waiting) --active_;
  if (!completion.kept) pool_.give_back(completion.pages);
  pool_.forgo(completion.promised);
  completion.state = Completion::ended;
  ++group.ended;
  if (group.done() && !group.holds()) prefixes_.give_back(group.prompt_pages);
}

void SamplePages::discard(SampleGroup& group) {
  sampled_.give_up(group);
  spoil_prompt(group);
  for (Completion& completion : group.completions) {
    spoil(completion.pages);
    release(group, completion);
  }
}

void SamplePages::spoil_prompt(const SampleGroup& group) { spoil(prefixes_.unshared(group.prompt_pages)); }

void SamplePages::spoil(const std::vector<std::int32_t>& pages) {
  spoiled_.insert(spoiled_.end(), pages.begin(), pages.end());
}

void SamplePages::clear_spoiled(SamplePass& pass) {
  pass.clear_pages(spoiled_);
  spoiled_.clear();
}

}  // namespace tinylora
