// product_half.cu for sm_90a (H100, H200): the same outputs, by TMA and wgmma.
//
//   tile               consumers   columns a wgmma   stages x bytes   registers         for
//   64 x 16    small   1           16                8 x 10 KiB       36                M <= 16
//   64 x 32    mid32   1           32                8 x 12 KiB       48                too few tiles of the next size
//   64 x 64    mid64   1           64                6 x 16 KiB       72                the same
//   64 x 128   mid     1           128               4 x 24 KiB       121               the same
//   128 x 256  large   2           256               4 x 48 KiB       168: 40 and 232   tiles enough for every SM
//
// Two blocks fit on an SM, of the large tiling one; its blocks are in clusters of two.
//
// One warp is the producer: it waits until a stage of the ring is empty and starts the TMA copies of an x tile and a W
// tile, 64 k each, which arrive at the stage's "full" barrier. Each consumer warpgroup owns 64 rows and all columns of
// the tile: it waits for "full", starts four wgmma of 16 k, and gives the stage before back ("empty") once its products
// are done, so that one stage is always being multiplied. Blocks are persistent: block b makes tiles b, b + blocks, ...
// (row tiles first, so that a W tile in L2 serves all rows), and the producer fills the ring for the next tile during
// the epilogue. In the large tiling the producer's warpgroup gives registers to the consumers, and two blocks, one
// below the other, share W: each loads half of its tile for both (multicast), so a stage is empty when the consumers of
// both are done with it. An odd last row tile has a neighbour past the end, which computes with zeros and stores
// nothing.
//
// Contract (docs/method.md, row invariance): an output is one chain of m64nNk16, k ascending from 0, one sum, rows of x
// always as A (padded to 64 with zeros that TMA supplies, which cost no memory traffic), outputs always as B, and K is
// never split. On a device with compute capability 9.0 these kernels serve every number of rows, so that no row meets
// both mma.sync and wgmma, whose sums over 16 k may differ in the last bit. That N = 16, 32, 64, 128 and 256 sum alike
// is an assumption about the hardware: test/native/cuda_product_test.cpp compares the tilings bit for bit where it
// runs.
//
// Tiles lie in shared memory as 128-byte rows with the 128-byte swizzle, which TMA writes and wgmma reads without bank
// conflicts. Forward, W [out, in] is K-major: rows are outputs. Backward, dx = dy W takes W as it lies: rows are k, and
// the 64-column blocks (MN-major B, transposed by wgmma) come as one copy each.
// Bytes of a tile: (rows + columns) K 2 in, rows columns 2 or 4 out, straight from registers, 32 bytes of a row at a
// time. Limit expected (benchmarks/cuda/estimate.ts): for large M, tensor cores, L2 and shared memory alike. A stage of
// the large tiling is 1,024 cycles of tensor cores; it asks L2 for 32 KiB, 32 bytes a cycle and SM (48 without
// multicast), and moves 128 KiB in shared memory: A and B of each consumer, and the copies. For M <= 16, memory: the
// two blocks of an SM keep 32 KiB of W under way. The epilogue is not hidden behind products of the same block; what
// the update needs of L2 is: the factors of a tile's rows and columns come behind the ring while its products run
// (product_update.cuh).
#include "early_start.cuh"
#include "mbarrier.cuh"
#include "product_pair.cuh"
#include "product_sm90.h"
#include "product_update.cuh"
#include "wgmma.cuh"

using namespace tinylora::cuda;

namespace {

template <typename Half_, int kConsumers_, int kColumns_, int kStages_, bool kTransposed_, int kCluster_>
struct Tiling {
  using Half = Half_;  // bf16 or fp16
  static constexpr int kConsumers = kConsumers_, kColumns = kColumns_, kStages = kStages_;
  static constexpr int kCluster = kCluster_;         // blocks, one row tile each, that share a W tile
  static constexpr bool kTransposed = kTransposed_;  // W is read as [k, n]
  static constexpr int kRows = 64 * kConsumers;
  static constexpr bool kMovesRegisters = kConsumers > 1;  // then the producer's warpgroup must be whole
  static constexpr int kBytesX = kRows * 128, kBytesW = kColumns * 128, kStageBytes = kBytesX + kBytesW;
  static constexpr int kSums = kColumns / 2;
  static constexpr int kThreads = 128 * kConsumers;           // that multiply
  static constexpr int kTilesM = 1, kTilesN = kColumns / 8;   // C fragments of a warp
  static constexpr int kColumnsLoaded = kColumns / kCluster;  // of the W tile, by each block
  static_assert(kSm90Depth == 64 && kStageBytes % 1024 == 0 && !(kTransposed && kColumnsLoaded % 64 != 0));
};

/// A stage of the ring and the parity of its turn.
template <int kStages>
struct Place {
  int stage = 0, parity = 0;
  __device__ void next() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

template <typename T>
struct Ring {
  unsigned char* stages;  // kStages of an x tile and a W tile
  std::uint64_t* full;    // [kStages] the copies of a stage have arrived
  std::uint64_t* empty;   // [kStages] all consumer warps of the cluster are done with it
  float* factors;         // of the update of the tile's outputs

  __device__ explicit Ring(unsigned char* shared) {
    stages = shared + (1024 - (shared_address(shared) & 1023) & 1023);
    full = reinterpret_cast<std::uint64_t*>(stages + T::kStages * T::kStageBytes);
    empty = full + T::kStages;
    factors = reinterpret_cast<float*>(empty + T::kStages);
  }
  __device__ unsigned char* x(int stage) const { return stages + stage * T::kStageBytes; }
  __device__ unsigned char* w(int stage) const { return x(stage) + T::kBytesX; }
};

struct Tile {
  int task, row, column;  // first of each
};

/// The block's place in its cluster.
template <typename T>
__device__ int rank_of_block() {
  if constexpr (T::kCluster == 1) return 0;
  return static_cast<int>(blockIdx.x) % T::kCluster;
}

/// The block's part of tile `index`, which is of kCluster row tiles.
template <typename T>
__device__ Tile find_tile(const ProductSm90Args& args, int index) {
  const int row_tile = index % args.row_tiles * T::kCluster + rank_of_block<T>();
  const int column_tile = index / args.row_tiles;
  Tile tile{0, row_tile * T::kRows, column_tile * T::kColumns};
#pragma unroll
  for (int i = 1; i < kMaxTasks; ++i) {
    if (i < args.product.tasks && column_tile >= args.product.task[i].first_tile) {
      tile = {i, tile.row, (column_tile - args.product.task[i].first_tile) * T::kColumns};
    }
  }
  return tile;
}

/// The W tile of a stage, or the block's share of it for all blocks of the cluster.
template <typename T>
__device__ void copy_w(const Ring<T>& ring, int stage, const TensorMap& w, int column, int depth) {
  constexpr int kBlocks = T::kTransposed ? T::kColumnsLoaded / 64 : 1;  // of 64 columns, or all at once
  const int rank = rank_of_block<T>();
  unsigned char* to = ring.w(stage) + rank * (T::kBytesW / T::kCluster);
  const int first = column + rank * T::kColumnsLoaded;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const int x = T::kTransposed ? first + 64 * block : depth, y = T::kTransposed ? depth : first;
    if constexpr (T::kCluster == 1) {
      copy_tile(to + block * 8192, w, x, y, ring.full + stage);
    } else {
      copy_tile_to_cluster(to + block * 8192, w, x, y, ring.full + stage, (1 << T::kCluster) - 1);
    }
  }
}

/// Weights are no output of the launch before: those of the first stages are on their way before it is done. How many.
template <typename T>
__device__ int begin_weights(const ProductSm90Args& args, const Ring<T>& ring) {
  const int first = static_cast<int>(blockIdx.x) / T::kCluster;
  if (first >= args.tiles) return 0;
  const Tile tile = find_tile<T>(args, first);
  int stage = 0;
  for (; stage < T::kStages && stage * kSm90Depth < args.product.k; ++stage) {
    arrive_expecting(ring.full + stage, T::kStageBytes);
    copy_w<T>(ring, stage, args.w[tile.task], tile.column, stage * kSm90Depth);
  }
  return stage;
}

template <typename T>
__device__ void produce(const ProductSm90Args& args, const Ring<T>& ring) {
  int begun = begin_weights<T>(args, ring);
  await_launch_before();
  Place<T::kStages> place;
  for (int index = blockIdx.x / T::kCluster; index < args.tiles; index += gridDim.x / T::kCluster) {
    const Tile tile = find_tile<T>(args, index);
    const TensorMap& w = args.w[tile.task];
    for (int depth = 0; depth < args.product.k; depth += kSm90Depth) {
      std::uint64_t* full = ring.full + place.stage;
      if (begun > 0) {
        --begun;
      } else {
        wait_phase(ring.empty + place.stage, place.parity ^ 1);
        arrive_expecting(full, T::kStageBytes);
        copy_w<T>(ring, place.stage, w, tile.column, depth);
      }
      copy_tile(ring.x(place.stage), args.x, depth, tile.row, full);
      place.next();
    }
  }
}

template <typename T>
__device__ void multiply_stage(float (&sum)[T::kSums], const unsigned char* x, const unsigned char* w) {
  constexpr int kStepX = 32, kStepW = T::kTransposed ? 2048 : 32;  // bytes of 16 k
#pragma unroll
  for (int step = 0; step < kSm90Depth / 16; ++step) {
    multiply_add<typename T::Half, T::kTransposed>(sum, tile_descriptor(x + step * kStepX, 16),
                                                   tile_descriptor(w + step * kStepW, T::kTransposed ? 8192 : 16));
  }
}

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

/// The warp is done with a stage: lane i tells block i.
template <typename T>
__device__ void give_back(const Ring<T>& ring, int stage, int lane) {
  if constexpr (T::kCluster == 1) {
    if (lane == 0) arrive(ring.empty + stage);
  } else {
    if (lane < T::kCluster) arrive_in_block(ring.empty + stage, lane);
  }
}

/// All threads that multiply; barrier 0 is the block's.
template <typename T>
__device__ void meet_consumers() {
  asm volatile("bar.sync 1, %0;\n" ::"n"(T::kThreads) : "memory");
}

template <typename T>
__device__ void consume(const ProductSm90Args& args, const Ring<T>& ring) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = warp / 4;
  Place<T::kStages> place;
  for (int index = blockIdx.x / T::kCluster; index < args.tiles; index += gridDim.x / T::kCluster) {
    const Tile tile = find_tile<T>(args, index);
    const ProductTask& task = args.product.task[tile.task];
    const bool updates = task.rank > 0 && tile.row < args.product.rows;
    if (updates) load_factors<T>(args.product, task, tile.row, tile.column, ring.factors);
    float sum[T::kSums] = {};
    int before = -1;
    for (int depth = 0; depth < args.product.k; depth += kSm90Depth) {
      wait_phase(ring.full + place.stage, place.parity);
      hold(sum);
      begin_products();
      multiply_stage<T>(sum, ring.x(place.stage) + group * 8192, ring.w(place.stage));
      commit_products();
      wait_for_products<1>();
      if (before >= 0) give_back<T>(ring, before, lane);
      before = place.stage;
      place.next();
    }
    wait_for_products<0>();
    hold(sum);
    give_back<T>(ring, before, lane);
    const int row = 16 * warp;  // of the tile, the warp's first
    const bool real = tile.row + row < args.product.rows;
    if (updates) {
      wait_for_all_copies();
      meet_consumers<T>();  // the factors are there
      auto& fragments = reinterpret_cast<float(&)[T::kTilesM][T::kTilesN][4]>(sum);
      if (real) add_update<T>(task.rank, fragments, ring.factors, row, 0);
      meet_consumers<T>();  // and may be overwritten
    }
    if (real) store_outputs<T>(args.product, task, sum, tile.row + row, tile.column);
  }
}

constexpr int kLaunched = 168, kProducer = 40, kConsumer = 232;  // registers of a thread of the large tilings
static_assert(128 * kProducer + 256 * kConsumer <= 384 * kLaunched);

template <typename T>
__device__ void product(const ProductSm90Args& args) {
  extern __shared__ __align__(128) unsigned char shared[];
  const Ring<T> ring(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < T::kStages; ++i) {
      init_barrier(ring.full + i, 1);
      init_barrier(ring.empty + i, 4 * T::kConsumers * T::kCluster);
    }
    publish_barriers();
  }
  __syncthreads();
  if constexpr (T::kCluster > 1) meet_cluster();
  if (threadIdx.x >= 128 * T::kConsumers) {
    if constexpr (T::kMovesRegisters) give_registers<kProducer>();
    if (threadIdx.x == 128 * T::kConsumers) produce<T>(args, ring);
  } else {
    if constexpr (T::kMovesRegisters) take_registers<kConsumer>();
    await_launch_before();
    consume<T>(args, ring);
  }
  // The other blocks arrive at the barriers of this one until they are done.
  if constexpr (T::kCluster > 1) meet_cluster();
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
