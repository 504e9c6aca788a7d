// A token of a row that top_k, top_p and min_p cut, one after the other (ops/head.h), from all its logits l [vocab] at
// the row's temperature; a block a row.
//   top_k  keeps l >= the k-th largest
//   top_p  keeps, likeliest first and of equals the lower id, until those before hold top_p of what top_k left
//   min_p  keeps e >= min_p, e = e^(l - largest)
//   draw   the first kept token, in order of id, whose running sum passes uniform * (sum of all kept)
//
// e is measured in integers, 2^-44 a unit: sums of up to 2^18 tokens fit 64 bits and do not depend on their order, so
// threads, however many, add as they please and no atomics are needed. Cuts are found on the bits of l, mapped to an
// ordered integer key: two bits a pass, the measure above three candidate keys at once, 16 passes over l, which stays
// in the second-level cache. Work: up to 35 passes of vocab * 4 bytes a row, 32 of them for top_k and top_p together.
#include "head.h"
#include "head_total.cuh"
#include "philox.cuh"
#include "warp.cuh"

namespace tinylora::cuda {
namespace {

using Mass = unsigned long long;
constexpr int kMostWarps = kTruncatedThreads / 32;

__device__ int threads() { return static_cast<int>(blockDim.x); }

/// Larger for a larger l; -0 and 0 are one value.
__device__ std::uint32_t key_of(float l) {
  const std::uint32_t bits = __float_as_uint(l + 0.0F);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}
__device__ float value_of(std::uint32_t key) { return __uint_as_float(key >> 31 != 0 ? key & 0x7fffffffU : ~key); }
__device__ Mass mass_of(float e) { return static_cast<Mass>(e * 0x1.0p44F); }

struct Row {
  const float* l;  // [vocab]
  int vocab;
  float largest;

  __device__ float e(float value) const { return expf(value - largest); }
};

/// Sums over the block, in every thread.
template <int kCount>
__device__ void block_sum(Mass (&sums)[kCount]) {
  __shared__ Mass parts[kMostWarps][kCount];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    sums[i] = warp_sum(sums[i]);
    if (lane == 0) parts[warp][i] = sums[i];
    sums[i] = 0;
  }
  __syncthreads();
  for (int w = 0; w < threads() / 32; ++w) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += parts[w][i];
  }
  __syncthreads();
}

/// The largest key such that the tokens from it on measure `wanted` or more; `measure` of a token's e.
template <class Measure>
__device__ std::uint32_t cut_key(const Row& row, Mass wanted, std::uint32_t least, const Measure& measure) {
  std::uint32_t key = 0;
  for (int shift = 30; shift >= 0; shift -= 2) {
    Mass above[3] = {};  // from key + 1, 2, 3 << shift on
    for (int i = static_cast<int>(threadIdx.x); i < row.vocab; i += threads()) {
      const std::uint32_t own = key_of(row.l[i]);
      if (own < least || own < (key | 1U << shift)) continue;
      const Mass part = measure(row.e(row.l[i]));
#pragma unroll
      for (std::uint32_t digit = 1; digit <= 3; ++digit) above[digit - 1] += own >= (key | digit << shift) ? part : 0;
    }
    block_sum(above);
    for (int digit = 3; digit >= 1; --digit) {
      if (above[digit - 1] < wanted) continue;
      key |= static_cast<std::uint32_t>(digit) << shift;
      break;
    }
  }
  return key;
}

/// What the cuts leave: all above `key`, the first `ties` (in order of id) of those at it; of these e >= least_e.
struct Kept {
  std::uint32_t key = 0;
  Mass ties = ~Mass{0};
  float least_e = 0;
};

__device__ Kept cut(const Row& row, const SampleRow& how) {
  Kept kept;
  if (how.top_k > 0 && how.top_k < row.vocab) {
    kept.key = cut_key(row, static_cast<Mass>(how.top_k), 0, [](float) { return Mass{1}; });
  }
  if (how.top_p < 1) {
    Mass total[1] = {};
    for (int i = static_cast<int>(threadIdx.x); i < row.vocab; i += threads()) {
      if (key_of(row.l[i]) >= kept.key) total[0] += mass_of(row.e(row.l[i]));
    }
    block_sum(total);
    const auto share = static_cast<Mass>(ceil(static_cast<double>(how.top_p) * static_cast<double>(total[0])));
    const Mass wanted = min(max(share, Mass{1}), total[0]);
    const std::uint32_t key = cut_key(row, wanted, kept.key, mass_of);
    Mass above[1] = {};
    for (int i = static_cast<int>(threadIdx.x); i < row.vocab; i += threads()) {
      if (key_of(row.l[i]) > key) above[0] += mass_of(row.e(row.l[i]));
    }
    block_sum(above);
    const Mass each = max(mass_of(row.e(value_of(key))), Mass{1});
    kept.key = key;
    kept.ties = (wanted - above[0] + each - 1) / each;
  }
  if (how.min_p > 0) kept.least_e = fminf(how.min_p, 1.0F);
  return kept;
}

/// A token's mass where its `rank` among the ties allows.
struct Token {
  bool strict;  // above the cut
  bool tie;     // at it
  Mass mass;
};

__device__ Token look_at(const Row& row, const Kept& kept, int i) {
  const float l = row.l[i], e = row.e(l);
  const std::uint32_t key = key_of(l);
  const Mass mass = e >= kept.least_e ? mass_of(e) : 0;
  return {key > kept.key, key == kept.key, mass};
}

/// A warp's own run of neighbouring tokens.
struct Run {
  Mass strict = 0;    // mass above the cut
  Mass ties = 0;      // number of tokens at it
  Mass tie_mass = 0;  // of each
};

struct Draw {
  int first, last;   // the run of tokens in which it falls
  Mass ties_before;  // tokens at the cut in the runs before
  Mass goal;         // what the running sum within the run must pass
};

__device__ Draw find_run(const Row& row, const Kept& kept, double uniform) {
  __shared__ Run runs[kMostWarps];
  __shared__ Draw draw;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = threads() / 32, length = ((row.vocab + warps - 1) / warps + 31) / 32 * 32;
  Run own;
  for (int i = warp * length + lane; i < min(row.vocab, (warp + 1) * length); i += 32) {
    const Token token = look_at(row, kept, i);
    if (token.strict) own.strict += token.mass;
    if (token.tie) own.ties += 1;
  }
  own.strict = warp_sum(own.strict);
  own.ties = warp_sum(own.ties);
  const float e = row.e(value_of(kept.key));
  own.tie_mass = e >= kept.least_e ? mass_of(e) : 0;
  if (lane == 0) runs[warp] = own;
  __syncthreads();
  if (threadIdx.x == 0) {
    const auto mass_of_run = [&](int w, Mass before) {
      const Mass left = kept.ties > before ? kept.ties - before : 0;
      return runs[w].strict + min(left, runs[w].ties) * runs[w].tie_mass;
    };
    Mass total = 0, ties = 0;
    for (int w = 0; w < threads() / 32; ++w) {
      total += mass_of_run(w, ties);
      ties += runs[w].ties;
    }
    Mass goal = min(static_cast<Mass>(uniform * static_cast<double>(total)), total - 1);
    ties = 0;
    for (int w = 0; w < threads() / 32; ++w) {
      const Mass mass = mass_of_run(w, ties);
      if (mass > goal) {
        draw = {w * length, min(row.vocab, (w + 1) * length), ties, goal};
        break;
      }
      goal -= mass;
      ties += runs[w].ties;
    }
  }
  __syncthreads();
  return draw;
}

/// By one warp, 32 tokens at a time.
__device__ int draw_in_run(const Row& row, const Kept& kept, Draw draw) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  Mass passed = 0;
  for (int from = draw.first; from < draw.last; from += 32) {
    const int i = from + lane;
    const Token token = i < draw.last ? look_at(row, kept, i) : Token{false, false, 0};
    const unsigned ties = __ballot_sync(kWholeWarp, token.tie);
    const Mass rank = draw.ties_before + static_cast<Mass>(__popc(static_cast<int>(ties & ((1U << lane) - 1))));
    Mass up_to = token.strict || (token.tie && rank < kept.ties) ? token.mass : 0;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const Mass other = __shfl_up_sync(kWholeWarp, up_to, step);
      if (lane >= step) up_to += other;
    }
    const unsigned at = __ballot_sync(kWholeWarp, passed + up_to > draw.goal);
    if (at != 0) return from + __ffs(static_cast<int>(at)) - 1;
    passed += __shfl_sync(kWholeWarp, up_to, 31);
    draw.ties_before += static_cast<Mass>(__popc(static_cast<int>(ties)));
  }
  return draw.last - 1;
}

}  // namespace

/// Grid: the rows; those that are not cut leave at once.
extern "C" __global__ __launch_bounds__(kTruncatedThreads) void truncated_draw(HeadSampleTask task) {
  __shared__ TotalScratch scratch;
  const int row = static_cast<int>(blockIdx.x);
  const SampleRow how = task.how[row];
  const int place = task.kept[row];
  if (place < 0) return;
  const int vocab = task.product.vocab, chunks = (vocab + kVocabChunk - 1) / kVocabChunk;
  const RowTotal total = row_total(task.stats + static_cast<long long>(row) * chunks, chunks, scratch);
  if (!isfinite(total.sum) || !isfinite(total.largest)) {
    if (threadIdx.x == 0) no_token(task, row);
    return;
  }
  if (threadIdx.x == 0) task.entropy[row] = total.entropy();
  const Row own = {task.logits + static_cast<long long>(place) * vocab, vocab, total.largest};
  const Kept kept = cut(own, how);
  const Draw draw = find_run(own, kept, sampling_uniform(how.seed, how.sequence, how.position));
  if (threadIdx.x >= 32) return;
  const int token = draw_in_run(own, kept, draw);
  if (threadIdx.x != 0) return;
  task.token[row] = token;
  task.logp[row] = total.logp(own.l[token]);
}

}  // namespace tinylora::cuda
