// W^T W times four vectors, for the SVD (ops/gram_matrix.h).
#include "cuda/kernels/gram.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/sending.h"

namespace tinylora {
namespace {

using cuda::ceil_div;
using cuda::launch;

/// W stays on the device; a product sends x and brings z back.
class CudaGram final : public GramMatrix {
 public:
  CudaGram(std::shared_ptr<cuda::Device> device, int out, int in, const RowReader& read_row, ThreadPool& pool)
      : GramMatrix(out, in),
        device_(std::move(device)),
        w_(device_->allocate(bytes<float>(rows * width))),
        vectors_(device_->scratch(bytes<double>((2 + pieces) * kGramVectors * width + rows * kGramVectors))),
        y_(static_cast<std::size_t>(rows * kGramVectors)) {
    send_rows(out, in, read_row, pool);
    auto* next = static_cast<double*>(vectors_.get());
    const auto take = [&](std::int64_t count) { return std::exchange(next, next + count); };
    args_.w = static_cast<const float*>(w_.get());
    x_ = take(kGramVectors * width);
    args_.x = x_;
    args_.z = take(kGramVectors * width);
    args_.partial = take(pieces * kGramVectors * width);
    args_.y = take(rows * kGramVectors);
    args_.rows = static_cast<int>(rows);
    args_.width = static_cast<int>(width);
    args_.piece_rows = static_cast<int>(piece_rows);
    args_.pieces = static_cast<int>(pieces);
  }

  void multiply(const double* x, double* z) override {
    const std::int64_t count = kGramVectors * width;
    device_->upload(x_, x, bytes<double>(count));
    launch(*device_, "gram", "gram_rows",
           {.grid = {ceil_div(rows, cuda::kGramRowsTile)}, .block = cuda::kGramRowsThreads}, args_);
    launch(*device_, "gram", "gram_columns",
           {.grid = {ceil_div(width, cuda::kGramColumnsTile), static_cast<unsigned>(pieces)},
            .block = cuda::kGramColumnsThreads},
           args_);
    launch(*device_, "gram", "gram_sum",
           {.grid = {ceil_div(count, cuda::kGramSumThreads)}, .block = cuda::kGramSumThreads}, args_);
    device_->download(z, args_.z, bytes<double>(count));
  }

  const double* y() override {
    device_->download(y_.data(), args_.y, y_.size() * sizeof(double));
    return y_.data();
  }

 private:
  template <typename T>
  static std::size_t bytes(std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(T);
  }

  /// The pool reads rows into pinned memory, some megabytes at a time, while those before them travel.
  void send_rows(int out, int in, const RowReader& read_row, ThreadPool& pool) {
    const std::size_t row_bytes = bytes<float>(width);
    check(row_bytes <= cuda::kPinnedBytes, "ERR_ARGUMENT", "cuda: svd: expected rows of at most ",
          cuda::kPinnedBytes / sizeof(float), " columns, found ", in);
    cuda::Sending sending(*device_);
    const int batch = static_cast<int>(cuda::kPinnedBytes / row_bytes);
    for (int first = 0; first < out; first += batch) {
      const int count = std::min(batch, out - first);
      auto* part = static_cast<float*>(sending.part());
      pool.run(count, [&](std::int64_t line, int) {
        float* row = part + line * width;
        read_row(first + static_cast<int>(line), row);
        std::fill(row + in, row + width, 0.0F);
      });
      sending.send(static_cast<float*>(w_.get()) + first * width, static_cast<std::size_t>(count) * row_bytes);
    }
  }

  std::shared_ptr<cuda::Device> device_;
  std::shared_ptr<void> w_;        // [rows, width]
  std::shared_ptr<void> vectors_;  // x, z, the partial sums, y
  double* x_ = nullptr;
  std::vector<double> y_;
  cuda::GramKernelArgs args_{};
};

}  // namespace

std::unique_ptr<GramMatrix> CudaBackend::gram_matrix(int out, int in, const RowReader& read_row, ThreadPool& pool) {
  check(out > 0 && in > 0, "ERR_ARGUMENT", "svd: expected a matrix, found ", out, " x ", in);
  return std::make_unique<CudaGram>(device_, out, in, read_row, pool);
}

}  // namespace tinylora
