// One mistake a kernel, and the same without it where `fix` is set.
#include <cstdint>

extern "C" __global__ void out_of_bounds(float* x, int n, int fix) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (!fix || i < n) x[i] = i;
}

extern "C" __global__ void shared_out_of_bounds(float* x, int fix) {
  volatile __shared__ float s[32];
  const int i = fix ? threadIdx.x : threadIdx.x + 4;
  s[i] = 1;
  x[threadIdx.x] = s[i];
}

extern "C" __global__ void misaligned(const char* x, int* out, int fix) {
  out[threadIdx.x] = *reinterpret_cast<const int*>(x + 4 * threadIdx.x + (fix ? 0 : 2));
}

extern "C" __global__ void unwritten_global(const float* x, float* out) { out[threadIdx.x] = x[threadIdx.x] + 1; }

extern "C" __global__ void unwritten_shared(float* out, int fix) {
  __shared__ float s[64];
  s[threadIdx.x] = 1;
  if (fix) s[threadIdx.x + 32] = 2;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x + 32];
}

extern "C" __global__ void unwritten_register(int* out, int fix) {
  asm volatile(
      "{\n .reg .pred p;\n .reg .b32 r;\n setp.ne.b32 p, %1, 0;\n @p mov.b32 r, 7;\n add.s32 r, r, 1;\n"
      " st.global.b32 [%0], r;\n}" ::"l"(out),
      "r"(fix)
      : "memory");
}

extern "C" __global__ void block_race(float* out, int fix) {
  __shared__ float s[128];
  s[threadIdx.x] = 0;  // what is read too early was written, only not by whom it should have been
  __syncthreads();
  s[threadIdx.x] = threadIdx.x;
  if (fix) __syncthreads();
  out[threadIdx.x] = s[127 - threadIdx.x];
}

extern "C" __global__ void warp_race(float* out, int fix) {
  __shared__ float s[32];
  s[threadIdx.x] = threadIdx.x;
  if (fix) __syncwarp();
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}

/** Each warp reads from global memory what another one of the block wrote there. */
extern "C" __global__ void block_race_in_global(float* x, float* out, int fix) {
  x[threadIdx.x] = threadIdx.x;
  if (fix) __syncthreads();
  out[threadIdx.x] = x[threadIdx.x ^ 32];
}

extern "C" __global__ void barrier_in_branch(float* out, int fix) {
  if (fix || threadIdx.x < 16) {
    asm volatile("bar.sync 0;" ::: "memory");
    out[threadIdx.x] = 1;
  } else {
    out[threadIdx.x] = 2;
    asm volatile("bar.sync 1;" ::: "memory");
  }
}

/** Warps wait for each other at different barriers. */
extern "C" __global__ void deadlock(float* out, int fix) {
  if (threadIdx.x < 32 || fix) {
    asm volatile("bar.sync 1, 64;" ::: "memory");
  } else {
    asm volatile("bar.sync 2, 64;" ::: "memory");
  }
  out[threadIdx.x] = 1;
}

extern "C" __global__ void shuffle_mask(int* out, int fix) {
  int value = threadIdx.x;
  if (fix) {
    value = __shfl_xor_sync(~0u, value, 1);
  } else if (threadIdx.x < 16) {
    value = __shfl_xor_sync(~0u, value, 1);
  }
  out[threadIdx.x] = value;
}

extern "C" __global__ void trapped(int fix) {
  if (!fix) __trap();
}

/** `fence`: 0 none, 1 of the block, 2 of the device. */
static __device__ void fence(int which) {
  if (which == 1) __threadfence_block();
  if (which == 2) __threadfence();
}

/** The block that arrives last adds up what all have left. */
extern "C" __global__ void last_block(float* parts, unsigned* arrived, float* out, int before, int after) {
  __shared__ bool last;
  parts[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) {
    fence(before);
    last = atomicAdd(arrived, 1U) + 1 == gridDim.x;
    fence(after);
  }
  __syncthreads();
  if (!last) return;
  float sum = 0;
  for (unsigned block = 0; block < gridDim.x; ++block) sum += parts[block * blockDim.x + threadIdx.x];
  out[threadIdx.x] = sum;
}

extern "C" __global__ void other_blocks(float* x, float* out, int fix) {
  const int own = blockIdx.x * blockDim.x + threadIdx.x;
  x[own] = 1;
  float sum = 0;
  for (int i = fix ? own : 0; i <= own; ++i) sum += x[i];
  out[own] = sum;
}

extern "C" __global__ void read_only(float* x, float* out, int fix) {
  x[threadIdx.x] = 1;
  out[threadIdx.x] = fix ? x[threadIdx.x] : __ldg(x + threadIdx.x);
}

extern "C" __global__ void words_in_pairs(float* out, int fix) {
  __shared__ float words[64];
  __shared__ __align__(8) float pairs[64];
  float* place = fix ? pairs : words;
  reinterpret_cast<float2*>(place)[threadIdx.x] = make_float2(1, 2);
  out[threadIdx.x] = place[2 * threadIdx.x + 1];
}
