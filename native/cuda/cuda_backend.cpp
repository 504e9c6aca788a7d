#include "cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cuda/sending.h"

namespace tinylora {

using cuda::CudaWeight;
using cuda::round_up;

CudaWeight::CudaWeight(int rows, int columns, DType type, std::shared_ptr<void> memory)
    : Weight(rows, columns, type),
      padded_out(round_up(rows, cuda::kPadOut)),
      stride(round_up(columns, cuda::kPadIn)),
      memory_(std::move(memory)) {}

CudaBackend::CudaBackend(DType dtype, std::shared_ptr<cuda::Device> device)
    : dtype_(dtype), device_(std::move(device)) {}

std::string CudaBackend::name() const {
  const cuda::DeviceInfo& info = device_->info();
  return "cuda (" + info.name + ", sm_" + std::to_string(10 * info.major + info.minor) + ")";
}

/// Rows are read and rounded into pinned memory, and sent some megabytes at a time.
std::unique_ptr<Weight> CudaBackend::pack(int out, int in, const RowReader& read_row) {
  check(out > 0 && in > 0, "ERR_ARGUMENT", "pack: expected a matrix, found ", out, " x ", in);
  const std::size_t row_bytes = static_cast<std::size_t>(round_up(in, cuda::kPadIn)) * size_of(dtype_);
  check(row_bytes <= cuda::kPinnedBytes, "ERR_ARGUMENT", "cuda: pack: expected rows of at most ",
        cuda::kPinnedBytes / size_of(dtype_), " columns, found ", in);
  const std::size_t rows = static_cast<std::size_t>(round_up(out, cuda::kPadOut));
  std::shared_ptr<void> memory = device_->allocate(rows * row_bytes);

  cuda::Sending sending(*device_);
  std::vector<float> values(static_cast<std::size_t>(in));
  const int batch = static_cast<int>(cuda::kPinnedBytes / row_bytes);
  for (int first = 0; first < out; first += batch) {
    const int count = std::min(batch, out - first);
    auto* part = static_cast<std::byte*>(sending.part());
    std::memset(part, 0, static_cast<std::size_t>(count) * row_bytes);
    for (int i = 0; i < count; ++i) {
      read_row(first + i, values.data());
      std::byte* row = part + static_cast<std::size_t>(i) * row_bytes;
      if (dtype_ == DType::bf16) {
        std::transform(values.begin(), values.end(), reinterpret_cast<Bf16*>(row), to_bf16);
      } else if (dtype_ == DType::f16) {
        std::transform(values.begin(), values.end(), reinterpret_cast<F16*>(row), to_f16);
      } else {
        std::copy(values.begin(), values.end(), reinterpret_cast<float*>(row));
      }
    }
    sending.send(static_cast<std::byte*>(memory.get()) + static_cast<std::size_t>(first) * row_bytes,
                 static_cast<std::size_t>(count) * row_bytes);
  }
  return std::make_unique<CudaWeight>(out, in, dtype_, std::move(memory));
}

const CudaWeight& CudaBackend::packed(const Weight* weight, const char* op) const {
  const auto* found = dynamic_cast<const CudaWeight*>(weight);
  check(found != nullptr && found->dtype == dtype_, "ERR_ARGUMENT", op,
        ": expected a weight that a cuda backend of this dtype packed");
  return *found;
}

std::unique_ptr<CudaBackend> make_cuda_backend(DType dtype, int ordinal, const std::string& driver_file) {
  return std::make_unique<CudaBackend>(dtype, cuda::Device::open(ordinal, driver_file));
}

}  // namespace tinylora
