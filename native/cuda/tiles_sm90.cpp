#include "cuda/tiles_sm90.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "cuda/images.h"

namespace tinylora::cuda {
namespace {

constexpr int kF16Elements = 6;   // CU_TENSOR_MAP_DATA_TYPE_FLOAT16
constexpr int kBf16Elements = 9;  // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
constexpr int kSwizzle128 = 3;    // CU_TENSOR_MAP_SWIZZLE_128B
constexpr int kPromoteTo256 = 3;  // CU_TENSOR_MAP_L2_PROMOTION_L2_256B

/// Blocks of a multiprocessor, by shared memory.
constexpr unsigned resident(const Sm90Kernel& kernel) { return kernel.threads > 256 ? 1 : 2; }

}  // namespace

bool has_sm90_kernels(const Device& device) {
  const auto all = images();
  return device.info().major == 9 && device.info().minor == 0 &&
         std::any_of(all.begin(), all.end(),
                     [](const Image& image) { return std::string_view(image.file) == "product_sm90"; });
}

void encode(Device& device, TensorMap& map, DType dtype, const void* data, int rows, int stride, int box_rows) {
  const std::array<std::uint64_t, 2> sizes{static_cast<std::uint64_t>(stride), static_cast<std::uint64_t>(rows)};
  const std::array<std::uint64_t, 1> strides{2 * sizes[0]};
  const std::array<std::uint32_t, 2> box{kSm90Depth, static_cast<std::uint32_t>(box_rows)}, steps{1, 1};
  device.bind();
  const Driver& api = device.api();
  api.check(api.tensor_map(&map, dtype == DType::f16 ? kF16Elements : kBf16Elements, 2, const_cast<void*>(data),
                           sizes.data(), strides.data(), box.data(), steps.data(), 0, kSwizzle128, kPromoteTo256, 0),
            "cuTensorMapEncodeTiled");
}

int row_tiles(const Sm90Kernel& kernel, int rows) {
  return static_cast<int>(ceil_div(rows, kernel.rows * kernel.cluster));
}

Shape shape_of(const Device& device, const Sm90Kernel& kernel, int tiles, unsigned bytes_behind) {
  const auto cluster = static_cast<unsigned>(kernel.cluster);
  const unsigned resident_clusters =
      std::max(1U, static_cast<unsigned>(device.multiprocessors()) * resident(kernel) / cluster);
  return {.grid = {cluster * std::min(static_cast<unsigned>(tiles), resident_clusters)},
          .block = kernel.threads,
          .shared_bytes = kernel.shared_bytes + bytes_behind};
}

}  // namespace tinylora::cuda
