// sm_90a: tiles of x op(W) by TMA and wgmma, made by blocks that stay: what product_sm90.cu and the head's kernels have
// in common.
//
// One warp is the producer: it waits until a stage of the ring is empty and starts the TMA copies of an x tile and a W
// tile, 64 k each, which arrive at the stage's "full" barrier. Each consumer warpgroup owns 64 rows and all columns of
// the tile: it waits for "full", starts four wgmma of 16 k, and gives the stage before back ("empty") once its products
// are done, so that one stage is always being multiplied. Blocks are persistent: block b makes tiles b, b + blocks, ...
// (row tiles first, so that a W tile in L2 serves all rows), and the producer fills the ring for the next tile while
// the consumers finish one. In tilings with two consumers the producer's warpgroup gives registers to them, and two
// blocks, one below the other, share W: each loads half of its tile for both (multicast), so a stage is empty when the
// consumers of both are done with it. An odd last row tile has a neighbour past the end, which computes with zeros and
// stores nothing.
//
// A sum is one chain of m64nNk16, k ascending from where it starts, rows of x always as A (padded to 64 with zeros that
// TMA supplies, which cost no memory traffic), columns always as B. That N = 16 to 256 sum alike is an assumption about
// the hardware: tests compare the tilings bit for bit where they run.
//
// Tiles lie in shared memory as 128-byte rows with the 128-byte swizzle, which TMA writes and wgmma reads without bank
// conflicts. W is [columns, k], K-major: its rows are columns of the tile. Or it is taken as it lies, [k, columns]
// (kTransposed: MN-major B, transposed by wgmma): its 64-column blocks come as one copy each.
//
// A Job says which tiles a launch makes:
//   int k() const, tiles() const;  a Tile with `row` and `column`, its first ones, of tile(index);
//   const TensorMap& x() const, w(const Tile&) const;  int w_k() const, where k begins along W
#pragma once

#include "early_start.cuh"
#include "mbarrier.cuh"
#include "tiles_sm90.h"
#include "wgmma.cuh"

namespace tinylora::cuda {

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

/// Of a block's dynamic shared memory.
template <typename T>
struct Ring {
  unsigned char* stages;  // kStages of an x tile and a W tile
  std::uint64_t* full;    // [kStages] the copies of a stage have arrived
  std::uint64_t* empty;   // [kStages] all consumer warps of the cluster are done with it
  void* behind;           // what a kernel has asked for beside the ring

  __device__ explicit Ring(unsigned char* shared) {
    stages = shared + (1024 - (shared_address(shared) & 1023) & 1023);
    full = reinterpret_cast<std::uint64_t*>(stages + T::kStages * T::kStageBytes);
    empty = full + T::kStages;
    behind = empty + T::kStages;
  }
  __device__ unsigned char* x(int stage) const { return stages + stage * T::kStageBytes; }
  __device__ unsigned char* w(int stage) const { return x(stage) + T::kBytesX; }
};

/// Tile index % row_tiles is the cluster's row tile: the first row of this block in it.
template <typename T>
__device__ int first_row_of(int index, int row_tiles) {
  const int rank = T::kCluster == 1 ? 0 : static_cast<int>(blockIdx.x) % T::kCluster;
  return (index % row_tiles * T::kCluster + rank) * T::kRows;
}

/// body(index) for the tiles of this block's cluster.
template <typename T, class Body>
__device__ void for_each_tile(int tiles, const Body& body) {
  for (int index = blockIdx.x / T::kCluster; index < tiles; index += gridDim.x / T::kCluster) body(index);
}

/// The W tile of a stage, or the block's share of it for all blocks of the cluster.
template <typename T>
__device__ void copy_w(const Ring<T>& ring, int stage, const TensorMap& w, int column, int depth) {
  constexpr int kBlocks = T::kTransposed ? T::kColumnsLoaded / 64 : 1;  // of 64 columns, or all at once
  const int rank = T::kCluster == 1 ? 0 : static_cast<int>(blockIdx.x) % T::kCluster;
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
template <typename T, class Job>
__device__ int begin_weights(const Job& job, const Ring<T>& ring) {
  const int first = static_cast<int>(blockIdx.x) / T::kCluster;
  if (first >= job.tiles()) return 0;
  const auto tile = job.tile(first);
  int stage = 0;
  for (; stage < T::kStages && stage * kSm90Depth < job.k(); ++stage) {
    arrive_expecting(ring.full + stage, T::kStageBytes);
    copy_w<T>(ring, stage, job.w(tile), tile.column, job.w_k() + stage * kSm90Depth);
  }
  return stage;
}

template <typename T, class Job>
__device__ void produce(const Job& job, const Ring<T>& ring) {
  int begun = begin_weights<T>(job, ring);
  await_launch_before();
  Place<T::kStages> place;
  for_each_tile<T>(job.tiles(), [&](int index) {
    const auto tile = job.tile(index);
    const TensorMap& w = job.w(tile);
    for (int depth = 0; depth < job.k(); depth += kSm90Depth) {
      std::uint64_t* full = ring.full + place.stage;
      if (begun > 0) {
        --begun;
      } else {
        wait_phase(ring.empty + place.stage, place.parity ^ 1);
        arrive_expecting(full, T::kStageBytes);
        copy_w<T>(ring, place.stage, w, tile.column, job.w_k() + depth);
      }
      copy_tile(ring.x(place.stage), job.x(), depth, tile.row, full);
      place.next();
    }
  });
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

/// sum += x op(W) of a tile, the warpgroup's 64 rows. before(x, depth) may change those of x in a stage that has come.
template <typename T, class Before>
__device__ void multiply(const Ring<T>& ring, Place<T::kStages>& place, int k, float (&sum)[T::kSums],
                         const Before& before) {
  const int lane = threadIdx.x % 32, group = threadIdx.x / 128;
  int last = -1;
  for (int depth = 0; depth < k; depth += kSm90Depth) {
    wait_phase(ring.full + place.stage, place.parity);
    unsigned char* x = ring.x(place.stage) + group * 8192;
    before(x, depth);
    hold(sum);
    begin_products();
    multiply_stage<T>(sum, x, ring.w(place.stage));
    commit_products();
    wait_for_products<1>();
    if (last >= 0) give_back<T>(ring, last, lane);
    last = place.stage;
    place.next();
  }
  wait_for_products<0>();
  hold(sum);
  give_back<T>(ring, last, lane);
}

template <typename T>
__device__ void multiply(const Ring<T>& ring, Place<T::kStages>& place, int k, float (&sum)[T::kSums]) {
  multiply<T>(ring, place, k, sum, [](unsigned char*, int) {});
}

inline constexpr int kLaunched = 168, kProducer = 40, kConsumer = 232;  // registers a thread with two consumers
static_assert(128 * kProducer + 256 * kConsumer <= 384 * kLaunched);

/// A block: consume(ring) by the threads that multiply, tile after tile as the job has them.
template <typename T, class Job, class Consume>
__device__ void make_tiles(const Job& job, const Consume& consume) {
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
    if (threadIdx.x == 128 * T::kConsumers) produce<T>(job, ring);
  } else {
    if constexpr (T::kMovesRegisters) take_registers<kConsumer>();
    await_launch_before();
    consume(ring);
  }
  // The other blocks arrive at the barriers of this one until they are done.
  if constexpr (T::kCluster > 1) meet_cluster();
}

}  // namespace tinylora::cuda
