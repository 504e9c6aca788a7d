// Tensor maps and planted mistakes for the tests of sm_90a.
#pragma once

#include <array>

#include "driver/api.h"
#include "tests/check.h"

namespace cudasim::test {

constexpr int kFloat32 = 7;  // CU_TENSOR_MAP_DATA_TYPE_FLOAT32

/** A matrix of 4-byte elements and the box that its copies take. */
struct Tensor {
  uint64_t address, columns, rows;
  uint32_t boxColumns, boxRows;
  int swizzle = 0;  // 0: none, 1: 32, 2: 64, 3: 128 bytes
  uint64_t stride = 4 * columns;
};

inline CUresult encode(const Tensor& tensor, CUtensorMap& map) {
  const std::array<uint64_t, 2> sizes{tensor.columns, tensor.rows};
  const std::array<uint32_t, 2> box{tensor.boxColumns, tensor.boxRows}, steps{1, 1};
  return cuTensorMapEncodeTiled(&map, kFloat32, 2, reinterpret_cast<void*>(tensor.address), sizes.data(),
                                &tensor.stride, box.data(), steps.data(), 0, tensor.swizzle, 0, 0);
}

inline CUtensorMap mapOf(const Tensor& tensor) {
  CUtensorMap map;
  check(encode(tensor, map) == CUDA_SUCCESS, "cuTensorMapEncodeTiled failed");
  return map;
}

}  // namespace cudasim::test
