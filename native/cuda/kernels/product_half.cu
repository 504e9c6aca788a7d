// Products on tensor cores: y = residual + x W^T + bias + left right (forward), dx = [dx +] dy W + left right
// (backward). left [M, r] is z R^T or s R, right [r, n] is B transposed or A: kernels/low_rank.cuh makes left
// beforehand, so that the main loop is that of a plain product and the update costs r fused multiply-adds an output in
// the epilogue. A block reads the factors of its rows and columns once, with the first stage; they
// take r (rows + columns) floats of shared memory after the ring.
//
// Contract: every output is one chain of mma.m16n8k16, k ascending, rows of x as A, outputs as B, whatever the tile.
// Rows past M and columns of k past the end are zeros, which add nothing. So all tilings give the same bits, for 1 row
// as for 512, and K is never split: the price is that a lone row of a narrow, deep weight (out < 8 x multiprocessors)
// is bound by the latency of that chain (about 33 cycles for 16 k), not by memory.
//
//   tile             warps       k a stage   stages   shared     for
//   16 x 8    small  1           64          8        24 KiB     M <= 16: W streams by once, a warp to 8 outputs:
//                                                                many blocks keep 7 KiB of W each under way
//   64 x 64   mid    2 x 2       32          4        32 KiB     few tiles
//   128 x 128 large  2 x 4       32          4        64 KiB     two blocks a multiprocessor on sm_80
//
// x and W come by cp.async, 16 bytes a piece, into a ring of stages, one barrier a stage. Pieces of a row are permuted
// by the row (swizzle) so that the eight rows an ldmatrix reads lie in different banks; the same function serves the
// transposed reads of the backward product, which takes W as it lies ([out, in]) with ldmatrix.trans.
// Bytes of a block: (BM + BN) K 2 in, BM BN 2 or 4 out; W is read ceil(M / BM) times, from L2 after the first since the
// blocks of one column tile follow each other. Shared reads of a large warp tile: 6 ldmatrix.x4 (24 cycles) for 16 mma
// (32 cycles on sm_80). Limit: tensor cores for large M, memory for small M.
#include "early_start.cuh"
#include "product_pair.cuh"
#include "product_update.cuh"

using namespace tinylora::cuda;

namespace {

template <typename Half_, int kWarpsM_, int kWarpsN_, int kTilesM_, int kTilesN_, int kDepth_, int kStages_,
          bool kTransposed_>
struct Tiling {
  using Half = Half_;                                           // of x and W
  static constexpr int kTilesM = kTilesM_, kTilesN = kTilesN_;  // mma tiles of a warp
  static constexpr int kDepth = kDepth_, kStages = kStages_;
  static constexpr bool kTransposed = kTransposed_;  // W is read as [k, n]
  static constexpr int kWarpsM = kWarpsM_, kWarpsN = kWarpsN_, kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kRows = kWarpsM * kTilesM * 16, kColumns = kWarpsN * kTilesN * 8;
  static constexpr int kPiecesX = kDepth / 8;                               // 16-byte pieces of a row of the x tile
  static constexpr int kPiecesW = kTransposed ? kColumns / 8 : kDepth / 8;  // of the w tile
  static constexpr int kLinesW = kTransposed ? kDepth : kColumns;
  static constexpr int kBytesX = kRows * kPiecesX * 16, kStageBytes = kBytesX + kLinesW * kPiecesW * 16;
  static_assert(kDepth % 16 == 0 && kThreads % kColumns == 0 && (kTilesN == 1 || kTilesN % 2 == 0) &&
                !(kTransposed && kTilesN == 1));
};

/// Starts the copies of the stage that begins at `depth` of k.
template <typename T>
__device__ void load_stage(const ProductKernelArgs& args, const ProductTask& task, int row0, int column0, int depth,
                           unsigned char* stage) {
  const auto* x = static_cast<const typename T::Half*>(args.x);
  const auto* w = static_cast<const typename T::Half*>(task.w);
  constexpr int kPiecesOfX = T::kRows * T::kPiecesX, kPiecesOfW = T::kLinesW * T::kPiecesW;
#pragma unroll
  for (int first = 0; first < kPiecesOfX; first += T::kThreads) {
    const int index = first + static_cast<int>(threadIdx.x);
    if (kPiecesOfX % T::kThreads != 0 && index >= kPiecesOfX) break;
    const int line = index / T::kPiecesX, piece = index % T::kPiecesX;
    const bool valid = row0 + line < args.rows && depth + 8 * piece < args.x_stride;
    const auto* from = valid ? x + int64_t{row0 + line} * args.x_stride + depth + 8 * piece : x;
    copy_async(stage + swizzled<T::kPiecesX>(line, piece) * 16, from, valid);
  }
#pragma unroll
  for (int first = 0; first < kPiecesOfW; first += T::kThreads) {
    const int index = first + static_cast<int>(threadIdx.x);
    if (kPiecesOfW % T::kThreads != 0 && index >= kPiecesOfW) break;
    const int line = index / T::kPiecesW, piece = index % T::kPiecesW;
    const int n = column0 + (T::kTransposed ? 8 * piece : line);
    const int64_t offset =
        T::kTransposed ? int64_t{depth + line} * task.w_stride + n : int64_t{n} * task.w_stride + depth + 8 * piece;
    const bool valid = n < task.n_limit;  // in k the weight's padding covers a whole stage
    copy_async(stage + T::kBytesX + swizzled<T::kPiecesW>(line, piece) * 16, valid ? w + offset : w, valid);
  }
}

/// B fragments of kTilesN tiles of 8 columns at `k` of the stage.
template <typename T>
__device__ void load_w(uint32_t (&b)[T::kTilesN][2], const unsigned char* tile, int column, int k) {
  const int lane = threadIdx.x % 32;
  if constexpr (T::kTilesN == 1) {
    const int line = column + lane % 8, piece = k / 8 + lane / 8 % 2;
    load_two_matrices(b[0], tile + swizzled<T::kPiecesW>(line, piece) * 16);
  } else {
#pragma unroll
    for (int j = 0; j < T::kTilesN; j += 2) {
      uint32_t both[4];
      if constexpr (T::kTransposed) {
        const int line = k + lane % 16, piece = column / 8 + j + lane / 16;
        load_matrices_transposed(both, tile + swizzled<T::kPiecesW>(line, piece) * 16);
      } else {
        const int line = column + 8 * j + lane / 16 * 8 + lane % 8, piece = k / 8 + lane / 8 % 2;
        load_matrices(both, tile + swizzled<T::kPiecesW>(line, piece) * 16);
      }
      b[j][0] = both[0], b[j][1] = both[1], b[j + 1][0] = both[2], b[j + 1][1] = both[3];
    }
  }
}

template <typename T>
__device__ void multiply_stage(float (&sum)[T::kTilesM][T::kTilesN][4], const unsigned char* stage, int row,
                               int column) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < T::kDepth; k += 16) {
    uint32_t a[T::kTilesM][4], b[T::kTilesN][2];
#pragma unroll
    for (int i = 0; i < T::kTilesM; ++i) {
      const int line = row + 16 * i + lane % 16, piece = k / 8 + lane / 16;
      load_matrices(a[i], stage + swizzled<T::kPiecesX>(line, piece) * 16);
    }
    load_w<T>(b, stage + T::kBytesX, column, k);
#pragma unroll
    for (int i = 0; i < T::kTilesM; ++i) {
#pragma unroll
      for (int j = 0; j < T::kTilesN; ++j) multiply_add<typename T::Half>(sum[i][j], a[i], b[j][0], b[j][1]);
    }
  }
}

/// `row` and `column` are the warp's first.
template <typename T>
__device__ void store_outputs(const ProductKernelArgs& args, const ProductTask& task,
                              const float (&sum)[T::kTilesM][T::kTilesN][4], int row, int column) {
  const int group = threadIdx.x % 32 / 4, pair = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < 2 * T::kTilesM; ++i) {
    const int m = row + 8 * i + group;
    if (m >= args.rows) break;
#pragma unroll
    for (int j = 0; j < T::kTilesN; ++j) {
      const float(&c)[4] = sum[i / 2][j];
      finish_pair<typename T::Half>(task, m, column + 8 * j + pair, c[2 * (i % 2)], c[2 * (i % 2) + 1]);
    }
  }
}

template <typename T>
__device__ void product(const ProductKernelArgs& args) {
  extern __shared__ __align__(128) unsigned char shared[];
  await_launch_before();
  int tile = static_cast<int>(blockIdx.y);
  const ProductTask task = find_task(args, tile);
  const int row0 = static_cast<int>(blockIdx.x) * T::kRows, column0 = tile * T::kColumns;
  const int warp = threadIdx.x / 32;
  const int row = warp / T::kWarpsN * T::kTilesM * 16, column = warp % T::kWarpsN * T::kTilesN * 8;
  const int stages = (args.k + T::kDepth - 1) / T::kDepth;

  // Behind the ring, so that they wait there for the epilogue: the block's warps share them. They come with stage 0.
  auto* factors = reinterpret_cast<float*>(shared + T::kStages * T::kStageBytes);
  load_factors<T>(args, task, row0, column0, factors);
  float sum[T::kTilesM][T::kTilesN][4] = {};
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < stages) load_stage<T>(args, task, row0, column0, s * T::kDepth, shared + s * T::kStageBytes);
    commit_copies();
  }
  for (int s = 0; s < stages; ++s) {
    wait_for_copies<T::kStages - 2>();
    __syncthreads();  // stage s is there for all, and all are done with the stage that is overwritten now
    const int next = s + T::kStages - 1;
    if (next < stages) {
      load_stage<T>(args, task, row0, column0, next * T::kDepth, shared + next % T::kStages * T::kStageBytes);
    }
    commit_copies();
    multiply_stage<T>(sum, shared + s % T::kStages * T::kStageBytes, row, column);
  }
  // The task is looked up again: kept through the main loop, it costs the large backward tiling a spill on sm_100.
  tile = static_cast<int>(blockIdx.y);
  asm volatile("" : "+r"(tile));
  const ProductTask last = find_task(args, tile);
  if (last.rank > 0) add_update<T>(last.rank, sum, factors, row, column);
  store_outputs<T>(args, last, sum, row0 + row, column0 + column);
}

template <typename Half>
using Small = Tiling<Half, 1, 1, 1, 1, 64, 8, false>;
template <typename Half>
using Mid = Tiling<Half, 2, 2, 2, 4, 32, 4, false>;
template <typename Half>
using Large = Tiling<Half, 2, 4, 4, 4, 32, 4, false>;
template <typename Half>
using MidBackward = Tiling<Half, 2, 2, 2, 4, 32, 4, true>;
template <typename Half>
using LargeBackward = Tiling<Half, 2, 4, 4, 4, 32, 4, true>;

}  // namespace

#define TINYLORA_PRODUCTS(name, Half)                                                                          \
  extern "C" __global__ void __launch_bounds__(32) product_small_##name(ProductKernelArgs args) {              \
    product<Small<Half>>(args);                                                                                \
  }                                                                                                            \
  extern "C" __global__ void __launch_bounds__(128) product_mid_##name(ProductKernelArgs args) {               \
    product<Mid<Half>>(args);                                                                                  \
  }                                                                                                            \
  extern "C" __global__ void __launch_bounds__(256, 2) product_large_##name(ProductKernelArgs args) {          \
    product<Large<Half>>(args);                                                                                \
  }                                                                                                            \
  extern "C" __global__ void __launch_bounds__(128) product_mid_backward_##name(ProductKernelArgs args) {      \
    product<MidBackward<Half>>(args);                                                                          \
  }                                                                                                            \
  extern "C" __global__ void __launch_bounds__(256, 2) product_large_backward_##name(ProductKernelArgs args) { \
    product<LargeBackward<Half>>(args);                                                                        \
  }
TINYLORA_PRODUCTS(bf16, __nv_bfloat16)
TINYLORA_PRODUCTS(f16, __half)
#undef TINYLORA_PRODUCTS
