// The functions as a program in C++ sees them that links the stand-in instead of opening it.
#pragma once

#include "driver/cuda.h"

CUDASIM_API CUresult cuInit(unsigned flags);
CUDASIM_API CUresult cuDeviceGetAttribute(int* value, int which, CUdevice device);
CUDASIM_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device);
CUDASIM_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device);
CUDASIM_API CUresult cuCtxSetCurrent(CUcontext context);
CUDASIM_API CUresult cuCtxSynchronize();
CUDASIM_API CUresult cuStreamSynchronize(CUstream stream);
CUDASIM_API CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream);
CUDASIM_API CUresult cuMemAllocHost_v2(void** address, size_t bytes);
CUDASIM_API CUresult cuModuleLoadData(CUmodule* module, const void* image);
CUDASIM_API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name);
CUDASIM_API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes);
CUDASIM_API CUresult cuMemFree_v2(CUdeviceptr address);
CUDASIM_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes);
CUDASIM_API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes);
CUDASIM_API CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** arguments,
                                      void** extra);
CUDASIM_API CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                                    unsigned blockX, unsigned blockY, unsigned blockZ, unsigned shared, CUstream stream,
                                    void** pointers, void** extra);
CUDASIM_API CUresult cuStreamCreate(CUstream* stream, unsigned flags);
CUDASIM_API CUresult cuStreamDestroy_v2(CUstream stream);
CUDASIM_API CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
CUDASIM_API CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph);
CUDASIM_API CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long flags);
CUDASIM_API CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream);
CUDASIM_API CUresult cuGraphDestroy(CUgraph graph);
CUDASIM_API CUresult cuGraphExecDestroy(CUgraphExec executable);
CUDASIM_API CUresult cuModuleUnload(CUmodule module);
CUDASIM_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);
CUDASIM_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
CUDASIM_API CUresult cuEventCreate(CUevent* event, unsigned flags);
CUDASIM_API CUresult cuEventDestroy_v2(CUevent event);
CUDASIM_API CUresult cuEventRecord(CUevent event, CUstream stream);
CUDASIM_API CUresult cuEventSynchronize(CUevent event);
CUDASIM_API CUresult cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to);
CUDASIM_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream);
CUDASIM_API CUresult cuMemFreeHost(void* memory);
CUDASIM_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream);
CUDASIM_API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream);
CUDASIM_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream);
CUDASIM_API const char* cudasimLastReport();
CUDASIM_API const char* cudasimLeaks();
CUDASIM_API const char* cudasimCounters();
CUDASIM_API void cudasimCountersReset();
CUDASIM_API uint64_t cudasimLaunches();
CUDASIM_API uint64_t cudasimGraphLaunches();
CUDASIM_API void cudasimFailNext(const char* kernel);
CUDASIM_API uint64_t cudasimRefuseCall(const char* call, uint64_t place);
CUDASIM_API void cudasimSetOrder(unsigned long long seed);
CUDASIM_API void cudasimSetRounding(bool asMeasured);
CUDASIM_API void cudasimSetFollowing(bool warps);
CUDASIM_API void cudasimSetSample(uint32_t blocks, const char* dry);
CUDASIM_API const char* cudasimMissingForms(const char* ptx);
CUDASIM_API CUresult cuTensorMapEncodeTiled(CUtensorMap* out, int type, unsigned rank, void* address,
                                            const uint64_t* sizes, const uint64_t* strides, const uint32_t* boxes,
                                            const uint32_t* steps, int interleave, int swizzle, int promotion,
                                            int fill);
