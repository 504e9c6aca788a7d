// Initialisation, what the device says of itself, and its one context.
#include <algorithm>
#include <cstring>

#include "driver/device.h"
#include "machine/rounding.h"

using namespace cudasim;

namespace {

CUcontext handle() { return reinterpret_cast<CUcontext>(&Device::instance()); }

/** By the driver's numbers of attributes. */
int attribute(int which, const Device& device) {
  const Settings& settings = device.settings;
  const bool hopper = settings.arch >= 90;
  switch (which) {
    case 1:
      return 1024;  // MAX_THREADS_PER_BLOCK
    case 2:
    case 3:
      return 1024;  // MAX_BLOCK_DIM_X, _Y
    case 4:
      return 64;  // MAX_BLOCK_DIM_Z
    case 5:
      return 2147483647;  // MAX_GRID_DIM_X
    case 6:
    case 7:
      return 65535;  // MAX_GRID_DIM_Y, _Z
    case 8:
      return 48 << 10;  // MAX_SHARED_MEMORY_PER_BLOCK
    case 9:
      return 64 << 10;  // TOTAL_CONSTANT_MEMORY
    case 10:
      return 32;  // WARP_SIZE
    case 12:
      return 65536;  // MAX_REGISTERS_PER_BLOCK
    case 13:
      return 1000000;  // CLOCK_RATE, kHz
    case 16:
      return settings.multiprocessors;  // MULTIPROCESSOR_COUNT
    case 17:
      return 0;  // KERNEL_EXEC_TIMEOUT
    case 18:
      return 0;  // INTEGRATED
    case 36:
      return 1000000;  // MEMORY_CLOCK_RATE
    case 37:
      return 5120;  // GLOBAL_MEMORY_BUS_WIDTH
    case 38:
      return 40 << 20;  // L2_CACHE_SIZE
    case 39:
      return static_cast<int>(device.threadsPerMultiprocessor());  // MAX_THREADS_PER_MULTIPROCESSOR
    case 40:
      return 2;  // ASYNC_ENGINE_COUNT
    case 31:
    case 41:
    case 78:
    case 83:
    case 88:
      return 1;  // CONCURRENT_KERNELS, UNIFIED_ADDRESSING, ...
    case 75:
      return settings.arch / 10;  // COMPUTE_CAPABILITY_MAJOR
    case 76:
      return settings.arch % 10;  // COMPUTE_CAPABILITY_MINOR
    case 81:
      return static_cast<int>(device.sharedPerMultiprocessor());  // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    case 82:
      return 65536;  // MAX_REGISTERS_PER_MULTIPROCESSOR
    case 95:
      return 1;  // COOPERATIVE_LAUNCH
    case 97:
      return static_cast<int>(device.maxSharedPerBlock());  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    case 106:
      return 32;  // MAX_BLOCKS_PER_MULTIPROCESSOR
    case 111:
      return 1 << 10;  // RESERVED_SHARED_MEMORY_PER_BLOCK
    case 115:
      return 1;  // MEMORY_POOLS_SUPPORTED
    case 120:
      return hopper ? 1 : 0;  // CLUSTER_LAUNCH
    case 127:
      return hopper ? 1 : 0;  // TENSOR_MAP_ACCESS_SUPPORTED
    default:
      return 0;
  }
}

CUresult initialisedOnly() { return Device::instance().initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED; }

}  // namespace

CUDASIM_API CUresult cuInit(unsigned flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Device& device = Device::instance();
  if (!device.settings.wrong.empty()) {
    device.report(device.settings.wrong);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (device.settings.roundsAsMeasured) rounding = Rounding::of(device.settings.arch);
  device.initialised = true;
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = Device::instance().settings.version;
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDeviceGetCount(int* count) {
  if (initialisedOnly() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
  *count = 1;
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (initialisedOnly() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
  if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
  *device = 0;
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  if (length < 1) return CUDA_ERROR_INVALID_VALUE;
  const std::string text = "cudasim (sm_" + std::to_string(Device::instance().settings.arch) + ")";
  const size_t kept = std::min(text.size(), static_cast<size_t>(length) - 1);
  std::memcpy(name, text.data(), kept);
  name[kept] = '\0';
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDeviceGetUuid_v2(char* uuid, CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  std::memcpy(uuid, "cudasim-device-0", 16);
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDeviceGetAttribute(int* value, int which, CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  *value = attribute(which, Device::instance());
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = Device::instance().memory.total();
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (initialisedOnly() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  if (Device::instance().refuses("cuDevicePrimaryCtxRetain")) return CUDA_ERROR_OUT_OF_MEMORY;
  ++Device::instance().contextReferences;
  *context = handle();
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  Device& sim = Device::instance();
  const std::lock_guard guard(sim.lock);
  sim.dropWork();
  sim.sticky = CUDA_SUCCESS;
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  Device& sim = Device::instance();
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard guard(sim.lock);
  if (sim.contextReferences == 0) return CUDA_ERROR_INVALID_CONTEXT;
  sim.finishAll();
  // A context that a failed kernel broke gives nothing back call by call: it ends with all that is in it.
  if (--sim.contextReferences == 0 && sim.sticky != CUDA_SUCCESS) {
    sim.sticky = CUDA_SUCCESS;
    sim.memory.releaseUnnamed();
    sim.modules.clear();
    sim.streams.clear();
    sim.events.clear();
    sim.graphs.clear();
    for (const auto& [address, block] : sim.pinned) sim.memory.release(reinterpret_cast<uint64_t>(address));
    sim.pinned.clear();
  }
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned) {
  return device == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUDASIM_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  *flags = 0;
  *active = Device::instance().contextReferences != 0 ? 1 : 0;
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuCtxSetCurrent(CUcontext context) {
  if (context != nullptr && context != handle()) return CUDA_ERROR_INVALID_CONTEXT;
  if (context != nullptr && Device::instance().refuses("cuCtxSetCurrent")) return CUDA_ERROR_OUT_OF_MEMORY;
  setCurrent(context != nullptr);
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = isCurrent() ? handle() : nullptr;
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuCtxPushCurrent_v2(CUcontext context) { return cuCtxSetCurrent(context); }

CUDASIM_API CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  if (context != nullptr) cuCtxGetCurrent(context);
  return cuCtxSetCurrent(nullptr);
}

CUDASIM_API CUresult cuCtxGetDevice(CUdevice* device) {
  *device = 0;
  return isCurrent() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUDASIM_API CUresult cuCtxSynchronize() {
  return guardedOutsideCapture("cuCtxSynchronize", [](Device& device) { return device.finishAll(); });
}

CUDASIM_API CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = -5;
  return CUDA_SUCCESS;
}
