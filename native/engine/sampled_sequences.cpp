#include "engine/sampled_sequences.h"

#include <algorithm>

namespace tinylora {
namespace {

using Tokens = std::span<const std::int32_t>;

Tokens tokens_of(const ScoreBatch& batch, std::size_t sequence) {
  const auto first = static_cast<std::size_t>(batch.starts[sequence]);
  return Tokens(batch.tokens).subspan(first, static_cast<std::size_t>(batch.starts[sequence + 1]) - first);
}

bool same(Tokens a, Tokens b) { return std::ranges::equal(a, b); }

/// Pages of a completion's sequence from position 0.
std::vector<std::int32_t> pages_of(const SampleGroup& group, const Completion& completion) {
  std::vector<std::int32_t> pages = group.prompt_pages;
  pages.insert(pages.end(), completion.pages.begin(), completion.pages.end());
  return pages;
}

const Completion* find_completion(const SampleGroup& group, Tokens tokens) {
  const auto found = std::ranges::find_if(group.completions, [&](const Completion& completion) {
    return completion.kept && same(completion.tokens, tokens);
  });
  return found == group.completions.end() ? nullptr : &*found;
}

/// The first completion: its first page has the rows of the prompt that fill no page.
const Completion* find_prompt_end(const SampleGroup& group) {
  return group.completions.front().kept ? &group.completions.front() : nullptr;
}

/// The rows at positions first .. end - 1 of a sequence in `pages`, which become pages `to`; those from `kept` on are
/// nowhere.
void add_places(SampledPlaces& places, const std::vector<std::int32_t>& pages, int first, int kept, int end,
                std::int32_t nowhere, const std::vector<std::int32_t>& to) {
  for (int position = first; position < end; ++position) {
    const auto page = static_cast<std::size_t>(position / kPageSize);
    places.slots.push_back(position < kept ? pages[page] * kPageSize + position % kPageSize : nowhere);
  }
  for (int page = first / kPageSize; page * kPageSize < kept; ++page) {
    places.from_pages.push_back(pages[static_cast<std::size_t>(page)]);
    places.to_pages.push_back(to[static_cast<std::size_t>(page)]);
  }
}

}  // namespace

void SampledSequences::lie_in(std::shared_ptr<const SampledActivations> activations, const KvCache& cache) {
  activations_ = std::move(activations);
  cache_ = &cache;
}

void SampledSequences::lie_nowhere() {
  for (SampleGroup& group : groups_) give_up(group);
  groups_.clear();
  activations_.reset();
}

void SampledSequences::add(std::list<SampleGroup>& groups, std::list<SampleGroup>::iterator group) {
  groups_.splice(groups_.end(), groups, group);
}

void SampledSequences::give_up(SampleGroup& group) {
  for (Completion& completion : group.completions) {
    if (completion.kept) pool_.give_back(completion.pages);
    completion.kept = false;
  }
  if (group.done()) prefixes_.give_back(group.prompt_pages);
  ++losses_;
}

bool SampledSequences::give_up_oldest(std::list<SampleGroup>& unfinished) {
  if (!groups_.empty()) {
    give_up(groups_.front());
    groups_.pop_front();
    return true;
  }
  const auto oldest = std::ranges::find_if(unfinished, &SampleGroup::holds);
  if (oldest == unfinished.end()) return false;
  give_up(*oldest);
  return true;
}

void SampledSequences::give_up_stale(const Adapters& adapters) {
  if (activations_ && !activations_->of_basis(adapters)) lie_nowhere();
  std::erase_if(groups_, [&](SampleGroup& group) {
    const bool stale = !group.current(adapters);
    if (stale) give_up(group);
    return stale;
  });
}

/// Of the first group with this prompt that has the rows: those of `completion`, or else those of the prompt.
std::optional<std::vector<std::int32_t>> SampledSequences::find_pages(const Adapters& adapters, int slot, Tokens prompt,
                                                                      std::optional<Tokens> completion) const {
  for (const SampleGroup& group : groups_) {
    if (group.request.slot != slot || !group.current(adapters) || !same(group.request.prompt, prompt)) continue;
    const Completion* found = completion ? find_completion(group, *completion) : find_prompt_end(group);
    if (found) return pages_of(group, *found);
  }
  return std::nullopt;
}

std::optional<SampledRows> SampledSequences::find(const Model& model, const Adapters& adapters, const ScoreBatch& batch,
                                                  const PackedScore& packed) const {
  if (groups_.empty() || !fits(adapters, batch.gradient_checkpointing)) return std::nullopt;
  SampledPlaces places;
  for (std::size_t sequence = 0; sequence < batch.parents.size(); ++sequence) {
    const std::int32_t parent = batch.parents[sequence];
    const Tokens tokens = tokens_of(batch, sequence);
    const bool prompt = parent < 0;
    const Tokens before = prompt ? Tokens() : tokens_of(batch, static_cast<std::size_t>(parent));
    const int slot = batch.slots[sequence];
    const auto pages =
        prompt ? find_pages(adapters, slot, tokens, std::nullopt) : find_pages(adapters, slot, before, tokens);
    if (!pages) return std::nullopt;
    const auto first = static_cast<int>(before.size());
    const int end = first + static_cast<int>(tokens.size());
    // The last token of a completion did not go through the model. Nothing reads its row, and its gradient is 0.
    add_places(places, *pages, first, prompt ? end : end - 1, end, activations_->empty_slot(),
               packed.batch.span_pages[sequence]);
  }
  return SampledRows(*model.backend, activations_, *cache_, places);
}

}  // namespace tinylora
