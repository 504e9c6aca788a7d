// lora_gradient: s and s R_k as in linear_backward (kernels/low_rank.cu), z R_k^T, then the sums over rows.
#include "cuda/kernels/lora_gradient.h"

#include <span>

#include "core/error.h"
#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/grids.h"
#include "cuda/kernels/low_rank.h"
#include "cuda/launch.h"

namespace tinylora {

using cuda::ceil_div;
using cuda::launch;

namespace {

constexpr int kBlock = 256;

}  // namespace

void CudaBackend::lora_gradient(const LoraGradientArgs& args) {
  const LoraArgs& lora = args.lora;
  check(lora.rank >= 1 && lora.rank <= cuda::kMaxRank, "ERR_ARGUMENT", "cuda: lora_gradient: rank: expected 1 to ",
        cuda::kMaxRank, ", found ", lora.rank);
  if (args.rows == 0) return;
  const std::size_t count = static_cast<std::size_t>(args.rows) * static_cast<std::size_t>(lora.rank);
  const auto memory = device_->scratch(3 * count * sizeof(float));
  auto* s = static_cast<float*>(memory.get());
  float* s_turned = s + count;
  float* z_turned = s_turned + count;

  const Factor b{lora.b, lora.b_prepared, lora.rank, args.out};
  const void* right = right_of(std::span(&b, 1))[0];
  cuda::LowRankArgs factors{};
  factors.rows = args.rows;
  factors.k = args.out;
  factors.tasks = 1;
  factors.backward = 1;
  factors.vector = cuda::all_aligned(args.dy, right) && args.out % cuda::kUnit == 0;
  factors.task[0] = {right, lora.r, lora.adapter, s, s_turned, lora.rank, 0};
  low_rank({args.dy, args.rows, args.out}, factors);
  launch(*device_, "lora_gradient", "turn", {.grid = {ceil_div(count, kBlock)}, .block = kBlock},
         cuda::TurnKernelArgs{args.z, lora.r, lora.adapter, z_turned, args.rows, lora.rank});

  const auto add = [&](const void* x, const float* left, int width, float* d) {
    const unsigned runs = ceil_div(args.rows, cuda::kLoraRun);
    const std::size_t numbers = static_cast<std::size_t>(lora.rank) * static_cast<std::size_t>(width);
    const auto sums = device_->scratch(runs * numbers * sizeof(float));
    const bool pairs = width % 2 == 0 && cuda::aligned(x, 8);
    const cuda::LoraGradientKernelArgs kernel{x,         left, static_cast<float*>(sums.get()), d, args.rows, width,
                                              lora.rank, pairs};
    const char* name = lora.rank <= 8 ? pick("lora_gradient_8_bf16", "lora_gradient_8_f16", "lora_gradient_8_f32")
                                      : pick("lora_gradient_16_bf16", "lora_gradient_16_f16", "lora_gradient_16_f32");
    launch(*device_, "lora_gradient", name, {.grid = cuda::lora_grid(args.rows, width), .block = cuda::kLoraThreads},
           kernel);
    launch(*device_, "lora_gradient", "lora_gradient_sum", {.grid = {ceil_div(numbers, kBlock)}, .block = kBlock},
           kernel);
  };
  add(args.x, s_turned, args.in, args.d_a);
  add(args.dy, z_turned, args.out, args.d_b);
}

}  // namespace tinylora
