// Kernels that may begin before the launch before them is done (programmatic dependent launch, from sm_90 on). What a
// launch costs before its first instruction, 1 to 2 us, is then hidden behind the launch before; of kernels as short as
// those of a decode step it would be a third of the time.
//
// A kernel file that includes this is compiled for compute_80 and for compute_90 (cmake/cuda.cmake), and each of its
// kernels in the latter is launched so. Every block of it must come to await_launch_before: until then a thread may
// read only what no launch may just have written, such as weights, and write nothing. After it, too, what the launch
// before wrote is for plain loads: the read-only path (__ldg, ld.global.nc) is for what stays as it is for as long as a
// kernel is there, and this one is there before the other is done. Behind what writes weights, gains or factors a
// launch waits for the end (Device::hold_next). The next launch is let come after the wait and not before, so that what
// the launch before the last has written is always there.
#pragma once

namespace tinylora::cuda {

/// Returns once the launch before is done and what it wrote can be seen; then the next one may begin.
__device__ __forceinline__ void await_launch_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\ngriddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

}  // namespace tinylora::cuda
