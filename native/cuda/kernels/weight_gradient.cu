// dW += dy^T x on tensor cores: the outputs of W are A (m16), its inputs are B (n8), rows are k.
//
// Contract: every element of dW is one chain of mma.m16n8k16 from zero, rows ascending, added to dW at the end,
// whatever the tile; rows past M are zeros. The rows are never split, so nothing is left to the order of blocks: the
// price is that a weight of few tiles does not fill the device.
//
//   tile             warps   rows a stage   stages   shared
//   64 x 64   mid    2 x 2   32             4        32 KiB
//   128 x 128 large  2 x 4   32             4        64 KiB    two blocks a multiprocessor on sm_80
//
// Both operands lie with rows down and the dimension that an mma tile spans across, so both are read with
// ldmatrix.trans from swizzled tiles that cp.async fills: no transposed copy exists. Shared reads of a large warp tile
// (64 x 32): 6 ldmatrix.x4 for 16 mma, as in the product. Bytes of a block: (BM + BN) M 2 in, BM BN 4 in and out.
// Limit: tensor cores where M is some hundreds; below that the 8 out in bytes of dW.
#include "mma.cuh"
#include "weight_gradient.h"

using namespace tinylora::cuda;

namespace {

constexpr int kDepth = 32;  // rows a stage
constexpr int kStages = 4;

template <int kWarpsM_, int kWarpsN_, int kTilesM_, int kTilesN_>
struct Tiling {
  static constexpr int kWarpsN = kWarpsN_, kTilesM = kTilesM_, kTilesN = kTilesN_;
  static constexpr int kThreads = 32 * kWarpsM_ * kWarpsN_;
  static constexpr int kOut = kWarpsM_ * kTilesM * 16, kIn = kWarpsN * kTilesN * 8;
  static constexpr int kPiecesY = kOut / 8, kPiecesX = kIn / 8;  // of 16 bytes in a row of the tile
  static constexpr int kStage = kDepth * (kPiecesY + kPiecesX);  // pieces
};

/// kDepth rows of `from`, kPieces pieces from `column` on; zeros outside.
template <typename Act, int kPieces, int kThreads>
__device__ void request(const void* from, int row, int rows, int column, int stride, uint4* to) {
  static_assert(kDepth * kPieces % kThreads == 0);
  const auto* source = static_cast<const Act*>(from);
#pragma unroll
  for (int first = 0; first < kDepth * kPieces; first += kThreads) {
    const int index = first + static_cast<int>(threadIdx.x);
    const int line = index / kPieces, piece = index % kPieces;
    const bool valid = row + line < rows && column + 8 * piece < stride;
    const int64_t offset = valid ? int64_t{row + line} * stride + column + 8 * piece : 0;
    copy_async(to + swizzled<kPieces>(line, piece), source + offset, valid);
  }
}

template <typename Act, typename T>
__device__ void multiply_stage(float (&sum)[T::kTilesM][T::kTilesN][4], const uint4* stage, int out, int in) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const uint4* x = stage + kDepth * T::kPiecesY;
#pragma unroll
  for (int k = 0; k < kDepth; k += 16) {
    std::uint32_t a[T::kTilesM][4];
#pragma unroll
    for (int i = 0; i < T::kTilesM; ++i) {
      const int line = k + lane / 16 * 8 + lane % 8, piece = out / 8 + 2 * i + lane / 8 % 2;
      load_matrices_transposed(a[i], stage + swizzled<T::kPiecesY>(line, piece));
    }
#pragma unroll
    for (int j = 0; j < T::kTilesN; j += 2) {
      std::uint32_t b[4];
      const int line = k + lane % 16, piece = in / 8 + j + lane / 16;
      load_matrices_transposed(b, x + swizzled<T::kPiecesX>(line, piece));
#pragma unroll
      for (int i = 0; i < T::kTilesM; ++i) {
        multiply_add<Act>(sum[i][j], a[i], b[0], b[1]);
        multiply_add<Act>(sum[i][j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

/// dW[out, in] and its right neighbour.
__device__ void add_pair(const WeightGradientKernelArgs& args, int out, int in, float first, float second) {
  if (out >= args.out || in >= args.in) return;
  float* to = args.d_weight + int64_t{out} * args.in + in;
  if (args.pairs) {
    const float2 before = *reinterpret_cast<const float2*>(to);
    *reinterpret_cast<float2*>(to) = make_float2(before.x + first, before.y + second);
    return;
  }
  to[0] += first;
  if (in + 1 < args.in) to[1] += second;
}

template <typename Act, typename T>
__device__ void weight_gradient(const WeightGradientKernelArgs& args) {
  extern __shared__ uint4 ring[];
  const int first_out = static_cast<int>(blockIdx.x) * T::kOut, first_in = static_cast<int>(blockIdx.y) * T::kIn;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int out = warp / T::kWarpsN * T::kTilesM * 16, in = warp % T::kWarpsN * T::kTilesN * 8;
  const int steps = (args.rows + kDepth - 1) / kDepth;
  const auto request_step = [&](int step) {
    if (step < steps) {
      uint4* stage = ring + step % kStages * T::kStage;
      request<Act, T::kPiecesY, T::kThreads>(args.dy, step * kDepth, args.rows, first_out, args.dy_stride, stage);
      request<Act, T::kPiecesX, T::kThreads>(args.x, step * kDepth, args.rows, first_in, args.x_stride,
                                             stage + kDepth * T::kPiecesY);
    }
    commit_copies();
  };

  float sum[T::kTilesM][T::kTilesN][4] = {};
  for (int step = 0; step < kStages - 1; ++step) request_step(step);
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    request_step(step + kStages - 1);
    multiply_stage<Act, T>(sum, ring + step % kStages * T::kStage, out, in);
  }
#pragma unroll
  for (int i = 0; i < T::kTilesM; ++i) {
#pragma unroll
    for (int j = 0; j < T::kTilesN; ++j) {
      const int o = first_out + out + 16 * i + lane / 4, c = first_in + in + 8 * j + lane % 4 * 2;
      add_pair(args, o, c, sum[i][j][0], sum[i][j][1]);
      add_pair(args, o + 8, c, sum[i][j][2], sum[i][j][3]);
    }
  }
}

using Mid = Tiling<2, 2, 2, 4>;
using Large = Tiling<2, 4, 4, 4>;

}  // namespace

#define TINYLORA_WEIGHT_GRADIENT(name, half)                                                                         \
  extern "C" __global__ void __launch_bounds__(128) weight_gradient_mid_##name(WeightGradientKernelArgs args) {      \
    weight_gradient<half, Mid>(args);                                                                                \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(256, 2) weight_gradient_large_##name(WeightGradientKernelArgs args) { \
    weight_gradient<half, Large>(args);                                                                              \
  }
TINYLORA_WEIGHT_GRADIENT(bf16, __nv_bfloat16)
TINYLORA_WEIGHT_GRADIENT(f16, __half)
#undef TINYLORA_WEIGHT_GRADIENT
