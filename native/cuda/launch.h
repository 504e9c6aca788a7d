// launch(device, "norm", "rms_norm_bf16", {.grid = {rows}, .block = 256}, arguments...) queues kernel rms_norm_bf16 of
// kernels/norm.cu. Every argument is a plain value or struct, passed as the kernel declares it.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

#include "cuda/device.h"

namespace tinylora::cuda {

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

struct Shape {
  Dim3 grid;
  unsigned block = 1;
  unsigned shared_bytes = 0;  // dynamic
};

/// Blocks along y and z that every device takes; along x it is 2^31 - 1.
inline constexpr unsigned kMostAside = 65'535;

struct Argument {
  const void* data;
  std::size_t bytes;
};

/// Nothing is launched where a side of the grid is 0. ERR_ARGUMENT where one is too long. An error of the driver names
/// the kernel, the shape and the arguments.
void launch_packed(Device& device, const char* file, const char* kernel, const Shape& shape,
                   std::span<const Argument> arguments);

template <typename... Values>
void launch(Device& device, const char* file, const char* kernel, const Shape& shape, const Values&... values) {
  static_assert((std::is_trivially_copyable_v<Values> && ...));
  const std::array<Argument, sizeof...(Values)> arguments{Argument{&values, sizeof values}...};
  launch_packed(device, file, kernel, shape, arguments);
}

template <typename Count>
constexpr unsigned ceil_div(Count count, int size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

}  // namespace tinylora::cuda
