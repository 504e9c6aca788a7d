// The products of a device with compute capability 9.0 (kernels/product_sm90.cu): which tiling, and the tensor maps
// through which TMA reads x and the weights.
#include "cuda/product_sm90.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "cuda/cuda_backend.h"
#include "cuda/images.h"
#include "cuda/kernels/product_sm90.h"
#include "cuda/launch.h"

namespace tinylora::cuda {
namespace {

// As kernels/product_sm90.cu has them.
constexpr Sm90Product kBf16[] = {{"product_small_bf16_sm90", 64, 16, 160, 83072, 1},
                                 {"product_mid32_bf16_sm90", 64, 32, 160, 99456, 1},
                                 {"product_mid64_bf16_sm90", 64, 64, 160, 99424, 1},
                                 {"product_mid_bf16_sm90", 64, 128, 160, 99392, 1},
                                 {"product_large_bf16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Product kBf16Backward[] = {{"product_mid64_backward_bf16_sm90", 64, 64, 160, 99424, 1},
                                         {"product_mid_backward_bf16_sm90", 64, 128, 160, 99392, 1},
                                         {"product_large_backward_bf16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Product kF16[] = {{"product_small_f16_sm90", 64, 16, 160, 83072, 1},
                                {"product_mid32_f16_sm90", 64, 32, 160, 99456, 1},
                                {"product_mid64_f16_sm90", 64, 64, 160, 99424, 1},
                                {"product_mid_f16_sm90", 64, 128, 160, 99392, 1},
                                {"product_large_f16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Product kF16Backward[] = {{"product_mid64_backward_f16_sm90", 64, 64, 160, 99424, 1},
                                        {"product_mid_backward_f16_sm90", 64, 128, 160, 99392, 1},
                                        {"product_large_backward_f16_sm90", 128, 256, 384, 197696, 2}};

/// So few make x, read once for every 16 columns, no more than W: the smallest tile, which streams W by once.
constexpr int kFewRows = 16;
/// Blocks of a multiprocessor, by shared memory.
constexpr unsigned resident(const Sm90Product& kernel) { return kernel.threads > 256 ? 1 : 2; }

constexpr int kF16Elements = 6;   // CU_TENSOR_MAP_DATA_TYPE_FLOAT16
constexpr int kBf16Elements = 9;  // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
constexpr int kSwizzle128 = 3;    // CU_TENSOR_MAP_SWIZZLE_128B
constexpr int kPromoteTo256 = 3;  // CU_TENSOR_MAP_L2_PROMOTION_L2_256B

/// A row-major matrix [rows, stride] of bf16 or fp16 read in boxes of 64 columns; zeros outside.
void encode(const Driver& api, TensorMap& map, DType dtype, const void* data, int rows, int stride, int box_rows) {
  const std::array<std::uint64_t, 2> sizes{static_cast<std::uint64_t>(stride), static_cast<std::uint64_t>(rows)};
  const std::array<std::uint64_t, 1> strides{2 * sizes[0]};
  const std::array<std::uint32_t, 2> box{kSm90Depth, static_cast<std::uint32_t>(box_rows)}, steps{1, 1};
  api.check(api.tensor_map(&map, dtype == DType::f16 ? kF16Elements : kBf16Elements, 2, const_cast<void*>(data),
                           sizes.data(), strides.data(), box.data(), steps.data(), 0, kSwizzle128, kPromoteTo256, 0),
            "cuTensorMapEncodeTiled");
}

std::int64_t column_tiles(const ProductKernelArgs& args, const Sm90Product& kernel) {
  std::int64_t tiles = 0;
  for (int i = 0; i < args.tasks; ++i) tiles += ceil_div(args.task[i].n, kernel.columns);
  return tiles;
}

/// The large tile where there are enough to keep every multiprocessor busy; else the one for which the busiest
/// multiprocessor asks L2 for least, which is in proportion to the rows and columns of its tiles.
const Sm90Product& choose(std::span<const Sm90Product> kernels, const ProductKernelArgs& args, int multiprocessors) {
  if (args.rows <= kFewRows) return kernels.front();
  const auto tiles = [&](const Sm90Product& kernel) {
    return column_tiles(args, kernel) * ceil_div(args.rows, kernel.rows);
  };
  if (tiles(kernels.back()) >= multiprocessors) return kernels.back();
  const auto asked = [&](const Sm90Product& kernel) {
    const std::int64_t of_busiest = (tiles(kernel) + multiprocessors - 1) / multiprocessors;
    return of_busiest * (std::min(args.rows, kernel.rows) + kernel.columns);
  };
  const auto few = kernels.first(kernels.size() - 1);
  return *std::min_element(few.rbegin(), few.rend(), [&](auto& a, auto& b) { return asked(a) < asked(b); });
}

}  // namespace

bool has_sm90_products(const Device& device) {
  const auto all = images();
  return device.info().major == 9 && device.info().minor == 0 &&
         std::any_of(all.begin(), all.end(),
                     [](const Image& image) { return std::string_view(image.file) == "product_sm90"; });
}

std::span<const Sm90Product> sm90_products(DType dtype, bool backward) {
  using Products = std::span<const Sm90Product>;
  if (dtype == DType::f16) return backward ? Products(kF16Backward) : Products(kF16);
  return backward ? Products(kBf16Backward) : Products(kBf16);
}

void run_sm90_product(Device& device, const Sm90Product& kernel, const ProductKernelArgs& product, DType dtype,
                      bool backward) {
  ProductSm90Args args{};
  args.product = product;
  args.row_tiles = static_cast<int>(ceil_div(product.rows, kernel.rows * kernel.cluster));
  args.tiles = args.row_tiles * static_cast<int>(column_tiles(product, kernel));
  device.bind();
  encode(device.api(), args.x, dtype, product.x, product.rows, product.x_stride, kernel.rows);
  int first = 0, rank = 0;
  for (int i = 0; i < product.tasks; ++i) {
    ProductTask& task = args.product.task[i];
    task.first_tile = first;
    first += static_cast<int>(ceil_div(task.n, kernel.columns));
    rank = std::max(rank, task.rank);
    // Rows of W are outputs, or k in the backward product.
    const int rows = round_up(backward ? product.k : task.n, kPadOut);
    encode(device.api(), args.w[i], dtype, task.w, rows, task.w_stride,
           backward ? kSm90Depth : kernel.columns / kernel.cluster);
  }
  const auto cluster = static_cast<unsigned>(kernel.cluster);
  const unsigned resident_clusters =
      std::max(1U, static_cast<unsigned>(device.multiprocessors()) * resident(kernel) / cluster);
  launch(device, "product_sm90", kernel.name,
         {.grid = {cluster * std::min(static_cast<unsigned>(args.tiles), resident_clusters)},
          .block = kernel.threads,
          .shared_bytes = kernel.shared_bytes + product_factor_bytes(rank, kernel.rows, kernel.columns)},
         args);
}

void run_sm90_products(Device& device, const ProductKernelArgs& product, DType dtype, bool backward) {
  const Sm90Product& kernel = choose(sm90_products(dtype, backward), product, device.multiprocessors());
  run_sm90_product(device, kernel, product, dtype, backward);
}

}  // namespace tinylora::cuda
