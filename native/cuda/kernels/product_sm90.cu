// product_half.cu for sm_90a (H100, H200): the same outputs, by TMA and wgmma (wgmma_tiles.cuh).
//
//   tile               consumers   columns a wgmma   stages x bytes   registers
//   64 x 16    small   1           16                8 x 10 KiB       36
//   64 x 32    mid32   1           32                8 x 12 KiB       48
//   64 x 64    mid64   1           64                6 x 16 KiB       72
//   64 x 128   mid     1           128               4 x 24 KiB       121
//   128 x 256  large   2           256               4 x 48 KiB       168: 40 and 232
//
// Two blocks fit on an SM, of the large tiling one; its blocks are in clusters of two. The smallest is for M <= 16, and
// with the others for what has too few larger tiles to keep all SMs busy.
//
// Contract (docs/method.md, row invariance): an output is one chain of wgmma, k ascending from 0, one sum, and K is
// never split. On a device with compute capability 9.0 these kernels serve every number of rows, so that no row meets
// both mma.sync and wgmma, whose sums over 16 k may differ in the last bit.
//
// Forward, W [out, in] is K-major; backward, dx = dy W takes W as it lies.
// Bytes of a tile: (rows + columns) K 2 in, rows columns 2 or 4 out, straight from registers, 32 bytes of a row at a
// time. Limit expected (benchmarks/cuda/estimate.ts): for large M, tensor cores, L2 and shared memory alike. A stage of
// the large tiling is 1,024 cycles of tensor cores; it asks L2 for 32 KiB, 32 bytes a cycle and SM (48 without
// multicast), and moves 128 KiB in shared memory: A and B of each consumer, and the copies. For M <= 16, memory: the
// two blocks of an SM keep 32 KiB of W under way. The epilogue is not hidden behind products of the same block; what
// the update needs of L2 is: the factors of a tile's rows and columns come behind the ring while its products run
// (product_update.cuh).
#include "product_pair.cuh"
#include "product_sm90.h"
#include "product_update.cuh"
#include "wgmma_tiles.cuh"

using namespace tinylora::cuda;

namespace {

struct Tile {
  int task, row, column;  // first of each
};

template <typename T>
struct Products {
  const ProductSm90Args& args;

  __device__ int k() const { return args.product.k; }
  __device__ int w_k() const { return 0; }
  __device__ int tiles() const { return args.tiles; }
  __device__ const TensorMap& x() const { return args.x; }
  __device__ const TensorMap& w(const Tile& tile) const { return args.w[tile.task]; }
  /// The block's part of tile `index`, which is of kCluster row tiles.
  __device__ Tile tile(int index) const {
    const int column_tile = index / args.row_tiles;
    Tile tile{0, first_row_of<T>(index, args.row_tiles), column_tile * T::kColumns};
#pragma unroll
    for (int i = 1; i < kMaxTasks; ++i) {
      if (i < args.product.tasks && column_tile >= args.product.task[i].first_tile) {
        tile = {i, tile.row, (column_tile - args.product.task[i].first_tile) * T::kColumns};
      }
    }
    return tile;
  }
};

/// `row` and `column` are the first of the warp.
template <typename T>
__device__ void store_outputs(const ProductKernelArgs& args, const ProductTask& task, const float (&sum)[T::kSums],
                              int row, int column) {
  const int group = threadIdx.x % 32 / 4, pair = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const auto of = [&](int j) { return make_float2(sum[4 * j + 2 * i], sum[4 * j + 2 * i + 1]); };
#pragma unroll
    for (int j = 0; j < T::kTilesN; j += 2) {
      finish_fragments<typename T::Half>(task, args.rows, row + group + 8 * i, column + 8 * j + pair, of(j), of(j + 1));
    }
  }
}

template <typename T>
__device__ void consume(const Products<T>& products, const Ring<T>& ring) {
  const ProductKernelArgs& args = products.args.product;
  const int warp = threadIdx.x / 32;
  auto* factors = static_cast<float*>(ring.behind);  // of the update of the tile's outputs
  Place<T::kStages> place;
  for_each_tile<T>(products.tiles(), [&](int index) {
    const Tile tile = products.tile(index);
    const ProductTask& task = args.task[tile.task];
    const bool updates = task.rank > 0 && tile.row < args.rows;
    if (updates) load_factors<T>(args, task, tile.row, tile.column, factors);
    float sum[T::kSums] = {};
    multiply<T>(ring, place, args.k, sum);
    const int row = 16 * warp;  // of the tile, the warp's first
    const bool real = tile.row + row < args.rows;
    if (updates) {
      wait_for_all_copies();
      meet_consumers<T>();  // the factors are there
      auto& fragments = reinterpret_cast<float(&)[T::kTilesM][T::kTilesN][4]>(sum);
      if (real) add_update<T>(task.rank, fragments, factors, row, 0);
      meet_consumers<T>();  // and may be overwritten
    }
    if (real) store_outputs<T>(args, task, sum, tile.row + row, tile.column);
  });
}

template <typename T>
__device__ void product(const ProductSm90Args& args) {
  const Products<T> products{args};
  make_tiles<T>(products, [&](const Ring<T>& ring) { consume<T>(products, ring); });
}

template <typename Half>
using Small = Tiling<Half, 1, 16, 8, false, 1>;
template <typename Half>
using Mid32 = Tiling<Half, 1, 32, 8, false, 1>;
template <typename Half>
using Mid64 = Tiling<Half, 1, 64, 6, false, 1>;
template <typename Half>
using Mid = Tiling<Half, 1, 128, 4, false, 1>;
template <typename Half>
using Large = Tiling<Half, 2, 256, 4, false, 2>;
template <typename Half>
using Mid64Backward = Tiling<Half, 1, 64, 6, true, 1>;
template <typename Half>
using MidBackward = Tiling<Half, 1, 128, 4, true, 1>;
template <typename Half>
using LargeBackward = Tiling<Half, 2, 256, 4, true, 2>;

}  // namespace

#define TINYLORA_PRODUCTS_SM90(name, half)                                                 \
  extern "C" __global__ void __launch_bounds__(160, 2)                                     \
      product_small_##name##_sm90(const __grid_constant__ ProductSm90Args args) {          \
    product<Small<half>>(args);                                                            \
  }                                                                                        \
  extern "C" __global__ void __launch_bounds__(160, 2)                                     \
      product_mid32_##name##_sm90(const __grid_constant__ ProductSm90Args args) {          \
    product<Mid32<half>>(args);                                                            \
  }                                                                                        \
  extern "C" __global__ void __launch_bounds__(160, 2)                                     \
      product_mid64_##name##_sm90(const __grid_constant__ ProductSm90Args args) {          \
    product<Mid64<half>>(args);                                                            \
  }                                                                                        \
  extern "C" __global__ void __launch_bounds__(160, 2)                                     \
      product_mid64_backward_##name##_sm90(const __grid_constant__ ProductSm90Args args) { \
    product<Mid64Backward<half>>(args);                                                    \
  }                                                                                        \
  extern "C" __global__ void __launch_bounds__(160, 2)                                     \
      product_mid_##name##_sm90(const __grid_constant__ ProductSm90Args args) {            \
    product<Mid<half>>(args);                                                              \
  }                                                                                        \
  extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)           \
      product_large_##name##_sm90(const __grid_constant__ ProductSm90Args args) {          \
    product<Large<half>>(args);                                                            \
  }                                                                                        \
  extern "C" __global__ void __launch_bounds__(160, 2)                                     \
      product_mid_backward_##name##_sm90(const __grid_constant__ ProductSm90Args args) {   \
    product<MidBackward<half>>(args);                                                      \
  }                                                                                        \
  extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)           \
      product_large_backward_##name##_sm90(const __grid_constant__ ProductSm90Args args) { \
    product<LargeBackward<half>>(args);                                                    \
  }
TINYLORA_PRODUCTS_SM90(bf16, __nv_bfloat16)
TINYLORA_PRODUCTS_SM90(f16, __half)
#undef TINYLORA_PRODUCTS_SM90
