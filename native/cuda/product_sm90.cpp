// The products of a device with compute capability 9.0 (kernels/product_sm90.cu): which tiling, and the launch.
#include "cuda/product_sm90.h"

#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/product_sm90.h"

namespace tinylora::cuda {
namespace {

// As kernels/product_sm90.cu has them.
constexpr Sm90Kernel kBf16[] = {{"product_small_bf16_sm90", 64, 16, 160, 83072, 1},
                                {"product_mid32_bf16_sm90", 64, 32, 160, 99456, 1},
                                {"product_mid64_bf16_sm90", 64, 64, 160, 99424, 1},
                                {"product_mid_bf16_sm90", 64, 128, 160, 99392, 1},
                                {"product_large_bf16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Kernel kBf16Backward[] = {{"product_mid64_backward_bf16_sm90", 64, 64, 160, 99424, 1},
                                        {"product_mid_backward_bf16_sm90", 64, 128, 160, 99392, 1},
                                        {"product_large_backward_bf16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Kernel kF16[] = {{"product_small_f16_sm90", 64, 16, 160, 83072, 1},
                               {"product_mid32_f16_sm90", 64, 32, 160, 99456, 1},
                               {"product_mid64_f16_sm90", 64, 64, 160, 99424, 1},
                               {"product_mid_f16_sm90", 64, 128, 160, 99392, 1},
                               {"product_large_f16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Kernel kF16Backward[] = {{"product_mid64_backward_f16_sm90", 64, 64, 160, 99424, 1},
                                       {"product_mid_backward_f16_sm90", 64, 128, 160, 99392, 1},
                                       {"product_large_backward_f16_sm90", 128, 256, 384, 197696, 2}};

/// So few make x, read once for every 16 columns, no more than W: the smallest tile, which streams W by once.
constexpr int kFewRows = 16;

int column_tiles(const ProductKernelArgs& args, const Sm90Kernel& kernel) {
  unsigned tiles = 0;
  for (int i = 0; i < args.tasks; ++i) tiles += ceil_div(args.task[i].n, kernel.columns);
  return static_cast<int>(tiles);
}

}  // namespace

std::span<const Sm90Kernel> sm90_products(DType dtype, bool backward) {
  using Products = std::span<const Sm90Kernel>;
  if (dtype == DType::f16) return backward ? Products(kF16Backward) : Products(kF16);
  return backward ? Products(kBf16Backward) : Products(kBf16);
}

void run_sm90_product(Device& device, const Sm90Kernel& kernel, const ProductKernelArgs& product, DType dtype,
                      bool backward) {
  ProductSm90Args args{};
  args.product = product;
  args.row_tiles = row_tiles(kernel, product.rows);
  args.tiles = args.row_tiles * column_tiles(product, kernel);
  encode(device, args.x, dtype, product.x, product.rows, product.x_stride, kernel.rows);
  int first = 0, rank = 0;
  for (int i = 0; i < product.tasks; ++i) {
    ProductTask& task = args.product.task[i];
    task.first_tile = first;
    first += static_cast<int>(ceil_div(task.n, kernel.columns));
    rank = std::max(rank, task.rank);
    // Rows of W are outputs, or k in the backward product.
    const int rows = round_up(backward ? product.k : task.n, kPadOut);
    encode(device, args.w[i], dtype, task.w, rows, task.w_stride,
           backward ? kSm90Depth : kernel.columns / kernel.cluster);
  }
  launch(device, "product_sm90", kernel.name,
         shape_of(device, kernel, args.tiles, product_factor_bytes(rank, kernel.rows, kernel.columns)), args);
}

void run_sm90_products(Device& device, const ProductKernelArgs& product, DType dtype, bool backward) {
  const std::span<const Sm90Kernel> kernels = sm90_products(dtype, backward);
  const Sm90Kernel& kernel = product.rows <= kFewRows
                                 ? kernels.front()
                                 : least_copied(kernels, product.rows, device.multiprocessors(),
                                                [&](const Sm90Kernel& one) { return column_tiles(product, one); });
  run_sm90_product(device, kernel, product, dtype, backward);
}

}  // namespace tinylora::cuda
