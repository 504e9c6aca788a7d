// The factors of updates, left = z R^T or s R, and dR: made by the op that writes the input of the products, when it is
// told of them, else by linear and linear_backward (kernels/low_rank.cu). The kernels share low_rank.cuh, so the bits
// are the same; attention, which has a row's heads in different blocks, adds in an order of its own.
#include "cuda/kernels/low_rank.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/kernels/attention.h"
#include "cuda/row_kernel.h"

namespace tinylora {

using cuda::kMaxTasks;
using cuda::LowRankArgs;

namespace {

std::size_t numbers(int rows, int rank) { return static_cast<std::size_t>(rows) * static_cast<std::size_t>(rank); }

void check_rank(const char* op, const LoraArgs& lora) {
  check(lora.rank >= 0 && lora.rank <= cuda::kMaxRank, "ERR_ARGUMENT", "cuda: ", op, ": rank: expected 0 to ",
        cuda::kMaxRank, ", found ", lora.rank);
}

void check_reads(const char* op, const LinearArgs& product, const CudaBackend::RowsOf& x) {
  check(product.x == x.data && product.rows == x.rows && product.weight->in == x.width, "ERR_ARGUMENT", "cuda: ", op,
        ": expected products of one x");
}

constexpr cuda::RowKernel kLowRank{
    "low_rank", "low_rank_f32", {"low_rank_bf16", "low_rank_tall_bf16"}, {"low_rank_f16", "low_rank_tall_f16"}};

void add_task(LowRankArgs& args, const cuda::LowRankTask& task) {
  args.task[args.tasks++] = task;
  if (!cuda::all_aligned(task.right)) args.vector = 0;
}

LowRankArgs without_tasks(const CudaBackend::RowsOf& x, bool aligned) {
  LowRankArgs args{};
  args.rows = x.rows;
  args.k = x.width;
  args.vector = aligned && cuda::all_aligned(x.data) && x.width % cuda::kUnit == 0;
  return args;
}

}  // namespace

std::size_t CudaBackend::prepared_bytes(int rank, int width) const {
  return half() ? static_cast<std::size_t>(cuda::factor_terms_bytes(rank, width)) : 0;
}

void CudaBackend::prepare_factor(const float* factor, int rank, int width, void* prepared) {
  if (!half()) return;
  cuda::launch(*device_, "factor_terms", dtype_ == DType::bf16 ? "factor_terms_bf16" : "factor_terms_f16",
               {.grid = {static_cast<unsigned>(rank)}, .block = cuda::kFactorTermsThreads},
               cuda::FactorTermsKernelArgs{factor, prepared, width, 0});
  device_->hold_next();
}

std::vector<const void*> CudaBackend::right_of(std::span<const Factor> factors) {
  const auto missing = [&](const Factor& factor) {
    const bool needed = factor.rank > 0 && factor.prepared == nullptr;
    return needed ? prepared_bytes(factor.rank, factor.width) : 0;
  };
  std::size_t bytes = 0;
  for (const Factor& factor : factors) bytes += missing(factor);
  auto* spare = bytes > 0 ? terms_.get<unsigned char>(*device_, bytes) : nullptr;
  std::vector<const void*> right;
  for (const Factor& factor : factors) {
    right.push_back(half() ? factor.prepared : factor.values);
    if (missing(factor) == 0) continue;
    prepare_factor(factor.values, factor.rank, factor.width, spare);
    right.back() = spare;
    spare += missing(factor);
  }
  return right;
}

LowRankArgs CudaBackend::low_rank_of(const char* op, const RowsOf& x, std::span<LinearArgs> products,
                                     cuda::Scratch& memory, bool aligned) {
  check(products.size() <= kMaxTasks, "ERR_ARGUMENT", "cuda: ", op, ": expected at most ", kMaxTasks,
        " products of one x, found ", products.size());
  std::size_t count = 0;
  std::vector<Factor> factors;
  for (const LinearArgs& product : products) {
    check_reads(op, product, x);
    check_rank(op, product.lora);
    const LoraArgs& lora = product.lora;
    factors.push_back({lora.a, lora.a_prepared, product.left == nullptr ? lora.rank : 0, x.width});
    if (product.left == nullptr) count += numbers(product.rows, lora.rank);
  }
  LowRankArgs args = without_tasks(x, aligned);
  const std::vector<const void*> right = right_of(factors);
  auto* left = count > 0 ? memory.get<float>(*device_, count) : nullptr;
  for (std::size_t i = 0; i < products.size(); ++i) {
    LinearArgs& product = products[i];
    const LoraArgs& lora = product.lora;
    if (lora.rank == 0 || product.left != nullptr) continue;
    add_task(args, {right[i], lora.r, lora.adapter, product.z, left, lora.rank, 0});
    product.left = left;
    left += numbers(product.rows, lora.rank);
  }
  return args;
}

cuda::AttentionUpdate CudaBackend::attention_update(const AttentionArgs& args) {
  check(args.readers.count <= 1, "ERR_ARGUMENT", "cuda: attention: expected at most one product of out, found ",
        args.readers.count);
  if (args.readers.count == 0) return {};
  LinearArgs& product = *args.readers.first;
  const LoraArgs& lora = product.lora;
  check_reads("attention", product, {args.out, args.layout->rows, args.heads * args.head_dim});
  check_rank("attention", lora);
  if (lora.rank == 0 || !cuda::all_aligned(lora.a)) return {};
  const std::size_t z = numbers(product.rows, lora.rank);
  auto* left = prepared_.get<float>(*device_, z * (1 + static_cast<std::size_t>(args.heads)));
  product.left = left;
  return {.a = lora.a,
          .r = lora.r,
          .adapter = lora.adapter,
          .z = product.z,
          .left = left,
          .parts = left + z,
          .arrived = arrived_.zeros<unsigned>(*device_, static_cast<std::size_t>(product.rows)),
          .rank = lora.rank};
}

std::array<LowRankArgs, 3> CudaBackend::low_rank_of(const char* op, std::span<const RowsOf> gradients,
                                                    std::span<LinearBackwardArgs> products, cuda::Scratch& memory,
                                                    bool aligned) {
  std::array<LowRankArgs, 3> all{};
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    all[i] = without_tasks(gradients[i], aligned);
    all[i].backward = 1;
  }
  std::size_t count = 0;
  std::vector<Factor> factors;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const LinearBackwardArgs& product = products[i];
    const RowsOf& dy = gradients[i];
    check(product.dy == dy.data && product.rows == dy.rows && product.weight->out == dy.width, "ERR_ARGUMENT",
          "cuda: ", op, ": expected the product that reads this gradient");
    check_rank(op, product.lora);
    factors.push_back({product.lora.b, product.lora.b_prepared, product.lora.rank, dy.width});
    count += 2 * numbers(product.rows, product.lora.rank);
  }
  const std::vector<const void*> right = right_of(factors);
  auto* left = count > 0 ? memory.get<float>(*device_, count) : nullptr;
  for (std::size_t i = 0; i < products.size(); ++i) {
    LinearBackwardArgs& product = products[i];
    const LoraArgs& lora = product.lora;
    if (lora.rank == 0) continue;
    float* s = left + numbers(product.rows, lora.rank);
    add_task(all[i], {right[i], lora.r, lora.adapter, s, left, lora.rank, 0});
    product.left = left;
    left += 2 * numbers(product.rows, lora.rank);
  }
  return all;
}

void CudaBackend::add_rank_gradients(std::span<const LinearBackwardArgs> products) {
  cuda::RankGradientKernelArgs args{}, by_part{};
  unsigned adapters = 0, ranks = 0, parts = 0;
  for (const LinearBackwardArgs& product : products) {
    const LoraArgs& lora = product.lora;
    if (lora.rank == 0) continue;
    args.rows = product.rows;
    const float* s = product.left + numbers(product.rows, lora.rank);
    args.task[args.tasks++] = {s, product.z, lora.adapter, product.d_r, lora.rank, 0};
    if (product.parts.count > 0) {
      parts = static_cast<unsigned>(product.parts.count);
      by_part.rows = product.rows;
      by_part.part_rows = product.parts.rows;
      by_part.task[by_part.tasks++] = {s, product.z, lora.adapter, product.parts.d_r, lora.rank, 0};
    }
    adapters = std::max(adapters, static_cast<unsigned>(lora.adapters));
    ranks = std::max(ranks, static_cast<unsigned>(lora.rank));
  }
  cuda::launch(*device_, "low_rank", "rank_gradient",
               {.grid = {adapters, ranks, static_cast<unsigned>(args.tasks)}, .block = cuda::kRankGradientThreads},
               args);
  if (by_part.tasks == 0) return;
  cuda::launch(*device_, "low_rank", "rank_gradient",
               {.grid = {parts, ranks, static_cast<unsigned>(by_part.tasks)}, .block = cuda::kRankGradientThreads},
               by_part);
}

void CudaBackend::low_rank(const RowsOf& x, const LowRankArgs& args) {
  if (args.tasks == 0) return;
  cuda::launch_rows(*device_, kLowRank, dtype_, x.rows, cuda::LowRankKernelArgs{x.data, args}, args.tasks);
}

}  // namespace tinylora
