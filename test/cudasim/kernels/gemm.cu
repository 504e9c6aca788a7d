// C [M, N] = A [M, K] B [N, K]^T in bf16 with f32 sums: 64 x 64 tiles, four warps, a ring of three stages filled by
// cp.async, swizzled rows, ldmatrix, mma.m16n8k16. Each variant but the first has one mistake planted.
#include <cuda_bf16.h>

#include <cstdint>

enum class Mistake { None, NoBarrier, WaitOffByOne, NoPredicate, NoSwizzle, SwappedOperands };

constexpr int kRows = 64, kDepth = 32, kStages = 3;
constexpr uint32_t kTileBytes = kRows * kDepth * 2, kStageBytes = 2 * kTileBytes;

template <Mistake M>
__device__ uint32_t place(int row, int chunk) {
  const int swizzled = M == Mistake::NoSwizzle ? chunk : chunk ^ (row >> 1 & 3);
  return row * kDepth * 2 + swizzled * 16;
}

__device__ void copyChunk(uint32_t to, const void* from, bool wanted) {
  const int bytes = wanted ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ void loadFragments(uint32_t (&f)[4], uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
               : "r"(from)
               : "memory");
}

__device__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <Mistake M>
__device__ void gemm(float* c, const __nv_bfloat16* a, const __nv_bfloat16* b, int rows, int columns, int depth) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
  const int row0 = blockIdx.y * kRows, column0 = blockIdx.x * kRows;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpRow = warp / 2 * 32, warpColumn = warp % 2 * 32;
  float sum[2][4][4] = {};

  if (M == Mistake::NoBarrier) {  // the stages hold something before: reading them too early is a race, nothing else
    for (int i = threadIdx.x; i < kStages * kStageBytes / 4; i += blockDim.x)
      reinterpret_cast<uint32_t*>(memory)[i] = 0;
    __syncthreads();
  }
  const auto load = [&](int step) {
    const uint32_t stage = base + step % kStages * kStageBytes;
    for (int i = threadIdx.x; i < kRows * 4; i += blockDim.x) {
      const int row = i / 4, chunk = i % 4, k = step * kDepth + chunk * 8;
      const bool hasA = M == Mistake::NoPredicate || (row0 + row < rows && k < depth);
      const bool hasB = column0 + row < columns && k < depth;
      copyChunk(stage + place<M>(row, chunk), hasA ? a + static_cast<size_t>(row0 + row) * depth + k : a, hasA);
      copyChunk(stage + kTileBytes + place<M>(row, chunk),
                hasB ? b + static_cast<size_t>(column0 + row) * depth + k : b, hasB);
    }
  };
  const int steps = (depth + kDepth - 1) / kDepth;
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) load(step);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  for (int step = 0; step < steps; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(M == Mistake::WaitOffByOne ? kStages - 1 : kStages - 2) : "memory");
    if (M != Mistake::NoBarrier) __syncthreads();
    if (step + kStages - 1 < steps) load(step + kStages - 1);
    asm volatile("cp.async.commit_group;" ::: "memory");
    const uint32_t tileA = base + step % kStages * kStageBytes, tileB = tileA + kTileBytes;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t fragmentA[2][4], fragmentB[2][4];
      for (int i = 0; i < 2; ++i) {
        loadFragments(fragmentA[i], tileA + place<M>(warpRow + 16 * i + lane % 16, 2 * half + lane / 16));
        loadFragments(fragmentB[i],
                      tileB + place<M>(warpColumn + 16 * i + lane % 8 + lane / 16 * 8, 2 * half + lane / 8 % 2));
      }
      if (M == Mistake::SwappedOperands) {
        const uint32_t kept = fragmentA[0][1];
        fragmentA[0][1] = fragmentA[0][2];
        fragmentA[0][2] = kept;
      }
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 4; ++j)
          multiply(sum[i][j], fragmentA[i], fragmentB[j / 2][j % 2 * 2], fragmentB[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 4; ++j) {
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + warpRow + 16 * i + lane / 4 + 8 * (e / 2);
        const int column = column0 + warpColumn + 8 * j + 2 * (lane % 4) + e % 2;
        if (row < rows && column < columns) c[static_cast<size_t>(row) * columns + column] = sum[i][j][e];
      }
    }
  }
}

#define GEMM(name, mistake)                                                                              \
  extern "C" __global__ void __launch_bounds__(128)                                                      \
      name(float* c, const __nv_bfloat16* a, const __nv_bfloat16* b, int rows, int columns, int depth) { \
    gemm<Mistake::mistake>(c, a, b, rows, columns, depth);                                               \
  }

GEMM(gemm_right, None)
GEMM(gemm_no_barrier, NoBarrier)
GEMM(gemm_wait_off_by_one, WaitOffByOne)
GEMM(gemm_no_predicate, NoPredicate)
GEMM(gemm_no_swizzle, NoSwizzle)
GEMM(gemm_swapped_operands, SwappedOperands)
