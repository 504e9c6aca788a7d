// wgmma and stmatrix; the mistakes planted are in the names.
#include "async_proxy.cuh"

__device__ void begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ void commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ void wait_for_products() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }
__device__ void hold(float (&sum)[8]) {
  for (int i = 0; i < 8; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}
template <int kTransposesA, int kTransposesB>
__device__ void multiply(float (&sum)[8], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, 1, 1, 1, %10, "
      "%11;"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7])
      : "l"(a), "l"(b), "n"(kTransposesA), "n"(kTransposesB));
}

extern __shared__ __align__(1024) uint4 operands[];

/// The bytes of A and B as given, then one m64n16k16: sums [128 threads][8].
template <int kTransposesA, int kTransposesB>
__device__ void one_product(const uint4* bytes, int chunks, uint64_t a, uint64_t b, float* out) {
  for (int i = threadIdx.x; i < chunks; i += 128) operands[i] = bytes[i];
  proxy_fence();
  __syncthreads();
  const uint64_t base = shared(operands) >> 4;
  float sum[8] = {};
  hold(sum);
  begin();
  multiply<kTransposesA, kTransposesB>(sum, a + base, b + base);
  commit();
  wait_for_products();
  hold(sum);
  for (int i = 0; i < 8; ++i) out[8 * threadIdx.x + i] = sum[i];
}

#define PRODUCT(name, transposes_a, transposes_b)                                \
  extern "C" __global__ void __launch_bounds__(128)                              \
      name(const uint4* bytes, int chunks, uint64_t a, uint64_t b, float* out) { \
    one_product<transposes_a, transposes_b>(bytes, chunks, a, b, out);           \
  }
PRODUCT(product_kk, 0, 0)
PRODUCT(product_km, 0, 1)
PRODUCT(product_mk, 1, 0)
PRODUCT(product_mm, 1, 1)

/// A from registers: lane values as one mma fragment of each warp.
extern "C" __global__ void __launch_bounds__(128)
    product_registers(const uint32_t* a, const uint4* bytes, int chunks, uint64_t b, float* out) {
  for (int i = threadIdx.x; i < chunks; i += 128) operands[i] = bytes[i];
  proxy_fence();
  __syncthreads();
  float sum[8] = {};
  uint32_t r[4];
  for (int i = 0; i < 4; ++i) r[i] = a[4 * threadIdx.x + i];
  hold(sum);
  begin();
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11}, %12, "
      "1, -1, 1, 0;"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7])
      : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "l"(b + (shared(operands) >> 4)));
  commit();
  wait_for_products();
  hold(sum);
  for (int i = 0; i < 8; ++i) out[8 * threadIdx.x + i] = sum[i];
}

/// Ones in f16, two a word, without swizzle: sums of 16.
extern "C" __global__ void __launch_bounds__(128) ones_half(float* out) {
  __shared__ __align__(1024) uint32_t ones[512];
  for (int i = threadIdx.x; i < 512; i += 128) ones[i] = 0x3C003C00;
  proxy_fence();
  __syncthreads();
  const uint64_t matrix = static_cast<uint64_t>(shared(ones) >> 4) | 8ull << 16 | 16ull << 32;
  float sum[8];
  begin();
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %9, 0;\nwgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%0, %1, %2, %3, "
      "%4, "
      "%5, %6, %7}, %8, %8, p, 1, 1, 0, 0;\n}"
      : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3]), "=f"(sum[4]), "=f"(sum[5]), "=f"(sum[6]), "=f"(sum[7])
      : "l"(matrix), "r"(0));
  commit();
  wait_for_products();
  hold(sum);
  for (int i = 0; i < 8; ++i) out[8 * threadIdx.x + i] = sum[i];
}

enum ProductSlip { kFine, kNoWait, kNoFence, kNoProxyFence, kOverwrites };

/// A K-major A [64, 16] and B [16, 16] of ones without swizzle, written by the threads.
template <ProductSlip kSlip>
__device__ void ones(float* out) {
  __shared__ __align__(1024) uint32_t a[512], b[128];
  for (int i = threadIdx.x; i < 512; i += 128) a[i] = 0x3F803F80;
  b[threadIdx.x] = 0x3F803F80;
  if (kSlip != kNoProxyFence) proxy_fence();
  __syncthreads();
  const auto matrix = [](const void* at) {  // core matrices of 128 bytes, two along k side by side
    return static_cast<uint64_t>(shared(at) >> 4) | 8ull << 16 | 16ull << 32;
  };
  float sum[8] = {};
  hold(sum);
  if (kSlip != kNoFence) begin();
  multiply<0, 0>(sum, matrix(a), matrix(b));
  commit();
  if (kSlip == kOverwrites) a[threadIdx.x / 32 * 128] = 0;  // of the warp's own rows
  if (kSlip != kNoWait) wait_for_products();
  hold(sum);
  for (int i = 0; i < 8; ++i) out[8 * threadIdx.x + i] = sum[i];
  if (kSlip == kNoWait) wait_for_products();
}

#define ONES(name, slip) \
  extern "C" __global__ void __launch_bounds__(128) name(float* out) { ones<slip>(out); }
ONES(ones_right, kFine)
ONES(ones_no_wait, kNoWait)
ONES(ones_no_fence, kNoFence)
ONES(ones_no_proxy_fence, kNoProxyFence)
ONES(ones_overwrites, kOverwrites)

/// Registers to shared memory as 8 x 8 matrices, plain and transposed.
extern "C" __global__ void stmatrix_x4(const uint32_t* registers, uint32_t* plain, uint32_t* transposed) {
  __shared__ __align__(16) uint32_t memory[128];
  const int lane = threadIdx.x;
  const uint32_t* r = registers + 4 * lane;
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared(memory) + 16 * lane),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
  __syncwarp();
  for (int i = 0; i < 4; ++i) plain[32 * i + lane] = memory[32 * i + lane];
  __syncwarp();
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared(memory) + 16 * lane),
      "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
      : "memory");
  __syncwarp();
  for (int i = 0; i < 4; ++i) transposed[32 * i + lane] = memory[32 * i + lane];
}

/// One warpgroup gives up registers, two take some: at 384 threads each starts with 168.
template <int kGiven, int kTaken>
__device__ void move_registers(int* out) {
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kGiven));
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kTaken));
  }
  out[threadIdx.x] = 1;
}
extern "C" __global__ void __launch_bounds__(384, 1) registers_right(int* out) { move_registers<40, 232>(out); }
extern "C" __global__ void __launch_bounds__(384, 1) registers_too_many(int* out) { move_registers<40, 240>(out); }
extern "C" __global__ void __launch_bounds__(384, 1) registers_grown(int* out) { move_registers<176, 168>(out); }
