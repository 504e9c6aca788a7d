// head_stats (head.cu) for sm_90a: logits by TMA and wgmma (wgmma_tiles.cuh), their statistics from the registers in
// which they come; they never are in memory, but for those of the few rows that the sampler cuts.
//
//   tile               consumers   tokens a wgmma   stages x bytes
//   64 x 128   mid     1           128              4 x 24 KiB        two blocks an SM
//   128 x 256  large   2           256              4 x 48 KiB        one, in clusters of two
//
// A row of a chunk, 128 tokens, lies in four neighbouring lanes: lane t has tokens 8 j + 2 t and the next. It takes
// them ascending, then a butterfly of the four: the same in both tiles. On a device with compute capability 9.0 the
// logits of scoring and sampling (head_sample_sm90.cu) are all made so.
//
// Flops 2 rows vocab width, limited as the products of product_sm90.cu are. What follows a tile is not hidden behind
// products of the same block: by the stand-in's count some 20 instructions a logit, 5,000 clocks of a large tile's
// issue slots beside 26,000 of its products at width 1,536; e^x is ex2.approx, and what only few tokens need (a target,
// an end of the vocabulary, logits that are kept) is behind branches. Few rows: the 2 vocab width bytes of W. The head
// at 2,032 rows, ms by benchmarks/cuda/head-time.ts on an H100: SmolLM2-135M 0.79, Qwen2.5-0.5B 2.7, 1.5B 3.2, 7B 6.5.
#include "head_sm90.h"
#include "head_unit.cuh"
#include "warp.cuh"
#include "wgmma_tiles.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kLaneTokens = kVocabChunk / 4;

struct Tile {
  int row, column;  // first of each; columns are tokens
};

template <typename T>
struct Logits {
  const HeadStatsSm90Args& args;

  __device__ int k() const { return args.task.product.width; }
  __device__ int w_k() const { return 0; }
  __device__ int tiles() const { return args.tiles; }
  __device__ const TensorMap& x() const { return args.x; }
  __device__ const TensorMap& w(const Tile&) const { return args.w; }
  __device__ Tile tile(int index) const {
    const int first = args.task.first_chunk * kVocabChunk;
    return {first_row_of<T>(index, args.row_tiles), first + index / args.row_tiles * T::kColumns};
  }
};

/// Token of this lane's number n, in a chunk.
__device__ int token_of(int n) { return n / 2 * 8 + static_cast<int>(threadIdx.x % 4) * 2 + n % 2; }

/// body(n) for this lane's tokens that are `wanted`, if any lane of the warp has one: a branch that is seldom taken.
template <class Wanted, class Body>
__device__ void for_few_tokens(bool any, const Wanted& wanted, const Body& body) {
  if (!__any_sync(kWholeWarp, any)) return;
#pragma unroll
  for (int n = 0; n < kLaneTokens; ++n) {
    if (wanted(token_of(n))) body(n);
  }
}

/// e^l of a row in a chunk, rounded, and what they were made with. By whole warps.
template <typename Half>
__device__ void keep_exponentials(const HeadStatsTask& task, int row, bool valid, int group_chunk, float largest,
                                  const float (&e)[kLaneTokens]) {
  const float own = unit_of(largest);
  const float unit = task.before != nullptr && valid ? unit_after<Half>(task.before[row].next_unit, own) : own;
  const float scale = in_unit(largest, unit);
  const bool odd = threadIdx.x % 2 == 1;
  auto* to = static_cast<Half*>(task.exponentials) + static_cast<long long>(row) * task.stride +
             group_chunk * kVocabChunk + token_of(0) / 4 * 4 + (odd ? 8 : 0);
  float made = 0;
#pragma unroll
  for (int n = 0; n < kLaneTokens; n += 4) {
    const std::uint32_t words[2] = {pack<Half>(e[n] * scale, e[n + 1] * scale),
                                    pack<Half>(e[n + 2] * scale, e[n + 3] * scale)};
    for (const std::uint32_t word : words) {
      const float2 rounded = pair_of<Half>(word);
      made += rounded.x;
      made += rounded.y;
    }
    // Of a pair of lanes, the even one takes the four tokens of the first fragment, the odd one those of the second.
    const std::uint32_t traded = __shfl_xor_sync(kWholeWarp, odd ? words[0] : words[1], 1);
    const uint2 four = odd ? make_uint2(traded, words[1]) : make_uint2(words[0], traded);
    if (valid) *reinterpret_cast<uint2*>(to + 4 * n) = four;
  }
  made = quad_sum(made);
  if (valid && threadIdx.x % 4 == 0) task.made[group_chunk * task.product.rows + row] = {unit, made, own};
}

/// A row of a chunk from its products. By whole warps.
template <typename Half>
__device__ void finish_row(const HeadStatsTask& task, int row, int chunk, float (&l)[kLaneTokens]) {
  constexpr float kFarBelow = -1e30F;  // times e^l, which is 0 there, it is no NaN
  const bool valid = row < task.product.rows;
  const int first = chunk * kVocabChunk, count = task.product.vocab - first;
  const float temperature = valid ? task.inv_temperature[row] : 0;
#pragma unroll
  for (int n = 0; n < kLaneTokens; ++n) l[n] *= temperature;
  for_few_tokens(
      count < kVocabChunk, [&](int token) { return token >= count; }, [&](int n) { l[n] = kMinusInfinity; });
  float largest = l[0];
#pragma unroll
  for (int n = 1; n < kLaneTokens; ++n) largest = fmaxf(largest, l[n]);
  largest = quad_max(largest);

  const int kept = valid && task.kept != nullptr ? task.kept[row] : -1;
  float* logits = task.logits + static_cast<long long>(kept) * task.product.vocab + first;
  for_few_tokens(
      kept >= 0, [&](int token) { return kept >= 0 && token < count; }, [&](int n) { logits[token_of(n)] = l[n]; });
  const int target = valid && task.target != nullptr ? task.target[row] - first : -1;
  const bool has_target = target >= 0 && target < kVocabChunk;
  const auto is_target = [&](int token) { return token == target; };
  for_few_tokens(has_target, is_target, [&](int n) { task.target_l[row] = l[n]; });

  float sum = 0, weighted = 0;
#pragma unroll
  for (int n = 0; n < kLaneTokens; ++n) {
    const float below = l[n] - largest;
    l[n] = power_of_two(below * kLog2E);
    sum += l[n];
    weighted = fmaf(l[n], fmaxf(below, kFarBelow), weighted);
  }
  sum = quad_sum(sum);
  weighted = quad_sum(weighted);
  if (valid && threadIdx.x % 4 == 0) {
    task.stats[static_cast<long long>(row) * task.chunks + chunk] = {largest, sum, weighted, 0};
  }
  if (task.exponentials == nullptr) return;
  for_few_tokens(has_target, is_target, [&](int n) { l[n] = 0; });
  keep_exponentials<Half>(task, row, valid, chunk - task.first_chunk, largest, l);
}

template <typename T>
__device__ void consume(const Logits<T>& logits, const Ring<T>& ring) {
  const HeadStatsTask& task = logits.args.task;
  Place<T::kStages> place;
  for_each_tile<T>(logits.tiles(), [&](int index) {
    const Tile tile = logits.tile(index);
    float sum[T::kSums] = {};
    multiply<T>(ring, place, logits.k(), sum);
    const int row = tile.row + static_cast<int>(threadIdx.x / 32 * 16);  // the warp's first
    if (row >= task.product.rows) return;
#pragma unroll
    for (int c = 0; c < T::kColumns / kVocabChunk; ++c) {
      const int chunk = tile.column / kVocabChunk + c;
      if (chunk >= task.chunks) return;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float l[kLaneTokens];
#pragma unroll
        for (int n = 0; n < kLaneTokens; ++n) l[n] = sum[64 * c + n / 2 * 4 + 2 * half + n % 2];
        finish_row<typename T::Half>(task, row + static_cast<int>(threadIdx.x % 32 / 4) + 8 * half, chunk, l);
      }
    }
  });
}

template <typename T>
__device__ void head_stats(const HeadStatsSm90Args& args) {
  const Logits<T> logits{args};
  make_tiles<T>(logits, [&](const Ring<T>& ring) { consume<T>(logits, ring); });
}

template <typename Half>
using Mid = Tiling<Half, 1, 128, 4, false, 1>;
template <typename Half>
using Large = Tiling<Half, 2, 256, 4, false, 2>;
static_assert(kGroupChunks % 2 == 0, "a large tile is of one group");

}  // namespace

extern "C" __global__ void __launch_bounds__(160, 2)
    head_stats_mid_bf16_sm90(const __grid_constant__ HeadStatsSm90Args args) {
  head_stats<Mid<__nv_bfloat16>>(args);
}
extern "C" __global__ void __launch_bounds__(160, 2)
    head_stats_mid_f16_sm90(const __grid_constant__ HeadStatsSm90Args args) {
  head_stats<Mid<__half>>(args);
}
extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    head_stats_large_bf16_sm90(const __grid_constant__ HeadStatsSm90Args args) {
  head_stats<Large<__nv_bfloat16>>(args);
}
extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    head_stats_large_f16_sm90(const __grid_constant__ HeadStatsSm90Args args) {
  head_stats<Large<__half>>(args);
}

}  // namespace tinylora::cuda
