// Kernels: attributes, occupancy and launches.
#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include "driver/counters.h"
#include "driver/device.h"
#include "machine/grid.h"

using namespace cudasim;

namespace {

struct Configuration {
  Dim3 grid, block, cluster;
  uint32_t dynamicShared = 0;
  bool startsEarly = false;
};

/** Kernels are known by their module: a handle that no module has is refused. */
Kernel* find(Device& device, CUfunction handle) {
  for (const auto& entry : device.modules) {
    for (const auto& kernel : entry.second->kernels) {
      if (reinterpret_cast<CUfunction>(kernel.second.get()) == handle) return kernel.second.get();
    }
  }
  return nullptr;
}

CUresult refuse(Device& device, const Kernel& kernel, CUresult code, const std::string& why) {
  device.report("launch of " + kernel.program.kernel + " refused: " + why);
  return code;
}

CUresult check(Device& device, const Kernel& kernel, const Configuration& with) {
  const Dim3 &grid = with.grid, &block = with.block, &cluster = with.cluster;
  const auto refused = [&](CUresult code, const std::string& why) { return refuse(device, kernel, code, why); };
  if (grid.count() == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) {
    return refused(CUDA_ERROR_INVALID_VALUE,
                   "grid " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " + std::to_string(grid.z));
  }
  if (block.count() == 0 || block.count() > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64) {
    return refused(CUDA_ERROR_INVALID_VALUE, "a block of " + std::to_string(block.count()) + " threads");
  }
  if (block.count() > kernel.program.maxThreads) {
    return refused(CUDA_ERROR_INVALID_VALUE, std::to_string(block.count()) + " threads, the kernel allows " +
                                                 std::to_string(kernel.program.maxThreads));
  }
  if (with.dynamicShared > kernel.maxDynamicShared) {
    return refused(CUDA_ERROR_INVALID_VALUE, std::to_string(with.dynamicShared) +
                                                 " bytes of dynamic shared memory, allowed are " +
                                                 std::to_string(kernel.maxDynamicShared));
  }
  if (with.dynamicShared + kernel.program.staticShared > device.maxSharedPerBlock()) {
    return refused(CUDA_ERROR_INVALID_VALUE, "more shared memory than a block can have");
  }
  if (cluster.count() > 1 && device.settings.arch < 90) return refused(CUDA_ERROR_INVALID_VALUE, "clusters need sm_90");
  if (with.startsEarly && device.settings.arch < 90) {
    return refused(CUDA_ERROR_INVALID_VALUE, "a launch that may begin before the one before is done needs sm_90");
  }
  if (cluster.count() > 8 || grid.x % cluster.x != 0 || grid.y % cluster.y != 0 || grid.z % cluster.z != 0) {
    return refused(CUDA_ERROR_INVALID_VALUE, "the grid is no multiple of the cluster");
  }
  return CUDA_SUCCESS;
}

CUresult errorOf(FaultKind kind) {
  switch (kind) {
    case FaultKind::IllegalAddress:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FaultKind::Misaligned:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FaultKind::IllegalInstruction:
      return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case FaultKind::Assert:
      return CUDA_ERROR_ASSERT;
    default:
      return CUDA_ERROR_LAUNCH_FAILED;
  }
}

void logLaunch(const std::string& file, const Program& program, const Configuration& with,
               const std::vector<SiteCounters>& sites) {
  const auto sides = [](const Dim3& size) {
    return "[" + std::to_string(size.x) + "," + std::to_string(size.y) + "," + std::to_string(size.z) + "]";
  };
  std::ofstream(file, std::ios::app) << "{\"kernel\":\"" << program.kernel << "\",\"grid\":" << sides(with.grid)
                                     << ",\"block\":" << sides(with.block)
                                     << ",\"sharedBytes\":" << program.staticShared + with.dynamicShared
                                     << ",\"startsEarly\":" << (with.startsEarly ? "true" : "false") << ","
                                     << countersJson(program, sites) << "}\n";
}

bool beginsAsOneOf(const std::string& name, const std::string& list) {
  for (size_t at = 0; at < list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    if (end > at && name.compare(0, end - at, list, at, end - at) == 0) return true;
    at = end + 1;
  }
  return false;
}

/** The error shows at the next call, as the driver's does. */
CUresult run(Device& device, Kernel& kernel, const Configuration& with, const std::vector<uint8_t>& parameters) {
  const uint64_t at = device.parameterSpace();
  std::memcpy(reinterpret_cast<void*>(at), parameters.data(), parameters.size());
  device.memory.markDefined(at, parameters.size());
  if (with.startsEarly) device.written.sort();
  const Launch launch{kernel.program,
                      device.memory,
                      with.grid,
                      with.block,
                      with.cluster,
                      with.dynamicShared,
                      at,
                      device.settings.instructionLimit,
                      device.settings.orderSeed,
                      device.settings.followsWarps,
                      device.settings.sample,
                      device.settings.sample != 0 && beginsAsOneOf(kernel.program.kernel, device.settings.dry),
                      with.startsEarly ? &device.written : nullptr};
  ++kernel.launches;
  if (device.planted == kernel.program.kernel || ++device.runs == device.settings.failAt) {
    device.planted.clear();
    device.sticky = CUDA_ERROR_ILLEGAL_ADDRESS;
    return CUDA_SUCCESS;
  }
  std::vector<SiteCounters> sites(kernel.sites.size());
  auto [failure, written] = runGrid(launch, device.settings.threads, sites);
  device.written = std::move(written);
  for (size_t pc = 0; pc < sites.size(); ++pc) kernel.sites[pc].add(sites[pc]);
  if (!device.settings.log.empty()) logLaunch(device.settings.log, kernel.program, with, sites);
  if (failure) {
    device.report(failure->report);
    device.sticky = errorOf(failure->kind);
  }
  return CUDA_SUCCESS;
}

/** From an array of pointers, or from a buffer named by `extra`. */
CUresult gather(const Program& program, void** pointers, void** extra, std::vector<uint8_t>& out) {
  out.assign(program.parameterBytes, 0);
  if (pointers != nullptr) {
    for (size_t i = 0; i < program.parameters.size(); ++i) {
      if (pointers[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
      std::memcpy(out.data() + program.parameters[i].offset, pointers[i], program.parameters[i].size);
    }
    return CUDA_SUCCESS;
  }
  if (extra == nullptr) return program.parameters.empty() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  const void* buffer = nullptr;
  size_t size = 0;
  for (; *extra != nullptr; extra += 2) {
    if (reinterpret_cast<uintptr_t>(*extra) == 1) buffer = extra[1];
    if (reinterpret_cast<uintptr_t>(*extra) == 2) size = *static_cast<size_t*>(extra[1]);
  }
  if (buffer == nullptr || size < out.size()) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(out.data(), buffer, out.size());
  return CUDA_SUCCESS;
}

CUresult launch(Device& device, CUfunction function, const Configuration& with, CUstream stream, void** pointers,
                void** extra) {
  Kernel* kernel = find(device, function);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const CUresult result = check(device, *kernel, with); result != CUDA_SUCCESS) return result;
  std::vector<uint8_t> parameters;
  if (const CUresult result = gather(kernel->program, pointers, extra, parameters); result != CUDA_SUCCESS)
    return result;
  const Stream* target = device.stream(stream);
  const bool captured = target != nullptr && target->capture != nullptr;
  if (captured && device.refusesOf == Device::Refuses::capturedLaunches) return CUDA_ERROR_INVALID_HANDLE;
  if (target != nullptr && !captured) ++device.launches;
  return device.submit(stream, [&device, kernel, with, parameters] { return run(device, *kernel, with, parameters); });
}

/** A cluster the kernel itself asks for. */
Dim3 ownCluster(const Kernel* kernel) {
  if (kernel == nullptr || kernel->program.cluster[0] == 0) return {};
  return {kernel->program.cluster[0], kernel->program.cluster[1], kernel->program.cluster[2]};
}

}  // namespace

CUDASIM_API CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                                    unsigned blockX, unsigned blockY, unsigned blockZ, unsigned shared, CUstream stream,
                                    void** pointers, void** extra) {
  return guarded([=](Device& device) {
    if (device.refuses("cuLaunchKernel")) return CUDA_ERROR_OUT_OF_MEMORY;
    const Configuration with{
        {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, ownCluster(find(device, function)), shared};
    return launch(device, function, with, stream, pointers, extra);
  });
}

CUDASIM_API CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction function, void** pointers, void** extra) {
  return guarded([=](Device& device) {
    if (device.refuses("cuLaunchKernelEx")) return CUDA_ERROR_OUT_OF_MEMORY;
    Configuration with{{c->gridDimX, c->gridDimY, c->gridDimZ},
                       {c->blockDimX, c->blockDimY, c->blockDimZ},
                       ownCluster(find(device, function)),
                       c->sharedMemBytes};
    for (unsigned i = 0; i < c->numAttrs; ++i) {
      const auto& value = c->attrs[i].value;
      if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
        with.cluster = {value.clusterDim.x, value.clusterDim.y, value.clusterDim.z};
      } else if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) {
        with.startsEarly = value.programmaticStreamSerializationAllowed != 0;
      }
    }
    return launch(device, function, with, c->hStream, pointers, extra);
  });
}

CUDASIM_API CUresult cuFuncGetAttribute(int* value, int which, CUfunction function) {
  return guarded([=](Device& device) {
    const Kernel* kernel = find(device, function);
    if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    switch (which) {
      case 0:
        *value = static_cast<int>(kernel->program.maxThreads);
        break;
      case 1:
        *value = static_cast<int>(kernel->program.staticShared);
        break;
      case 3:
        *value = static_cast<int>(kernel->program.localBytes);
        break;
      case 4:
        *value = static_cast<int>(kernel->program.registersUsed);
        break;
      case 5:
        *value = kernel->module->text->target;
        break;  // PTX_VERSION
      case 6:
        *value = device.settings.arch;
        break;  // BINARY_VERSION
      case 8:
        *value = static_cast<int>(kernel->maxDynamicShared);
        break;
      default:
        *value = 0;
    }
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuFuncSetAttribute(CUfunction function, int which, int value) {
  return guarded([=](Device& device) {
    Kernel* kernel = find(device, function);
    if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (which != 8) return CUDA_SUCCESS;  // preferences only
    if (device.refuses("cuFuncSetAttribute")) return CUDA_ERROR_OUT_OF_MEMORY;
    if (value < 0 || static_cast<uint32_t>(value) + kernel->program.staticShared > device.maxSharedPerBlock()) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    kernel->maxDynamicShared = static_cast<uint32_t>(value);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuFuncSetCacheConfig(CUfunction, int) { return CUDA_SUCCESS; }

CUDASIM_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                                 size_t shared) {
  return guarded([=](Device& device) {
    const Kernel* kernel = find(device, function);
    if (kernel == nullptr || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
    const auto warps = static_cast<uint32_t>(threads + 31) / 32;
    const uint32_t perBlock = kernel->program.staticShared + static_cast<uint32_t>(shared) + 1024;
    const uint32_t byShared = device.sharedPerMultiprocessor() / perBlock;
    const uint32_t byRegisters = 65536 / (warps * 32 * ((kernel->program.registersUsed + 7) / 8 * 8));
    *blocks =
        static_cast<int>(std::min({32u, device.threadsPerMultiprocessor() / kLanes / warps, byShared, byRegisters}));
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function, int threads,
                                                                          size_t shared, unsigned) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared);
}
