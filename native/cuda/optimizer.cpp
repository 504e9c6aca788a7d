// sum_squares, adamw, sgd, repack.
#include "cuda/kernels/optimizer.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/launch.h"

namespace tinylora {

using cuda::ceil_div;
using cuda::launch;

namespace {

constexpr int kBlock = 256;

cuda::Shape shape_for(const cuda::Device& device, std::int64_t count) {
  const auto blocks = std::min<std::int64_t>(ceil_div(count, kBlock), std::int64_t{32} * device.multiprocessors());
  return {.grid = {static_cast<unsigned>(blocks)}, .block = kBlock};
}

}  // namespace

void CudaBackend::sum_squares(const SumSquaresArgs& args) {
  const unsigned chunks = ceil_div(args.count, cuda::kSquaresChunk);
  const auto sums = device_->scratch(std::max<std::size_t>(1, chunks) * sizeof(double));
  const cuda::SquaresKernelArgs kernel{args.x, args.count, static_cast<double*>(sums.get()), args.sum};
  launch(*device_, "optimizer", "square_chunks",
         {.grid = {ceil_div(chunks, cuda::kSquaresThreads)}, .block = cuda::kSquaresThreads}, kernel);
  launch(*device_, "optimizer", "square_sum", {.grid = {}, .block = cuda::kChunksThreads}, kernel);
}

void CudaBackend::adamw(const AdamwArgs& args) {
  launch(*device_, "optimizer", "adamw", shape_for(*device_, args.count), args);
  device_->hold_next();
}

void CudaBackend::sgd(const SgdArgs& args) {
  launch(*device_, "optimizer", "sgd", shape_for(*device_, args.count), args);
  device_->hold_next();
}

void CudaBackend::repack(Weight& weight, const float* values) {
  const cuda::CudaWeight& found = packed(&weight, "repack");
  const cuda::RepackKernelArgs kernel{values, found.data(), found.out, found.in, found.stride};
  launch(*device_, "optimizer", pick("repack_bf16", "repack_f16", "repack_f32"),
         {.grid = {static_cast<unsigned>(std::min(found.out, 32 * device_->multiprocessors()))}, .block = kBlock},
         kernel);
  device_->hold_next();
}

}  // namespace tinylora
