// How wgmma finds a matrix in shared memory: the 64-bit descriptor and the canonical layouts of the PTX manual
// ("Asynchronous warpgroup level matrix shared memory layout"), in units of 16 bytes, of which an 8 by 8 core matrix of
// 16-bit elements has eight.
#pragma once

#include <cstdint>

#include "machine/fault.h"
#include "machine/tensor_map.h"

namespace cudasim {

struct MatrixDescriptor {
  uint32_t start, leading, stride;  // bytes
  uint32_t swizzleBytes;            // 0, 32, 64, 128

  explicit MatrixDescriptor(uint64_t bits)
      : start(field(bits, 0)), leading(field(bits, 16)), stride(field(bits, 32)), swizzleBytes(span(bits >> 62)) {
    // The pattern of a swizzle repeats every 256, 512 or 1024 bytes, and must begin where the matrix does.
    const uint32_t phase = swizzleBytes == 0 ? 0 : start >> 7 & (swizzleBytes / 16 - 1);
    const auto base = static_cast<uint32_t>(bits >> 49 & 7);
    if (phase == base && base == 0) return;
    throw Fault{FaultKind::Misaligned, "matrix descriptor: start address " + hex(start) + " with base offset " +
                                           std::to_string(base) + ": a matrix with " + std::to_string(swizzleBytes) +
                                           "-byte swizzle begins at a multiple of " + std::to_string(8 * swizzleBytes)};
  }

  /** The 16 bytes of row `row` (of M or N) that hold k = 8 part .. 8 part + 7. */
  uint32_t alongK(uint32_t row, uint32_t part) const {
    if (swizzleBytes == 0) return start + row % 8 * 16 + row / 8 * stride + part * leading;
    return swizzled(start + row % 8 * swizzleBytes + row / 8 * stride + part * 16, swizzleBytes);
  }
  /** The 16 bytes of k that hold rows (of M or N) 8 part .. 8 part + 7. */
  uint32_t acrossK(uint32_t k, uint32_t part) const {
    if (swizzleBytes == 0) return start + k % 8 * 16 + k / 8 * leading + part * stride;
    const uint32_t parts = swizzleBytes / 16;
    return swizzled(start + k % 8 * swizzleBytes + k / 8 * stride + part % parts * 16 + part / parts * leading,
                    swizzleBytes);
  }

 private:
  static uint32_t field(uint64_t bits, uint32_t at) { return static_cast<uint32_t>(bits >> at & 0x3FFF) << 4; }
  static uint32_t span(uint64_t mode) { return mode == 0 ? 0 : 256u >> mode; }
};

}  // namespace cudasim
