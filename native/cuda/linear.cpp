// linear and linear_backward: the rank-r factors first, where no op before has made them (low_rank.cpp), then the
// product with the update in its epilogue (kernels/product_*.cu).
#include <algorithm>
#include <array>
#include <cstdint>

#include "core/error.h"
#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/kernels/low_rank.h"
#include "cuda/kernels/product.h"
#include "cuda/launch.h"
#include "cuda/product_sm90.h"

namespace tinylora {

using cuda::aligned;
using cuda::ceil_div;
using cuda::CudaWeight;
using cuda::kMaxTasks;
using cuda::launch;
using cuda::ProductTask;

namespace {

struct Kernel {
  const char* name;
  int rows;     // of a tile
  int columns;  // of a tile
  unsigned threads;
  unsigned shared_bytes;  // without the factors of an update
};

// As kernels/product_half.cu and product_f32.cu have them.
constexpr Kernel kBf16[] = {{"product_small_bf16", 16, 8, 32, 24576},
                            {"product_mid_bf16", 64, 64, 128, 32768},
                            {"product_large_bf16", 128, 128, 256, 65536}};
constexpr Kernel kBf16Backward[] = {{"product_mid_backward_bf16", 64, 64, 128, 32768},
                                    {"product_mid_backward_bf16", 64, 64, 128, 32768},
                                    {"product_large_backward_bf16", 128, 128, 256, 65536}};
constexpr Kernel kF16[] = {{"product_small_f16", 16, 8, 32, 24576},
                           {"product_mid_f16", 64, 64, 128, 32768},
                           {"product_large_f16", 128, 128, 256, 65536}};
constexpr Kernel kF16Backward[] = {{"product_mid_backward_f16", 64, 64, 128, 32768},
                                   {"product_mid_backward_f16", 64, 64, 128, 32768},
                                   {"product_large_backward_f16", 128, 128, 256, 65536}};
constexpr Kernel kF32[] = {
    {"product_small_f32", 16, 64, 256, 0}, {"product_mid_f32", 64, 64, 256, 0}, {"product_mid_f32", 64, 64, 256, 0}};
constexpr Kernel kF32Backward[] = {{"product_mid_backward_f32", 64, 64, 256, 0},
                                   {"product_mid_backward_f32", 64, 64, 256, 0},
                                   {"product_mid_backward_f32", 64, 64, 256, 0}};

constexpr int kSmallRows = 16;
constexpr int kBlock = 128;

/// The biggest tile of which there are enough to keep every multiprocessor busy.
const Kernel& choose(const Kernel (&kernels)[3], int rows, const cuda::ProductKernelArgs& args, int multiprocessors) {
  if (rows <= kSmallRows) return kernels[0];
  std::int64_t tiles = 0;
  for (int i = 0; i < args.tasks; ++i) tiles += ceil_div(args.task[i].n, kernels[2].columns);
  return tiles * ceil_div(rows, kernels[2].rows) >= multiprocessors ? kernels[2] : kernels[1];
}

}  // namespace

/// x as the products on tensor cores can read it: rows of a multiple of 8 at addresses of a multiple of 16, by a copy
/// if need be.
void CudaBackend::set_product_input(cuda::ProductKernelArgs& args, const void* x, int rows, int k) {
  args.x = x;
  args.x_stride = k;
  args.rows = rows;
  args.k = k;
  if (!half() || (k % 8 == 0 && aligned(x, 16))) return;
  args.x_stride = cuda::round_up(k, 8);
  void* padded = padded_.get(*device_, static_cast<std::size_t>(rows) * static_cast<std::size_t>(args.x_stride) * 2);
  args.x = padded;
  launch(*device_, "low_rank", "pad_rows", {.grid = {static_cast<unsigned>(rows)}, .block = kBlock},
         cuda::PadRowsKernelArgs{x, padded, k, args.x_stride});
}

void CudaBackend::run_products(cuda::ProductKernelArgs& args, bool backward) {
  for (int i = 0; i < args.tasks; ++i) {
    ProductTask& task = args.task[i];
    task.pairs = task.n % 2 == 0 && aligned(task.y, 8) && aligned(task.residual, 8);
    task.fours = task.pairs != 0 && task.n % 4 == 0;
  }
  if (half() && cuda::has_sm90_kernels(*device_)) return cuda::run_sm90_products(*device_, args, dtype_, backward);
  const Kernel& kernel = backward ? choose(by_dtype(kBf16Backward, kF16Backward, kF32Backward), args.rows, args,
                                           device_->multiprocessors())
                                  : choose(by_dtype(kBf16, kF16, kF32), args.rows, args, device_->multiprocessors());
  unsigned tiles = 0;
  int rank = 0;
  for (int i = 0; i < args.tasks; ++i) {
    ProductTask& task = args.task[i];
    task.first_tile = static_cast<int>(tiles);
    tiles += ceil_div(task.n, kernel.columns);
    rank = std::max(rank, task.rank);
  }
  const unsigned factors = half() ? cuda::product_factor_bytes(rank, kernel.rows, kernel.columns) : 0;
  launch(*device_, half() ? "product_half" : "product_f32", kernel.name,
         {.grid = {ceil_div(args.rows, kernel.rows), tiles},
          .block = kernel.threads,
          .shared_bytes = kernel.shared_bytes + factors},
         args);
}

void CudaBackend::linear(std::span<const LinearArgs> products) {
  for (; products.size() > kMaxTasks; products = products.subspan(kMaxTasks)) linear(products.first(kMaxTasks));
  if (products.empty() || products[0].rows == 0) return;
  const int rows = products[0].rows, in = products[0].weight->in;
  std::array<LinearArgs, kMaxTasks> prepared;
  std::copy(products.begin(), products.end(), prepared.begin());
  const std::span<LinearArgs> own = std::span(prepared).first(products.size());
  const RowsOf x{products[0].x, rows, in};
  low_rank(x, low_rank_of("linear", x, own, left_, true));

  cuda::ProductKernelArgs args{};
  for (const LinearArgs& product : own) {
    check(product.residual == nullptr || product.y_float, "ERR_ARGUMENT", "cuda: linear: residual: expected a float y");
    const CudaWeight& weight = packed(product.weight, "linear");
    args.task[args.tasks++] = {.w = weight.data(),
                               .left = product.left,
                               .right = product.lora.b,
                               .bias = product.bias,
                               .residual = product.residual,
                               .y = product.y,
                               .n = weight.out,
                               .n_limit = weight.padded_out,
                               .w_stride = weight.stride,
                               .rank = product.lora.rank,
                               .first_tile = 0,
                               .y_float = product.y_float,
                               .pairs = 0,
                               .fours = 0};
  }
  set_product_input(args, x.data, rows, in);
  run_products(args, false);
}

void CudaBackend::linear_backward(const LinearBackwardArgs& args) {
  if (args.rows == 0) return;
  const CudaWeight& weight = packed(args.weight, "linear_backward");
  LinearBackwardArgs prepared = args;
  if (args.left == nullptr) {
    const RowsOf dy{args.dy, args.rows, weight.out};
    low_rank(dy, low_rank_of("linear_backward", std::span(&dy, 1), std::span(&prepared, 1), left_, true)[0]);
    add_rank_gradients(std::span(&prepared, 1));
  }
  cuda::ProductKernelArgs product{};
  product.tasks = 1;
  product.task[0] = {.w = weight.data(),
                     .left = prepared.left,
                     .right = args.lora.a,
                     .bias = nullptr,
                     .residual = args.add ? args.dx : nullptr,
                     .y = args.dx,
                     .n = weight.in,
                     .n_limit = weight.stride,
                     .w_stride = weight.stride,
                     .rank = args.lora.rank,
                     .first_tile = 0,
                     .y_float = 1,
                     .pairs = 0,
                     .fours = 0};
  set_product_input(product, args.dy, args.rows, weight.out);
  run_products(product, true);
}

}  // namespace tinylora
