// Launches that may begin before the one before them is done: what may come before griddepcontrol.wait, and what not.

__device__ void wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ void let_come() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

/** `early`: 1 reads x, 2 writes y, 3 lets the next launch come and 4 ends, each before the wait; 5 reads x after it,
 * but through the read-only path; 0 nothing. */
extern "C" __global__ void adds_one(const float* x, float* y, int early) {
  if (early == 4) return;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  float value = 0;
  if (early == 1) value = x[i];
  if (early == 2) y[i] = 0;
  if (early == 3) let_come();
  wait();
  let_come();
  if (early != 1) value = early == 5 ? __ldg(x + i) : x[i];
  y[i] = value + 1;
}

/** Reads `fixed` before it waits. */
extern "C" __global__ void adds_fixed(const float* fixed, const float* x, float* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const float value = fixed[i];
  wait();
  y[i] = x[i] + value;
}

/** One thread of a block waits, and reads for all. */
extern "C" __global__ void one_waits(const float* x, float* y, int all_write) {
  if (threadIdx.x == 0) {
    wait();
    y[blockIdx.x] = x[blockIdx.x];
  }
  if (all_write && threadIdx.x == 1) y[gridDim.x + blockIdx.x] = 1;
}
