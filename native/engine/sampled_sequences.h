// Completions that have been sampled and are still in the sampler's cache, with what the layers left of them.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/page_pool.h"
#include "engine/prefix_pages.h"
#include "engine/sample_group.h"
#include "engine/sampled_activations.h"
#include "engine/score_batch.h"

namespace tinylora {

/// The sampler fills it, a training pass looks up what it is to compute. The adapter of a slot, its version and the
/// tokens say which completion is which, so nobody has to name one.
class SampledSequences {
 public:
  SampledSequences(PagePool& pool, PrefixPages& prefixes) : pool_(pool), prefixes_(prefixes) {}

  // For the sampler:

  /// Where the rows of sequences lie from now on.
  void lie_in(std::shared_ptr<const SampledActivations> activations, const KvCache& cache);
  /// Gives up all that is here, and the memory.
  void lie_nowhere();
  const SampledActivations* activations() const { return activations_.get(); }
  std::size_t bytes() const { return activations_ ? activations_->bytes() : 0; }
  /// Whether sequences lie in memory of this kind, and of the present basis.
  bool fits(const Adapters& adapters, bool gradient_checkpointing) const {
    return activations_ && activations_->of_basis(adapters) &&
           activations_->gradient_checkpointing() == gradient_checkpointing;
  }
  /// Moves a group here, all of whose completions have ended.
  void add(std::list<SampleGroup>& groups, std::list<SampleGroup>::iterator group);
  /// Gives back the pages of completions of the group that have ended.
  void give_up(SampleGroup& group);
  /// Of the oldest group that has some, here or else among the unfinished; false where none has.
  bool give_up_oldest(std::list<SampleGroup>& unfinished);
  /// Of those that would not be sampled alike now; all and the memory where there is another basis.
  void give_up_stale(const Adapters& adapters);

  // For a training pass:

  /// All rows of the batch, if every sequence of it is here: as packed by pack_score_batch.
  std::optional<SampledRows> find(const Model& model, const Adapters& adapters, const ScoreBatch& batch,
                                  const PackedScore& packed) const;
  /// Unchanged as long as all that was found is still there.
  std::int64_t losses() const { return losses_; }

 private:
  std::optional<std::vector<std::int32_t>> find_pages(const Adapters& adapters, int slot,
                                                      std::span<const std::int32_t> prompt,
                                                      std::optional<std::span<const std::int32_t>> completion) const;

  PagePool& pool_;
  PrefixPages& prefixes_;
  std::shared_ptr<const SampledActivations> activations_;
  const KvCache* cache_ = nullptr;
  std::list<SampleGroup> groups_;
  std::int64_t losses_ = 0;
};

}  // namespace tinylora
