#include "engine/tensor_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <sstream>

#include "core/error.h"

namespace tinylora {
namespace {

std::string dimensions(const std::vector<std::int64_t>& shape) {
  std::ostringstream text;
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i == 0 ? "[" : ", ") << shape[i];
  text << (shape.empty() ? "[]" : "]");
  return text.str();
}

void check_shape(const TensorSource& source, const TensorShape& shape) {
  std::vector<std::int64_t> expected{shape.rows};
  if (!shape.vector) expected.push_back(shape.columns);
  check(source.shape == expected, "ERR_MODEL", "tensor ", source.name, " in ", source.file, ": expected shape ",
        dimensions(expected), ", found ", dimensions(source.shape));
}

const TensorFormat& checked_format(const TensorSource& source, const TensorShape& shape) {
  const TensorFormat* format = find_tensor_format(source.type);
  check(format != nullptr, "ERR_MODEL", "tensor ", source.name, " in ", source.file, ": expected type ",
        tensor_format_names(), ", found ", source.type);
  check(shape.columns % format->block == 0, "ERR_MODEL", "tensor ", source.name, " in ", source.file,
        ": expected rows of a multiple of ", format->block, " numbers for type ", source.type, ", found ",
        shape.columns);
  return *format;
}

/// Magnitudes from here on round to infinity in bf16; infinity and NaN lie above.
constexpr std::uint32_t kTooLarge = 0x7f7f8000U;

/// From here on fp16 rounds to infinity.
constexpr float kTooLargeForF16 = 65520.0F;

bool all_finite(const float* values, int count) {
  std::uint32_t largest = 0;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffU);
  return largest < kTooLarge;
}

}  // namespace

TensorRows::TensorRows(std::shared_ptr<const MappedFile> file, const TensorSource& source, const TensorShape& shape)
    : file_(std::move(file)), shape_(shape), permuted_heads_(source.permuted_heads) {
  check_shape(source, shape);
  format_ = &checked_format(source, shape);
  row_bytes_ =
      static_cast<std::size_t>(shape.columns / format_->block) * static_cast<std::size_t>(format_->block_bytes);
  const std::uint64_t expected = static_cast<std::uint64_t>(row_bytes_) * static_cast<std::uint64_t>(shape.rows);
  check(source.bytes == expected, "ERR_MODEL", "tensor ", source.name, " in ", source.file, ": expected ", expected,
        " bytes of type ", source.type, ", found ", source.bytes);
  check(permuted_heads_ == 0 || permuted_heads_ == shape.heads, "ERR_MODEL", "tensor ", source.name, " in ",
        source.file, ": expected rows permuted for ", shape.heads, " heads or not at all, found ", permuted_heads_);
  bytes_ = file_->view(source.offset, source.bytes, "tensor " + source.name);
}

void TensorRows::read(int row, float* values) const {
  const auto offset = static_cast<std::size_t>(source_row(row)) * row_bytes_;
  format_->widen(bytes_.data() + offset, shape_.columns, values);
  check(all_finite(values, shape_.columns), "ERR_MODEL", "tensor ", shape_.name, " in ", file_->path(),
        ": expected finite numbers, found NaN, infinity or more than bf16 holds in row ", row);
}

void TensorRows::check_holds(DType dtype, int row, std::span<const float> values) const {
  if (dtype != DType::f16) return;  // for the others `read` has checked it
  const bool held = std::all_of(values.begin(), values.end(), [](float x) { return std::abs(x) < kTooLargeForF16; });
  check(held, "ERR_MODEL", "tensor ", shape_.name, " in ", file_->path(),
        ": expected numbers of magnitudes up to 65504, the most that dtype fp16 holds, in row ", row);
}

/// llama.cpp's converter interleaves the two halves of each head: row 2 i + half of a head in the file is its row
/// half * (D / 2) + i in Hugging Face's order.
int TensorRows::source_row(int row) const {
  if (permuted_heads_ == 0) return row;
  const int head_rows = shape_.rows / permuted_heads_;
  const int within = row % head_rows;
  const int half = within / (head_rows / 2);
  return row - within + within % (head_rows / 2) * 2 + half;
}

TensorRows open_tensor(const std::vector<TensorSource>& tensors, const TensorShape& shape) {
  const auto source = std::find_if(tensors.begin(), tensors.end(),
                                   [&](const TensorSource& tensor) { return tensor.name == shape.name; });
  check(source != tensors.end(), "ERR_MODEL", "tensor ", shape.name, ": missing from the model's files");
  return {std::make_shared<MappedFile>(source->file), *source, shape};
}

}  // namespace tinylora
