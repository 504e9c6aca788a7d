// Small kernels whose results the host can compute.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

extern "C" __global__ void integers(const int* a, const int* b, int* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const unsigned ua = a[i], ub = b[i];
  int* to = out + 16 * i;
  to[0] = a[i] + b[i];
  to[1] = a[i] * b[i];
  to[2] = a[i] / (b[i] | 1);
  to[3] = a[i] % (b[i] | 1);
  to[4] = __mulhi(a[i], b[i]);
  to[5] = __umulhi(ua, ub);
  to[6] = __popc(ua) + 100 * __clz(a[i]) + 10000 * __ffs(a[i]);
  to[7] = __brev(ua);
  to[8] = __byte_perm(ua, ub, 0x5410);
  to[9] = a[i] >> (ub & 31);
  to[10] = __funnelshift_l(ua, ub, ub & 31);
  to[11] = static_cast<int>((static_cast<long long>(a[i]) * b[i]) >> 17);
  to[12] = min(a[i], b[i]) ^ max(ua, ub);
  to[13] = static_cast<signed char>(a[i]) + static_cast<unsigned char>(b[i]) + static_cast<short>(a[i]);
  to[14] = abs(a[i]) + (ua & ub | ~ua);
  to[15] = static_cast<int>(static_cast<unsigned long long>(ua) * ub / (ub | 3));
}

extern "C" __global__ void functions(const float* x, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float* to = out + 12 * i;
  to[0] = expf(x[i]);
  to[1] = sinf(x[i]);
  to[2] = cosf(x[i]);
  to[3] = logf(fabsf(x[i]) + 1e-3f);
  to[4] = tanhf(x[i]);
  to[5] = rsqrtf(fabsf(x[i]) + 1);
  to[6] = x[i] / 3.7f;
  to[7] = sqrtf(fabsf(x[i]));
  to[8] = __bfloat162float(__float2bfloat16(x[i]));
  to[9] = __half2float(__float2half(x[i]));
  to[10] = static_cast<float>(__float2int_rn(x[i]) + __float2int_rd(x[i]) * 2);
  to[11] = static_cast<float>(sin(static_cast<double>(x[i])) + static_cast<double>(x[i]) * 1e-9);
}

/** Every lane loops its own number of times and takes its own branches. */
extern "C" __global__ void diverge(const int* start, int* steps, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned value = start[i];
  int count = 0;
  while (value != 1) {
    value = value % 2 == 0 ? value / 2 : 3 * value + 1;
    if (++count == 1000) break;
  }
  switch (count % 5) {
    case 0:
      count += 10;
      break;
    case 1:
      count *= 3;
      break;
    case 2:
      count -= 7;
      break;
    case 3:
      count ^= 21;
      break;
    default:
      count = -count;
  }
  steps[i] = count;
}

/** Sums of blocks: through shared memory, then within a warp. */
extern "C" __global__ void reduce(const float* x, float* out, int n) {
  __shared__ float part[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(~0u, sum, step);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
  }
}

/** Votes, matches, atomics, a barrier that counts. */
extern "C" __global__ void together(const int* x, int* out, int* histogram) {
  __shared__ int local[8];
  if (threadIdx.x < 8) local[threadIdx.x] = 0;
  __syncthreads();
  const int i = blockIdx.x * blockDim.x + threadIdx.x, value = x[i];
  atomicAdd(&local[value & 7], 1);
  const int odd = __syncthreads_count(value & 1);
  out[4 * i] = __ballot_sync(~0u, value > 0);
  out[4 * i + 1] = __match_any_sync(~0u, value & 3);
  out[4 * i + 2] = __reduce_add_sync(~0u, value & 255);
  out[4 * i + 3] = odd;
  if (threadIdx.x < 8) atomicAdd(histogram + threadIdx.x, local[threadIdx.x]);
}

/** Each block adds up its part, and the last to arrive adds up the parts, in order; `arrived` is 0 again. */
extern "C" __global__ void last_block_adds(const float* x, float* parts, unsigned* arrived, float* sum, int part) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    float own = 0;
    for (int i = 0; i < part; ++i) own += x[blockIdx.x * part + i];
    parts[blockIdx.x] = own;
    __threadfence();
    last = atomicInc(arrived, gridDim.x - 1) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float all = 0;
  for (int i = 0; i < gridDim.x; ++i) all += parts[i];
  *sum = all;
}

/** The number of each block of a grid of two axes, counted from 1. */
extern "C" __global__ void block_numbers(unsigned* number) {
  const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) number[block] = block + 1;
}

/** The same, and `arrived` counts the blocks. */
extern "C" __global__ void counted_block_numbers(unsigned* number, unsigned* arrived) {
  const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
  if (threadIdx.x != 0) return;
  number[block] = block + 1;
  atomicAdd(arrived, 1u);
}

/** What one mma makes of the given fragments: registers in, registers out, lane by lane. */
extern "C" __global__ void mma_bf16(const uint32_t* a, const uint32_t* b, const float* c, float* d) {
  const int lane = threadIdx.x;
  float s[4];
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, "
      "%12, %13};"
      : "=f"(s[0]), "=f"(s[1]), "=f"(s[2]), "=f"(s[3])
      : "r"(a[4 * lane]), "r"(a[4 * lane + 1]), "r"(a[4 * lane + 2]), "r"(a[4 * lane + 3]), "r"(b[2 * lane]),
        "r"(b[2 * lane + 1]), "f"(c[4 * lane]), "f"(c[4 * lane + 1]), "f"(c[4 * lane + 2]), "f"(c[4 * lane + 3]));
  for (int i = 0; i < 4; ++i) d[4 * lane + i] = s[i];
}

/** Four matrices of 8 x 8 as ldmatrix hands them out, plain and transposed. */
extern "C" __global__ void ldmatrix_x4(const uint32_t* matrices, uint32_t* plain, uint32_t* transposed) {
  __shared__ __align__(16) uint32_t memory[128];
  const int lane = threadIdx.x;
  for (int i = lane; i < 128; i += 32) memory[i] = matrices[i];
  __syncthreads();
  const uint32_t row = static_cast<uint32_t>(__cvta_generic_to_shared(memory)) + 16 * lane;
  uint32_t r[4];
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
  for (int i = 0; i < 4; ++i) plain[4 * lane + i] = r[i];
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
  for (int i = 0; i < 4; ++i) transposed[4 * lane + i] = r[i];
}

/** 2^x, with and without results below 2^-126. */
extern "C" __global__ void powers(const float* x, float* kept, float* flushed) {
  const int i = threadIdx.x;
  asm("ex2.approx.f32 %0, %1;" : "=f"(kept[i]) : "f"(x[i]));
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(flushed[i]) : "f"(x[i]));
}
