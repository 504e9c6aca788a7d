// adamw           w = w (1 - rate decay) - rate (first / correction1) / (sqrt(second / correction2) + epsilon)
// sgd             w = w (1 - rate decay) - rate buffer
// square_chunks   sum x^2 of each chunk of 4096 numbers, in double, in order
// square_sum      their sum, in order
// repack          the products' copy of a master, rounded to act
//
// adamw, sgd: element by element, a thread every grid width; the bits are the cpu backend's. Bytes an element: adamw 16
// in, 12 out; limit: memory. square_chunks: a warp owns 32 chunks, brings 32 numbers of each to shared memory (32
// loads of 128 bytes) and a lane adds those of its chunk: 4 bytes a number, limit: memory where there are enough
// chunks, else the chain of 4096 additions. square_sum: one chain over the chunks, their sums prefetched by the block.
#include "act.cuh"
#include "optimizer.h"

namespace tinylora::cuda {

extern "C" __global__ __launch_bounds__(256) void adamw(AdamwArgs args) {
  const float keep = 1 - args.rate * args.decay;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < args.count; i += step) {
    const float g = args.gradient[i] * args.scale;
    const float first = args.beta1 * args.first[i] + (1 - args.beta1) * g;
    const float second = args.beta2 * args.second[i] + (1 - args.beta2) * g * g;
    args.first[i] = first;
    args.second[i] = second;
    const float change = first / args.correction1 / (sqrtf(second / args.correction2) + args.epsilon);
    args.weight[i] = args.weight[i] * keep - args.rate * change;
  }
}

extern "C" __global__ __launch_bounds__(256) void sgd(SgdArgs args) {
  const float keep = 1 - args.rate * args.decay;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < args.count; i += step) {
    const float buffer = args.momentum * args.buffer[i] + args.gradient[i] * args.scale;
    args.buffer[i] = buffer;
    args.weight[i] = args.weight[i] * keep - args.rate * buffer;
  }
}

extern "C" __global__ __launch_bounds__(kSquaresThreads) void square_chunks(SquaresKernelArgs args) {
  constexpr int kPiece = 32;
  __shared__ float piece[kSquaresThreads][kPiece + 1];
  const int lane = static_cast<int>(threadIdx.x);
  const std::int64_t first = std::int64_t{blockIdx.x} * kSquaresThreads * kSquaresChunk;
  double sum = 0;
  for (int from = 0; from < kSquaresChunk; from += kPiece) {
#pragma unroll 8
    for (int chunk = 0; chunk < kSquaresThreads; ++chunk) {
      const std::int64_t i = first + std::int64_t{chunk} * kSquaresChunk + from + lane;
      piece[chunk][lane] = i < args.count ? args.x[i] : 0;
    }
    __syncwarp();
#pragma unroll 8
    for (int i = 0; i < kPiece; ++i) {
      const double value = static_cast<double>(piece[lane][i]);
      sum += value * value;  // the product is exact; zeros past the end add nothing
    }
    __syncwarp();
  }
  if (first + std::int64_t{lane} * kSquaresChunk < args.count) {
    args.chunks[std::int64_t{blockIdx.x} * kSquaresThreads + lane] = sum;
  }
}

extern "C" __global__ __launch_bounds__(kChunksThreads) void square_sum(SquaresKernelArgs args) {
  __shared__ double own[kChunksThreads];
  const std::int64_t chunks = (args.count + kSquaresChunk - 1) / kSquaresChunk;
  double sum = 0;
  for (std::int64_t first = 0; first < chunks; first += kChunksThreads) {
    if (first + threadIdx.x < chunks) own[threadIdx.x] = args.chunks[first + threadIdx.x];
    __syncthreads();
    for (int i = 0; threadIdx.x == 0 && i < kChunksThreads && first + i < chunks; ++i) sum += own[i];
    __syncthreads();
  }
  if (threadIdx.x == 0) *args.sum = sum;
}

namespace {

template <typename Act>
__device__ void repack(const RepackKernelArgs& args) {
  for (int row = static_cast<int>(blockIdx.x); row < args.out; row += static_cast<int>(gridDim.x)) {
    const float* from = args.values + static_cast<long long>(row) * args.in;
    Act* to = static_cast<Act*>(args.packed) + static_cast<long long>(row) * args.stride;
    for (int i = static_cast<int>(threadIdx.x); i < args.in; i += static_cast<int>(blockDim.x)) store(to + i, from[i]);
  }
}

}  // namespace

extern "C" __global__ __launch_bounds__(256) void repack_bf16(RepackKernelArgs args) { repack<__nv_bfloat16>(args); }
extern "C" __global__ __launch_bounds__(256) void repack_f16(RepackKernelArgs args) { repack<__half>(args); }
extern "C" __global__ __launch_bounds__(256) void repack_f32(RepackKernelArgs args) { repack<float>(args); }

}  // namespace tinylora::cuda
