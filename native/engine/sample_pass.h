// One pass of the sampler: the layers over a packed batch, then a token drawn from each of some of its rows.
//
// On a backend that can repeat recorded ops (Backend::replay), a pass that only decodes is recorded: its inputs lie at
// fixed addresses, and rows whose results are not used pad it to one of a few shapes. Rows do not depend on each other
// (row invariance, ops/ops.h), so the padding changes no bit.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "engine/forward.h"
#include "engine/head_input.h"
#include "engine/sampled_activations.h"

namespace tinylora {

/// A token to draw from the distribution that row `row` of the batch predicts.
struct Draw {
  std::int32_t row;
  SampleRow how;
};

struct Drawn {
  std::int32_t token;
  float logprob;  // NaN where the row's logits are not finite: then there is no token
  float entropy;
};

class SamplePass {
 public:
  /// Takes memory for at most `rows` rows and `draws` draws a pass, and for a cache of `pages` pages.
  SamplePass(const Model& model, const Adapters& adapters, int rows, int draws, int pages);

  /// `keep`: what is to keep the rows' activations, or none.
  std::vector<Drawn> run(const Batch& batch, const std::vector<Draw>& draws, const SampledActivations* keep,
                         const std::atomic<bool>& abort);
  /// Takes memory for the activations of every position of the cache. To be called when what was made before is gone.
  std::shared_ptr<const SampledActivations> make_sampled_activations(bool gradient_checkpointing);
  const KvCache& cache() const { return cache_; }
  /// Zeros pages that may hold NaN or infinity. A backward pass over what was sampled multiplies what lies in the place
  /// of a completion's last token, which is not stored, by 0.
  void clear_pages(const std::vector<std::int32_t>& pages);

  std::size_t cache_bytes() const { return cache_.bytes(); }
  std::size_t activation_bytes() const;

 private:
  /// What a recording depends on: rows, width of the page table, most pages that neighbouring rows share (rounded down
  /// to a power of two; backends choose kernels by it), rows that top_k, top_p or min_p cut.
  using Shape = std::tuple<std::size_t, std::size_t, unsigned, int>;

  void lay_out(Arena& arena);
  void repeat(Batch batch, std::vector<Draw> draws, std::size_t rows, const SampledActivations* keep,
              const std::atomic<bool>& abort);
  void upload_draws(const std::vector<Draw>& draws);
  void compute(int draws, int cut, const SampledActivations* keep, const std::atomic<bool>& abort);
  std::vector<Drawn> download(std::size_t count, std::size_t padded);

  const Model& model_;
  const Adapters& adapters_;
  int rows_;  // at most
  int most_draws_;
  KvCache cache_;  // where passes are recorded, with a spare page at the end for the rows of the padding
  ActivationsPtr activations_;
  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;
  DeviceBatch batch_;

  SampleRow* how_ = nullptr;  // [n]
  HeadInput input_;
  std::int32_t* drawn_ = nullptr;  // [n] tokens, [n] log-probabilities, [n] entropies

  std::map<Shape, std::shared_ptr<void>> recordings_;
  // Memory of the batch and of what is kept, versions of the basis and of the weights.
  std::tuple<const void*, const void*, int, int> recorded_for_{};
};

}  // namespace tinylora
