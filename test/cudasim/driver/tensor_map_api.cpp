// cuTensorMapEncodeTiled, refusing what the driver refuses; what that is goes to the report.
#include <cstring>

#include "driver/device.h"
#include "machine/tensor_map.h"

using namespace cudasim;

namespace {

/** By CUtensorMapDataType: bytes of an element, and whether it has a NaN. */
struct Element {
  uint8_t bytes;
  bool isFloat;
};
constexpr Element kElements[] = {{1, false}, {2, false}, {4, false}, {4, false}, {8, false}, {8, false}, {2, true},
                                 {4, true},  {8, true},  {2, true},  {4, true},  {4, true},  {4, true}};

std::string problem(const TensorMap& map, const uint64_t* sizes, const uint32_t* boxes, const uint32_t* steps,
                    int interleave, int swizzle) {
  const auto dimension = [](const char* what, uint32_t d, uint64_t found) {
    return std::string(what) + "[" + std::to_string(d) + "] = " + std::to_string(found);
  };
  if (map.address % 16 != 0) return "global address " + std::to_string(map.address) + ": no multiple of 16";
  for (uint32_t d = 0; d < map.rank; ++d) {
    if (sizes[d] == 0 || sizes[d] > 1ull << 32) return dimension("globalDim", d, sizes[d]);
    if (boxes[d] == 0 || boxes[d] > 256) return dimension("boxDim", d, boxes[d]) + ": 1 to 256";
    if (steps[d] == 0 || steps[d] > 8) return dimension("elementStrides", d, steps[d]) + ": 1 to 8";
  }
  for (uint32_t d = 0; d + 1 < map.rank; ++d) {
    const uint64_t inner = d == 0 ? sizes[0] * map.elementBytes : sizes[d] * map.stride[d - 1];
    if (map.stride[d] % 16 != 0 || map.stride[d] >= 1ull << 40) {
      return dimension("globalStrides", d, map.stride[d]) + ": a multiple of 16 below 2^40";
    }
    if (map.stride[d] < inner) return dimension("globalStrides", d, map.stride[d]) + ": less than what it steps over";
  }
  const uint64_t row = uint64_t{boxes[0]} * map.elementBytes;
  if (row % 16 != 0) return "a row of the box has " + std::to_string(row) + " bytes: no multiple of 16";
  if (swizzle < 0 || swizzle > 3) return "swizzle " + std::to_string(swizzle);
  if (swizzle != 0 && row > map.swizzleBytes) {
    return "a row of the box has " + std::to_string(row) + " bytes, the swizzle spans " +
           std::to_string(map.swizzleBytes);
  }
  // Not refused by the driver, only here.
  if (interleave != 0) return "interleaved layouts: cudasim lacks them";
  if (swizzle != 0 && row < map.swizzleBytes) return "a box narrower than its swizzle: cudasim lacks it";
  if (steps[0] != 1) return "elementStrides[0]: cudasim has 1 only";
  return "";
}

}  // namespace

CUDASIM_API CUresult cuTensorMapEncodeTiled(CUtensorMap* out, int type, unsigned rank, void* address,
                                            const uint64_t* sizes, const uint64_t* strides, const uint32_t* boxes,
                                            const uint32_t* steps, int interleave, int swizzle, int, int fill) {
  return guarded([=](Device& device) {
    const auto refuse = [&](const std::string& why) {
      device.report("cuTensorMapEncodeTiled refused: " + why);
      return CUDA_ERROR_INVALID_VALUE;
    };
    if (device.settings.arch < 90) return refuse("tensor maps need sm_90");
    if (out == nullptr || reinterpret_cast<uintptr_t>(out) % 64 != 0) return refuse("tensorMap: no multiple of 64");
    if (type < 0 || type > 12) return refuse("tensorDataType " + std::to_string(type));
    if (rank < 1 || rank > 5) return refuse("tensorRank " + std::to_string(rank));
    if (sizes == nullptr || boxes == nullptr || steps == nullptr || (rank > 1 && strides == nullptr)) {
      return refuse("a null pointer");
    }
    TensorMap map{};
    map.magic = TensorMap::kMagic;
    map.rank = static_cast<uint8_t>(rank);
    map.elementBytes = kElements[type].bytes;
    map.floatBytes = kElements[type].isFloat ? kElements[type].bytes : 0;
    map.swizzleBytes = static_cast<uint8_t>(swizzle == 0 ? 0 : 16 << swizzle);
    map.fillsNan = fill != 0 ? 1 : 0;
    map.address = reinterpret_cast<uint64_t>(address);
    for (unsigned d = 0; d + 1 < rank; ++d) map.stride[d] = strides[d];
    if (const std::string why = problem(map, sizes, boxes, steps, interleave, swizzle); !why.empty()) {
      return refuse(why);
    }
    for (unsigned d = 0; d < rank; ++d) {
      map.size[d] = static_cast<uint32_t>(std::min<uint64_t>(sizes[d], ~0u));
      map.box[d] = static_cast<uint16_t>(boxes[d]);
      map.elementStep[d] = static_cast<uint16_t>(steps[d]);
    }
    *out = {};
    std::memcpy(out, &map, sizeof map);
    return CUDA_SUCCESS;
  });
}
