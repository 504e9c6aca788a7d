// The part of the CUDA driver API that the backend uses, found at run time: nothing links libcuda, so one addon serves
// machines with and without a GPU. The declarations are our own (they are part of the driver's binary interface and
// never change); the names are NVIDIA's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tinylora::cuda {

using Result = int;  // CUresult, 0 is success
using DeviceIndex = int;
using Address = std::uint64_t;  // CUdeviceptr
using Context = struct ContextOpaque*;
using Module = struct ModuleOpaque*;
using Function = struct FunctionOpaque*;
using Stream = struct StreamOpaque*;
using Event = struct EventOpaque*;
using MemoryPool = struct MemoryPoolOpaque*;
using GraphHandle = struct GraphOpaque*;
using GraphExecutable = struct GraphExecutableOpaque*;

inline constexpr Result kOutOfMemory = 2;    // CUDA_ERROR_OUT_OF_MEMORY
inline constexpr Result kNoDevice = 100;     // CUDA_ERROR_NO_DEVICE
inline constexpr Result kNoBinary = 209;     // CUDA_ERROR_NO_BINARY_FOR_GPU
inline constexpr int kOldestDriver = 12000;  // CUDA 12.0: what the entry points need, whatever nvcc made the images

/// CUdevice_attribute and CUfunction_attribute values.
enum DeviceAttribute : int {
  kSharedBytesOptIn = 97,
  kMultiprocessors = 16,
  kComputeMajor = 75,
  kComputeMinor = 76,
  kMemoryPools = 115,
};
inline constexpr int kMaxDynamicSharedBytes = 8;

/// CUlaunchAttribute.
struct LaunchAttribute {
  int id;
  int unused;
  int value;
  int rest[15];
};
static_assert(sizeof(LaunchAttribute) == 72);

/// CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, and the driver from which graphs may have it.
inline constexpr int kStartsEarly = 6;
inline constexpr int kEarlyInGraphs = 12030;

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  Stream stream;
  const LaunchAttribute* attributes;
  unsigned attribute_count;
};
static_assert(sizeof(LaunchConfig) == 56);

/// An error after which the driver answers every call of the process with the same.
bool loses_context(Result result);

struct Driver {
  Result (*init)(unsigned flags);
  Result (*driver_version)(int* version);
  Result (*device_count)(int* count);
  Result (*device_get)(DeviceIndex* device, int ordinal);
  Result (*device_name)(char* name, int size, DeviceIndex device);
  Result (*device_attribute)(int* value, int attribute, DeviceIndex device);
  Result (*device_memory)(std::size_t* bytes, DeviceIndex device);
  Result (*device_pool)(MemoryPool* pool, DeviceIndex device);
  Result (*pool_attribute)(MemoryPool pool, int attribute, void* value);
  Result (*context_retain)(Context* context, DeviceIndex device);
  Result (*context_release)(DeviceIndex device);
  Result (*context_set)(Context context);
  Result (*module_load)(Module* module, const void* image);
  Result (*module_unload)(Module module);
  Result (*module_function)(Function* function, Module module, const char* name);
  Result (*function_set)(Function function, int attribute, int value);
  Result (*launch)(const LaunchConfig* config, Function function, void** arguments, void** extra);
  Result (*memory_info)(std::size_t* free, std::size_t* total);
  Result (*memory_new)(Address* address, std::size_t bytes);
  Result (*memory_free)(Address address);
  Result (*memory_new_async)(Address* address, std::size_t bytes, Stream stream);
  Result (*memory_free_async)(Address address, Stream stream);
  Result (*host_new)(void** memory, std::size_t bytes);
  Result (*host_free)(void* memory);
  Result (*copy_in)(Address to, const void* from, std::size_t bytes, Stream stream);
  Result (*copy_out)(void* to, Address from, std::size_t bytes, Stream stream);
  Result (*fill)(Address to, unsigned char value, std::size_t bytes, Stream stream);
  Result (*stream_new)(Stream* stream, unsigned flags);
  Result (*stream_free)(Stream stream);
  Result (*stream_wait)(Stream stream);
  Result (*stream_wait_event)(Stream stream, Event event, unsigned flags);
  Result (*capture_begin)(Stream stream, int mode);
  Result (*capture_end)(Stream stream, GraphHandle* graph);
  Result (*graph_instantiate)(GraphExecutable* executable, GraphHandle graph, unsigned long long flags);
  Result (*graph_launch)(GraphExecutable executable, Stream stream);
  Result (*graph_free)(GraphHandle graph);
  Result (*executable_free)(GraphExecutable executable);
  Result (*event_new)(Event* event, unsigned flags);
  Result (*event_free)(Event event);
  Result (*event_record)(Event event, Stream stream);
  Result (*event_wait)(Event event);
  Result (*tensor_map)(void* map, int type, unsigned rank, void* address, const std::uint64_t* sizes,
                       const std::uint64_t* strides, const std::uint32_t* box, const std::uint32_t* steps,
                       int interleave, int swizzle, int promotion, int fill);
  Result (*event_elapsed)(float* milliseconds, Event from, Event to);
  Result (*error_name)(Result result, const char** name);
  Result (*error_text)(Result result, const char** text);

  /// "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered".
  std::string describe(Result result) const;
  /// Throws ERR_DEVICE "cuda: <what>: <description>" where `result` is an error, ERR_MEMORY where memory ran out.
  void check(Result result, const std::string& what) const;
};

/// The driver in `file`, opened and initialised once; without a name that of TINYLORA_CUDA_DRIVER, else libcuda.so.1.
/// Throws ERR_DEVICE with one sentence where there is none, or where it is too old.
const Driver& driver(const std::string& file = {});

}  // namespace tinylora::cuda
