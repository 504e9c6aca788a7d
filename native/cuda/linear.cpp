// linear and linear_backward: the rank-r factors first (kernels/low_rank.cu), then the product with the update in its
// epilogue (kernels/product_*.cu), then dR.
#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/kernels/low_rank.h"
#include "cuda/kernels/product.h"
#include "cuda/launch.h"
#include "cuda/product_sm90.h"

namespace tinylora {

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
  unsigned shared_bytes;
};

// As kernels/product_bf16.cu and product_f32.cu have them.
constexpr Kernel kBf16[] = {{"product_small_bf16", 16, 8, 32, 24576},
                            {"product_mid_bf16", 64, 64, 128, 32768},
                            {"product_large_bf16", 128, 128, 256, 65536}};
constexpr Kernel kBf16Backward[] = {{"product_mid_backward_bf16", 64, 64, 128, 32768},
                                    {"product_mid_backward_bf16", 64, 64, 128, 32768},
                                    {"product_large_backward_bf16", 128, 128, 256, 65536}};
constexpr Kernel kF32[] = {
    {"product_small_f32", 16, 64, 256, 0}, {"product_mid_f32", 64, 64, 256, 0}, {"product_mid_f32", 64, 64, 256, 0}};
constexpr Kernel kF32Backward[] = {{"product_mid_backward_f32", 64, 64, 256, 0},
                                   {"product_mid_backward_f32", 64, 64, 256, 0},
                                   {"product_mid_backward_f32", 64, 64, 256, 0}};

constexpr int kSmallRows = 16;
constexpr int kBlock = 128;

bool aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

/// The biggest tile of which there are enough to keep every multiprocessor busy.
const Kernel& choose(const Kernel (&kernels)[3], int rows, const cuda::ProductKernelArgs& args, int multiprocessors) {
  if (rows <= kSmallRows) return kernels[0];
  std::int64_t tiles = 0;
  for (int i = 0; i < args.tasks; ++i) tiles += ceil_div(args.task[i].n, kernels[2].columns);
  return tiles * ceil_div(rows, kernels[2].rows) >= multiprocessors ? kernels[2] : kernels[1];
}

}  // namespace

/// x as the bf16 products can read it: rows of a multiple of 8 at addresses of a multiple of 16, by a copy if need be.
void CudaBackend::set_product_input(cuda::ProductKernelArgs& args, const void* x, int rows, int k) {
  args.x = x;
  args.x_stride = k;
  args.rows = rows;
  args.k = k;
  if (!bf16() || (k % 8 == 0 && aligned(x, 16))) return;
  args.x_stride = cuda::round_up(k, 8);
  void* padded = padded_.get(*device_, static_cast<std::size_t>(rows) * static_cast<std::size_t>(args.x_stride) * 2);
  args.x = padded;
  launch(*device_, "low_rank", "pad_rows", {.grid = {static_cast<unsigned>(rows)}, .block = kBlock},
         cuda::PadRowsKernelArgs{x, padded, k, args.x_stride});
}

void CudaBackend::run_products(cuda::ProductKernelArgs& args, bool backward) {
  const bool half = bf16();
  for (int i = 0; i < args.tasks; ++i) {
    ProductTask& task = args.task[i];
    task.pairs = task.n % 2 == 0 && aligned(task.y, 8) && aligned(task.residual, 8);
  }
  if (half && cuda::has_sm90_products(*device_)) return cuda::run_sm90_products(*device_, args, backward);
  const Kernel& kernel = backward
                             ? choose(half ? kBf16Backward : kF32Backward, args.rows, args, device_->multiprocessors())
                             : choose(half ? kBf16 : kF32, args.rows, args, device_->multiprocessors());
  unsigned tiles = 0;
  for (int i = 0; i < args.tasks; ++i) {
    ProductTask& task = args.task[i];
    task.first_tile = static_cast<int>(tiles);
    tiles += ceil_div(task.n, kernel.columns);
  }
  launch(
      *device_, half ? "product_bf16" : "product_f32", kernel.name,
      {.grid = {ceil_div(args.rows, kernel.rows), tiles}, .block = kernel.threads, .shared_bytes = kernel.shared_bytes},
      args);
}

void CudaBackend::linear(std::span<const LinearArgs> products) {
  for (; products.size() > kMaxTasks; products = products.subspan(kMaxTasks)) linear(products.first(kMaxTasks));
  if (products.empty() || products[0].rows == 0) return;
  const LinearArgs& first = products[0];
  const int in = first.weight->in;
  const auto rows = static_cast<std::size_t>(first.rows);
  std::size_t ranks = 0;
  for (const LinearArgs& product : products) {
    check(product.x == first.x && product.rows == first.rows && product.weight->in == in, "ERR_ARGUMENT",
          "cuda: linear: expected products of one x");
    check(product.lora.rank >= 0 && product.lora.rank <= cuda::kMaxRank, "ERR_ARGUMENT",
          "cuda: linear: rank: expected 0 to ", cuda::kMaxRank, ", found ", product.lora.rank);
    check(product.residual == nullptr || product.y_float, "ERR_ARGUMENT", "cuda: linear: residual: expected a float y");
    ranks += static_cast<std::size_t>(product.lora.rank);
  }
  auto* left = ranks > 0 ? left_.get<float>(*device_, rows * ranks) : nullptr;

  cuda::LowRankKernelArgs low_rank{};
  low_rank.x = first.x;
  low_rank.k = in;
  cuda::ProductKernelArgs args{};
  unsigned updates = 0;
  for (const LinearArgs& product : products) {
    const CudaWeight& weight = packed(product.weight, "linear");
    const LoraArgs& lora = product.lora;
    ProductTask& task = args.task[args.tasks++];
    task = {.w = weight.data(),
            .left = left,
            .right = lora.b,
            .bias = product.bias,
            .residual = product.residual,
            .y = product.y,
            .n = weight.out,
            .n_limit = weight.padded_out,
            .w_stride = weight.stride,
            .rank = lora.rank,
            .first_tile = 0,
            .y_float = product.y_float,
            .pairs = 0,
            .unused = 0};
    if (lora.rank == 0) continue;
    low_rank.task[updates++] = {lora.a, lora.r, lora.adapter, product.z, left, lora.rank, 0};
    left += rows * static_cast<std::size_t>(lora.rank);
  }
  launch(*device_, "low_rank", pick("low_rank_bf16", "low_rank_f32"),
         {.grid = {static_cast<unsigned>(first.rows), updates}, .block = kBlock}, low_rank);
  set_product_input(args, first.x, first.rows, in);
  run_products(args, false);
}

void CudaBackend::linear_backward(const LinearBackwardArgs& args) {
  if (args.rows == 0) return;
  const CudaWeight& weight = packed(args.weight, "linear_backward");
  const LoraArgs& lora = args.lora;
  check(lora.rank >= 0 && lora.rank <= cuda::kMaxRank, "ERR_ARGUMENT", "cuda: linear_backward: rank: expected 0 to ",
        cuda::kMaxRank, ", found ", lora.rank);
  float* left = nullptr;
  if (lora.rank > 0) {
    const std::size_t count = static_cast<std::size_t>(args.rows) * static_cast<std::size_t>(lora.rank);
    left = left_.get<float>(*device_, 2 * count);
    float* s = left + count;
    cuda::LowRankKernelArgs low_rank{};
    low_rank.x = args.dy;
    low_rank.k = weight.out;
    low_rank.backward = 1;
    low_rank.task[0] = {lora.b, lora.r, lora.adapter, s, left, lora.rank, 0};
    launch(*device_, "low_rank", pick("low_rank_bf16", "low_rank_f32"),
           {.grid = {static_cast<unsigned>(args.rows)}, .block = kBlock}, low_rank);
    launch(*device_, "low_rank", "rank_gradient", {.grid = {}, .block = 256},
           cuda::RankGradientKernelArgs{s, args.z, lora.adapter, args.d_r, args.rows, lora.rank});
  }
  cuda::ProductKernelArgs product{};
  product.tasks = 1;
  product.task[0] = {.w = weight.data(),
                     .left = left,
                     .right = lora.a,
                     .bias = nullptr,
                     .residual = args.add ? args.dx : nullptr,
                     .y = args.dx,
                     .n = weight.in,
                     .n_limit = weight.stride,
                     .w_stride = weight.stride,
                     .rank = lora.rank,
                     .first_tile = 0,
                     .y_float = 1,
                     .pairs = 0,
                     .unused = 0};
  set_product_input(product, args.dy, args.rows, weight.out);
  run_products(product, true);
}

}  // namespace tinylora
