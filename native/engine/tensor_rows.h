// One tensor of a mapped file as rows of float, in the order of Hugging Face's files.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/dtype.h"
#include "core/mapped_file.h"
#include "engine/dequantize.h"
#include "engine/model_shape.h"

namespace tinylora {

class TensorRows {
 public:
  /// Fails with ERR_MODEL where the source has another shape, a type that cannot be widened, or another number of bytes
  /// than its shape needs; with ERR_FILE where its bytes are not all inside the file.
  TensorRows(std::shared_ptr<const MappedFile> file, const TensorSource& source, const TensorShape& shape);

  /// Widens row `row` to values [columns]. Fails with ERR_MODEL where one is NaN or infinite, or would be in bf16.
  void read(int row, float* values) const;
  /// Fails with ERR_MODEL where one of the `values` of row `row` is too large for `dtype`.
  void check_holds(DType dtype, int row, std::span<const float> values) const;

  /// To be called after the last read: lets the system take back the memory of these bytes.
  void forget() const { file_->forget(bytes_); }

 private:
  int source_row(int row) const;

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::uint8_t> bytes_;
  const TensorFormat* format_;
  TensorShape shape_;
  int permuted_heads_;
  std::size_t row_bytes_;
};

/// The tensor of the shape's name, in a mapping of its file of its own. Fails with ERR_MODEL where none of `tensors`
/// has that name, and as TensorRows does.
TensorRows open_tensor(const std::vector<TensorSource>& tensors, const TensorShape& shape);

}  // namespace tinylora
