// Nanoseconds of CPU that the driver stand-in takes for one instruction of a warp: cudasim_bench cudasim.ptx
#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>

#include "driver/api.h"

int main(int count, char** arguments) {
  if (count != 2) return 2;
  std::ifstream in(arguments[1]);
  std::stringstream text;
  text << in.rdbuf();
  CUcontext context;
  CUmodule module;
  CUdeviceptr out;
  if (cuInit(0) != CUDA_SUCCESS || cuDevicePrimaryCtxRetain(&context, 0) != CUDA_SUCCESS ||
      cuCtxSetCurrent(context) != CUDA_SUCCESS || cuModuleLoadData(&module, text.str().c_str()) != CUDA_SUCCESS ||
      cuMemAlloc_v2(&out, 128) != CUDA_SUCCESS) {
    return 1;
  }
  for (const char* name : {"add_f32", "fma_f32", "setp_selp", "ld_global", "ld_shared", "mma_bf16"}) {
    CUfunction function;
    if (cuModuleGetFunction(&function, module, name) != CUDA_SUCCESS) return 1;
    int rounds = 20000;
    void* parameters[] = {&out, &rounds};
    const std::clock_t begin = std::clock();
    cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr);
    if (cuCtxSynchronize() != CUDA_SUCCESS) return 1;
    const double took = 1e9 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    std::printf("%-10s %6.1f ns\n", name, took / (64.0 * rounds));
  }
  cuMemFree_v2(out);
}
