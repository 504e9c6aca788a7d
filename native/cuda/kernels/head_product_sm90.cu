// head_product (head_product.cu) for sm_90a: dx = or += e^l W over a group of chunks, by TMA and wgmma
// (wgmma_tiles.cuh). e^l is x of such a tile, W is taken as it lies, tokens down.
//
//   tile               consumers   columns a wgmma   stages x bytes
//   64 x 128   mid     1           128               4 x 24 KiB        two blocks an SM
//   128 x 256  large   2           256               4 x 48 KiB        one, in clusters of two
//
// Sums start from dx, taken to the group's unit; tokens ascending, one wgmma of 16 after the other: the same chain in
// both tiles. Where rows have a chunk in another unit, their warpgroup takes e^l of it to the group's unit in shared
// memory, between its coming and its product: in the first group as a rule, in others seldom.
// Flops 2 rows tokens width; limit: tensor cores, where tiles are many.
#include "head_ratios.cuh"
#include "head_sm90.h"
#include "wgmma_tiles.cuh"

namespace tinylora::cuda {
namespace {

struct Tile {
  int row, column;  // first of each, of dx
};

template <typename T>
struct Sums {
  const HeadProductSm90Args& args;

  /// Whole chunks: e^l past the vocabulary is 0, and so is W.
  __device__ int k() const { return (args.task.tokens + kVocabChunk - 1) / kVocabChunk * kVocabChunk; }
  __device__ int w_k() const { return args.task.first_token; }
  __device__ int tiles() const { return args.tiles; }
  __device__ const TensorMap& x() const { return args.exponentials; }
  __device__ const TensorMap& w(const Tile&) const { return args.w; }
  __device__ Tile tile(int index) const {
    return {first_row_of<T>(index, args.row_tiles), index / args.row_tiles * T::kColumns};
  }
};

/// Of the warpgroup's 64 rows, which others have no part in.
__device__ inline void meet_warpgroup() {
  asm volatile("bar.sync %0, 128;\n" ::"r"(2 + static_cast<int>(threadIdx.x / 128)) : "memory");
}

/// 64 rows of a stage times a number each; the swizzle leaves a row's pieces in its row.
template <typename Half>
__device__ void scale_rows(unsigned char* stage, const Half* ratios) {
#pragma unroll
  for (int piece = static_cast<int>(threadIdx.x % 128); piece < 512; piece += 128) {
    uint4& eight = reinterpret_cast<uint4*>(stage)[piece];
    const Half ratio = ratios[piece / 8];
    eight = {times(eight.x, ratio), times(eight.y, ratio), times(eight.z, ratio), times(eight.w, ratio)};
  }
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
  meet_warpgroup();
}

/// body(sum, sum of the next column, element of dx) for the pairs of this thread's sums; `last`: it has no next.
template <typename T, class Body>
__device__ void for_each_pair(const HeadProductTask& task, const Tile& tile, float (&sum)[T::kSums], const Body& body) {
  const int row = tile.row + static_cast<int>(threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4);
  const int column = tile.column + static_cast<int>(threadIdx.x % 4 * 2);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (row + 8 * half >= task.rows) continue;
    float* dx = task.dx + static_cast<long long>(row + 8 * half) * task.width;
#pragma unroll
    for (int n = 0; n < T::kTilesN; ++n) {
      const int c = column + 8 * n;
      if (c < task.width) body(sum[4 * n + 2 * half], sum[4 * n + 2 * half + 1], dx + c, c + 1 == task.width);
    }
  }
}

template <typename T>
__device__ void consume(const Sums<T>& sums, const Ring<T>& ring) {
  using Ratios = UnitRatios<typename T::Half, T::kRows>;
  const HeadProductTask& task = sums.args.task;
  auto& ratios = *static_cast<Ratios*>(ring.behind);
  const bool whole = task.width % 2 == 0;  // pairs lie on 8 bytes
  const int group = static_cast<int>(threadIdx.x / 128) * 64;
  Place<T::kStages> place;
  for_each_tile<T>(sums.tiles(), [&](int index) {
    const Tile tile = sums.tile(index);
    float sum[T::kSums] = {};
    ratios.fill(task, tile.row, tile.column == 0);
    if (task.first_token > 0) {
      for_each_pair<T>(task, tile, sum, [&](float& a, float& b, const float* dx, bool last) {
        if (whole) {
          const float2 both = *reinterpret_cast<const float2*>(dx);
          a = both.x, b = both.y;
        } else {
          a = dx[0], b = last ? 0 : dx[1];
        }
      });
    }
    meet_consumers<T>();  // the ratios are there
    const int row = static_cast<int>(threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4);
    const float of_sums[2] = {ratios.of_sums[row], ratios.of_sums[row + 8]};
#pragma unroll
    for (int i = 0; i < T::kSums; ++i) sum[i] *= of_sums[i / 2 % 2];
    multiply<T>(ring, place, sums.k(), sum, [&](unsigned char* e, int token) {
      const int chunk = token / kVocabChunk;
      if (ratios.template changed<64>(group, chunk)) scale_rows(e, ratios.of_chunk[chunk] + group);
    });
    for_each_pair<T>(task, tile, sum, [&](float a, float b, float* dx, bool last) {
      if (whole) {
        *reinterpret_cast<float2*>(dx) = make_float2(a, b);
      } else {
        dx[0] = a;
        if (!last) dx[1] = b;
      }
    });
    meet_consumers<T>();  // and may be overwritten
  });
}

template <typename T>
__device__ void head_product(const HeadProductSm90Args& args) {
  const Sums<T> sums{args};
  make_tiles<T>(sums, [&](const Ring<T>& ring) { consume<T>(sums, ring); });
}

template <typename Half>
using Mid = Tiling<Half, 1, 128, 4, true, 1>;
template <typename Half>
using Large = Tiling<Half, 2, 256, 4, true, 2>;

static_assert(ratio_bytes(64) >= sizeof(UnitRatios<__half, 64>) && ratio_bytes(128) >= sizeof(UnitRatios<__half, 128>));

}  // namespace

extern "C" __global__ void __launch_bounds__(160, 2)
    head_product_mid_bf16_sm90(const __grid_constant__ HeadProductSm90Args args) {
  head_product<Mid<__nv_bfloat16>>(args);
}
extern "C" __global__ void __launch_bounds__(160, 2)
    head_product_mid_f16_sm90(const __grid_constant__ HeadProductSm90Args args) {
  head_product<Mid<__half>>(args);
}
extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    head_product_large_bf16_sm90(const __grid_constant__ HeadProductSm90Args args) {
  head_product<Large<__nv_bfloat16>>(args);
}
extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)
    head_product_large_f16_sm90(const __grid_constant__ HeadProductSm90Args args) {
  head_product<Large<__half>>(args);
}

}  // namespace tinylora::cuda
