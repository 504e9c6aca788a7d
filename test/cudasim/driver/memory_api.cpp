// Allocations, copies and memsets.
#include <cstring>
#include <vector>

#include "driver/device.h"
#include "machine/fault.h"

using namespace cudasim;

namespace {

CUresult badRange(Device& device, const char* what, uint64_t address, size_t bytes) {
  device.report(std::string(what) + " of " + std::to_string(bytes) + " bytes at " + hex(address) + ", " +
                device.memory.explain(address));
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult copyIn(Device& device, CUdeviceptr to, const void* from, size_t bytes) {
  if (bytes == 0) return CUDA_SUCCESS;
  if (!device.memory.find(to, bytes)) return badRange(device, "copy to device memory", to, bytes);
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  device.memory.markDefined(to, bytes);
  return CUDA_SUCCESS;
}

CUresult copyOut(Device& device, void* to, CUdeviceptr from, size_t bytes) {
  if (bytes == 0) return CUDA_SUCCESS;
  if (!device.memory.find(from, bytes)) return badRange(device, "copy from device memory", from, bytes);
  if (const auto lacking = device.memory.firstUndefined(from, bytes)) {
    device.report("copy from device memory that was never written: byte " + std::to_string(*lacking - from) + " of " +
                  std::to_string(bytes) + " at " + hex(from) + ", " + device.memory.explain(*lacking));
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return CUDA_SUCCESS;
}

/** Between allocations what was never written stays so. */
CUresult copyWithin(Device& device, CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  if (bytes == 0) return CUDA_SUCCESS;
  if (!device.memory.find(from, bytes)) return badRange(device, "copy from device memory", from, bytes);
  if (!device.memory.find(to, bytes)) return badRange(device, "copy to device memory", to, bytes);
  std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  if (!device.memory.isOwn(to)) return CUDA_SUCCESS;
  if (device.memory.isOwn(from)) {
    std::memmove(device.memory.defined(to), device.memory.defined(from), bytes);
  } else {
    device.memory.markDefined(to, bytes);
  }
  return CUDA_SUCCESS;
}

bool isPinned(Device& device, const void* memory, size_t bytes) {
  const auto found = device.memory.find(reinterpret_cast<uint64_t>(memory), bytes);
  return found && found->hostVisible;
}

/** A range that no allocation holds is refused at once, not when the stream comes to it. */
CUresult checkRange(Device& device, const char* what, CUdeviceptr address, size_t bytes) {
  return bytes == 0 || device.memory.find(address, bytes) ? CUDA_SUCCESS : badRange(device, what, address, bytes);
}

template <class T>
CUresult fill(Device& device, CUdeviceptr to, T value, size_t count) {
  const size_t bytes = count * sizeof(T);
  if (bytes == 0) return CUDA_SUCCESS;
  if (to % sizeof(T) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (!device.memory.find(to, bytes)) return badRange(device, "memset", to, bytes);
  std::fill_n(reinterpret_cast<T*>(to), count, value);
  device.memory.markDefined(to, bytes);
  return CUDA_SUCCESS;
}

template <class T>
CUresult fillAsync(CUdeviceptr to, T value, size_t count, CUstream stream) {
  return guarded([=](Device& d) {
    if (const CUresult bad = checkRange(d, "memset", to, count * sizeof(T)); bad != CUDA_SUCCESS) return bad;
    if (d.refuses("cuMemsetAsync")) return CUDA_ERROR_OUT_OF_MEMORY;
    return d.submit(stream, [=, &d] { return fill<T>(d, to, value, count); });
  });
}

/** What is to be freed in some stream counts as free: the driver would wait for it. */
CUresult allocate(Device& device, CUdeviceptr* address, size_t bytes) {
  if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  *address = device.memory.allocate(bytes);
  if (*address == 0) {
    if (const CUresult result = device.finishAll(); result != CUDA_SUCCESS) return result;
    *address = device.memory.allocate(bytes);
  }
  if (*address != 0 && device.settings.sample != 0) device.memory.markDefined(*address, bytes);
  return *address == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult release(Device& device, CUdeviceptr address) {
  if (address == 0 || device.memory.release(address)) return CUDA_SUCCESS;
  device.report("free of " + hex(address) + ", where no allocation begins: " + device.memory.explain(address));
  return CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUDASIM_API CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  return guarded([=](Device& device) {
    *total = device.memory.total();
    *free = *total - device.memory.used();
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return guardedOutsideCapture("cuMemAlloc", [=](Device& device) {
    return device.refuses("cuMemAlloc") ? CUDA_ERROR_OUT_OF_MEMORY : allocate(device, address, bytes);
  });
}

CUDASIM_API CUresult cuMemFree_v2(CUdeviceptr address) {
  return guardedOutsideCapture("cuMemFree", [=](Device& device) {
    const CUresult result = device.finishAll();
    return result != CUDA_SUCCESS ? result : release(device, address);
  });
}

CUDASIM_API CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
  return guarded([=](Device& device) {
    const Stream* target = device.stream(stream);
    if (target == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (device.refuses("cuMemAllocAsync")) return CUDA_ERROR_OUT_OF_MEMORY;
    return target->capture != nullptr ? device.refusedByCapture("cuMemAllocAsync", target)
                                      : allocate(device, address, bytes);
  });
}

/** A graph can free what it takes itself alone, and that it cannot here. */
CUDASIM_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  return guarded([=](Device& device) {
    const Stream* target = device.stream(stream);
    if (target != nullptr && target->capture != nullptr) return device.refusedByCapture("cuMemFreeAsync", target);
    return device.submit(stream, [&device, address] { return release(device, address); });
  });
}

CUDASIM_API CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  return guarded([=](Device& device) {
    const auto found = device.memory.find(address, 1);
    if (!found) return CUDA_ERROR_NOT_FOUND;
    if (base != nullptr) *base = found->begin;
    if (bytes != nullptr) *bytes = found->end - found->begin;
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  if (Device::instance().refuses("cuDeviceGetDefaultMemPool")) return CUDA_ERROR_OUT_OF_MEMORY;
  *pool = reinterpret_cast<CUmemoryPool>(&Device::instance().memory);
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  return cuDeviceGetDefaultMemPool(pool, device);
}

CUDASIM_API CUresult cuMemPoolSetAttribute(CUmemoryPool, int, void*) {
  return Device::instance().refuses("cuMemPoolSetAttribute") ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUDASIM_API CUresult cuMemPoolGetAttribute(CUmemoryPool, int, void* value) {
  const uint64_t used = Device::instance().memory.used();
  std::memcpy(value, &used, sizeof used);
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) { return CUDA_SUCCESS; }

CUDASIM_API CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned) {
  return guardedOutsideCapture("cuMemHostAlloc", [=](Device& device) {
    auto block = std::make_unique<uint8_t[]>(bytes + 64);
    *address = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(block.get()) + 63) / 64 * 64);
    device.memory.adopt(reinterpret_cast<uint64_t>(*address), bytes);
    device.pinned[*address] = std::move(block);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuMemAllocHost_v2(void** address, size_t bytes) {
  if (Device::instance().refuses("cuMemAllocHost")) return CUDA_ERROR_OUT_OF_MEMORY;
  return cuMemHostAlloc(address, bytes, 0);
}

CUDASIM_API CUresult cuMemFreeHost(void* address) {
  return guardedOutsideCapture("cuMemFreeHost", [=](Device& device) {
    if (const CUresult result = device.finishAll(); result != CUDA_SUCCESS) return result;
    if (device.pinned.erase(address) == 0) return CUDA_ERROR_INVALID_VALUE;
    device.memory.release(reinterpret_cast<uint64_t>(address));
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* address, void* host, unsigned) {
  *address = reinterpret_cast<CUdeviceptr>(host);
  return CUDA_SUCCESS;
}

CUDASIM_API CUresult cuMemHostRegister_v2(void* host, size_t bytes, unsigned) {
  return guarded([=](Device& device) {
    device.memory.adopt(reinterpret_cast<uint64_t>(host), bytes);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuMemHostUnregister(void* host) {
  return guarded([=](Device& device) {
    return device.memory.release(reinterpret_cast<uint64_t>(host)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUDASIM_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return guarded([=](Device& d) {
    if (const CUresult bad = checkRange(d, "copy to device memory", to, bytes); bad != CUDA_SUCCESS) return bad;
    if (d.refuses("cuMemcpyHtoDAsync")) return CUDA_ERROR_OUT_OF_MEMORY;
    if (isPinned(d, from, bytes)) return d.submit(stream, [=, &d] { return copyIn(d, to, from, bytes); });
    const auto* begin = static_cast<const uint8_t*>(from);  // the driver takes a copy before it returns
    return d.submit(stream, [=, &d, kept = std::vector<uint8_t>(begin, begin + bytes)] {
      return copyIn(d, to, kept.data(), bytes);
    });
  });
}

CUDASIM_API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return guarded([=](Device& d) {
    if (const CUresult bad = checkRange(d, "copy from device memory", from, bytes); bad != CUDA_SUCCESS) return bad;
    if (d.refuses("cuMemcpyDtoHAsync")) return CUDA_ERROR_OUT_OF_MEMORY;
    const CUresult result = d.submit(stream, [=, &d] { return copyOut(d, to, from, bytes); });
    Stream* target = d.stream(stream);
    const bool waits = result == CUDA_SUCCESS && target->capture == nullptr && !isPinned(d, to, bytes);
    return waits ? d.await(*target, target->given()) : result;
  });
}

CUDASIM_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return guarded([=](Device& d) { return d.submit(stream, [=, &d] { return copyWithin(d, to, from, bytes); }); });
}

CUDASIM_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return guardedOutsideCapture("cuMemcpyHtoD", [=](Device& device) {
    return device.submit(nullptr, [&] { return copyIn(device, to, from, bytes); });
  });
}

CUDASIM_API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return guardedOutsideCapture("cuMemcpyDtoH", [=](Device& device) {
    return device.submit(nullptr, [&] { return copyOut(device, to, from, bytes); });
  });
}

CUDASIM_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return guardedOutsideCapture("cuMemcpyDtoD", [=](Device& device) {
    return device.submit(nullptr, [&] { return copyWithin(device, to, from, bytes); });
  });
}

CUDASIM_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return fillAsync<uint8_t>(to, value, count, stream);
}

CUDASIM_API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
  return fillAsync<uint16_t>(to, value, count, stream);
}

CUDASIM_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  return fillAsync<uint32_t>(to, value, count, stream);
}

CUDASIM_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return cuMemsetD8Async(to, value, count, nullptr);
}

CUDASIM_API CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
  return cuMemsetD16Async(to, value, count, nullptr);
}

CUDASIM_API CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
  return cuMemsetD32Async(to, value, count, nullptr);
}
