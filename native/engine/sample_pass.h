// One pass of the sampler: the layers over a packed batch, then a token drawn from each of some of its rows.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/arena.h"
#include "engine/forward.h"

namespace tinylora {

/// A token to draw from what follows row `row` of the batch.
struct Draw {
  std::int32_t row;
  SampleRow how;
};

struct Drawn {
  std::int32_t token;
  float logprob;  // NaN: the row's logits are not finite, and there is no token
};

class SamplePass {
 public:
  /// Room for `rows` rows and `draws` draws; a cache of `pages`.
  SamplePass(const Model& model, const Adapters& adapters, int rows, int draws, int pages);

  std::vector<Drawn> run(const Batch& batch, const std::vector<Draw>& draws, const std::atomic<bool>& abort);
  /// Zeros pages that may hold NaN or infinity: attention multiplies what it masks by 0.
  void clear_pages(const std::vector<std::int32_t>& pages);

  std::size_t cache_bytes() const { return cache_.bytes(); }
  std::size_t activation_bytes() const;

 private:
  void lay_out(Arena& arena, int draws);
  /// Tokens of rows first .. first + count - 1 of `normed_`.
  void sample(const std::vector<SampleRow>& how, int first, int count);
  std::vector<Drawn> download(int count);

  const Model& model_;
  const Adapters& adapters_;
  KvCache cache_;
  ActivationsPtr activations_;
  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;

  std::int32_t* rows_ = nullptr;    // [n]
  float* gathered_ = nullptr;       // [n, C]
  float* inv_rms_ = nullptr;        // [n]
  void* normed_ = nullptr;          // [n, C] act
  std::int32_t* tokens_ = nullptr;  // [n]
  float* logprobs_ = nullptr;       // [n]
};

}  // namespace tinylora
