// What the stand-in for the CUDA driver counts and can be told (test/cudasim), where TINYLORA_CUDA_DRIVER names it.
#pragma once

#include <cstdint>
#include <string>

namespace tinylora::test {

/// Null where the driver is another one.
struct SimulatedDriver {
  std::uint64_t (*launches)() = nullptr;            // kernels that were launched one by one
  std::uint64_t (*graph_launches)() = nullptr;      // graphs
  void (*fail_next)(const char* kernel) = nullptr;  // its next launch is the end of the context
  void (*refuse_captures)(int what) = nullptr;      // 1: captures, 2: launches in them
  // The call of this name ("": of any) and place from now on finds no memory; 0: none. Returns how many were left
  // before.
  std::uint64_t (*refuse_call)(const char* call, std::uint64_t place) = nullptr;
  const char* (*counters)() = nullptr;  // JSON by kernel
  void (*reset_counters)() = nullptr;
  const char* (*leaks)() = nullptr;  // what has not been given back, "" when there is nothing

  static SimulatedDriver find();
  /// A counter ("mma", "sectors", ...) of all launches of a kernel since the counters were reset; 0 without launches.
  std::int64_t counted(const std::string& kernel, const std::string& counter) const;
  explicit operator bool() const { return launches != nullptr; }
};

}  // namespace tinylora::test
