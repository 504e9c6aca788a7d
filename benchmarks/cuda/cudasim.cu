// One kernel a kind of instruction, each a loop of 64 of them.
#include <cstdint>

extern "C" __global__ void add_f32(float* out, int n) {
  float a = threadIdx.x, b = 1.5f;
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int k = 0; k < 64; ++k) asm volatile("add.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
  }
  out[threadIdx.x] = a;
}

extern "C" __global__ void fma_f32(float* out, int n) {
  float a = threadIdx.x, b = 0.5f;
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int k = 0; k < 64; ++k) asm volatile("fma.rn.f32 %0, %0, %1, %1;" : "+f"(a) : "f"(b));
  }
  out[threadIdx.x] = a;
}

extern "C" __global__ void setp_selp(float* out, int n) {
  int a = threadIdx.x;
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int k = 0; k < 32; ++k) {
      asm volatile("{ .reg .pred p; setp.lt.s32 p, %0, %1; selp.b32 %0, %1, %0, p; }" : "+r"(a) : "r"(i));
    }
  }
  out[threadIdx.x] = a;
}

// Of what a launch before has written, as most of what kernels read.
extern "C" __global__ void ld_global(float* out, int n) {
  float a = 0;
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int k = 0; k < 64; ++k) asm volatile("ld.global.f32 %0, [%1];" : "=f"(a) : "l"(out + threadIdx.x));
  }
  out[threadIdx.x] = a;
}

extern "C" __global__ void ld_shared(float* out, int n) {
  __shared__ float s[32];
  s[threadIdx.x] = 1;
  __syncthreads();
  float a = 0;
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(s + threadIdx.x));
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int k = 0; k < 64; ++k) asm volatile("ld.shared.f32 %0, [%1];" : "=f"(a) : "r"(at));
  }
  out[threadIdx.x] = a;
}

extern "C" __global__ void mma_bf16(float* out, int n) {
  float c[4] = {};
  const uint32_t a = 0x3F803F80u;
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int k = 0; k < 64; ++k) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %4, %4, %4}, {%4, %4}, "
          "{%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a));
    }
  }
  out[threadIdx.x] = c[0] + c[1] + c[2] + c[3];
}
