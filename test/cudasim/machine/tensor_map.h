// What a CUtensorMap of the stand-in holds, and the walk over one of its boxes.
#pragma once

#include <cstdint>

namespace cudasim {

/** 128 bytes of which cuTensorMapEncodeTiled writes these. Dimension 0 is the innermost. */
struct TensorMap {
  static constexpr uint32_t kMagic = 0x50414D54;
  uint32_t magic;
  uint8_t rank, elementBytes;
  uint8_t swizzleBytes;  // 0, 32, 64, 128
  uint8_t fillsNan;
  uint64_t address;
  uint64_t stride[4];       // bytes, of dimension 1..
  uint32_t size[5];         // elements
  uint16_t box[5];          // elements
  uint16_t elementStep[5];  // in global memory
  uint8_t floatBytes;       // of an element that has a NaN: 2, 4, 8, else 0

  uint32_t rowBytes() const { return uint32_t{box[0]} * elementBytes; }
  uint32_t rows() const {
    uint32_t count = 1;
    for (uint32_t d = 1; d < rank; ++d) count *= box[d];
    return count;
  }
  uint32_t boxBytes() const { return rowBytes() * rows(); }
};
static_assert(sizeof(TensorMap) <= 128);

/** Where 16 bytes at this address of shared memory lie when it is swizzled over 32, 64 or 128 bytes: bits 4.. of the
 * address are changed by bits 7.. */
inline uint32_t swizzled(uint32_t address, uint32_t swizzleBytes) {
  const uint32_t mask = swizzleBytes == 0 ? 0 : swizzleBytes / 16 - 1;
  return address ^ (address >> 7 & mask) << 4;
}

}  // namespace cudasim
