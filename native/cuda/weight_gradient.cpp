// weight_gradient, and the sum over rows that head_gradient shares with it.
#include "core/error.h"
#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/kernels/gain_gradient.h"
#include "cuda/kernels/low_rank.h"
#include "cuda/launch.h"

namespace tinylora {

using cuda::aligned;
using cuda::ceil_div;
using cuda::launch;
using cuda::WeightGradientKernelArgs;

namespace {

struct Tile {
  const char* kernel;
  int out, in;
  unsigned threads, shared_bytes;
};
constexpr Tile kBf16[] = {{"weight_gradient_mid_bf16", 64, 64, 128, 32768},
                          {"weight_gradient_large_bf16", 128, 128, 256, 65536}};
constexpr Tile kF16[] = {{"weight_gradient_mid_f16", 64, 64, 128, 32768},
                         {"weight_gradient_large_f16", 128, 128, 256, 65536}};

/// Rows that cp.async can read: a copy with a stride of a multiple of 8 where they are not; lives as long as this.
struct AlignedRows {
  AlignedRows(cuda::Device& device, const void* from, int rows, int width, int from_stride)
      : data(from), stride(from_stride) {
    if (from_stride % 8 == 0 && aligned(from, 16)) return;
    stride = cuda::round_up(width, 8);
    copy = device.scratch(static_cast<std::size_t>(rows) * static_cast<std::size_t>(stride) * 2);
    data = copy.get();
    launch(device, "low_rank", "pad_rows", {.grid = {static_cast<unsigned>(rows)}, .block = 128},
           cuda::PadRowsKernelArgs{from, copy.get(), width, stride});
  }

  const void* data;
  int stride;
  std::shared_ptr<void> copy;
};

}  // namespace

/// args.dy and args.x as they lie, of strides args.dy_stride and args.x_stride.
void CudaBackend::add_outer_product(WeightGradientKernelArgs args) {
  if (args.rows == 0) return;
  args.pairs = args.in % 2 == 0 && aligned(args.d_weight, 8);
  if (dtype_ == DType::f32) {
    launch(*device_, "weight_gradient_f32", "weight_gradient_f32",
           {.grid = {ceil_div(args.out, 64), ceil_div(args.in, 64)}, .block = 256}, args);
    return;
  }
  const AlignedRows dy(*device_, args.dy, args.rows, args.out, args.dy_stride);
  const AlignedRows x(*device_, args.x, args.rows, args.in, args.x_stride);
  args.dy = dy.data;
  args.dy_stride = dy.stride;
  args.x = x.data;
  args.x_stride = x.stride;
  // The biggest tile of which there are enough to keep every multiprocessor busy; the bits are the same.
  const auto& [mid, large] = dtype_ == DType::bf16 ? kBf16 : kF16;
  const bool many =
      ceil_div(args.out, large.out) * ceil_div(args.in, large.in) >= static_cast<unsigned>(device_->multiprocessors());
  const Tile& tile = many ? large : mid;
  launch(*device_, "weight_gradient", tile.kernel,
         {.grid = {ceil_div(args.out, tile.out), ceil_div(args.in, tile.in)},
          .block = tile.threads,
          .shared_bytes = tile.shared_bytes},
         args);
}

void CudaBackend::weight_gradient(const WeightGradientArgs& args) {
  check(args.d_weight || args.d_bias, "ERR_ARGUMENT", "weight_gradient: expected d_weight or d_bias, found neither");
  if (args.d_bias) {
    launch(*device_, "gain_gradient", pick("bias_gradient_bf16", "bias_gradient_f16", "bias_gradient_f32"),
           {.grid = {ceil_div(args.out, cuda::kColumnSumWidth)}, .block = cuda::kColumnSumThreads},
           cuda::BiasGradientKernelArgs{args.dy, args.d_bias, args.rows, args.out});
  }
  if (!args.d_weight) return;
  WeightGradientKernelArgs product{};
  product.dy = args.dy;
  product.x = args.x;
  product.d_weight = args.d_weight;
  product.rows = args.rows;
  product.out = product.dy_stride = args.out;
  product.in = product.x_stride = args.in;
  add_outer_product(product);
}

}  // namespace tinylora
