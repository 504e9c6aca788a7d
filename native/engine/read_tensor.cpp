#include "engine/read_tensor.h"

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "engine/tensor_rows.h"

namespace tinylora {
namespace {

/// Most rows and most columns: keeps the number of bytes of a tensor far below 2^64.
constexpr std::int64_t kMaxSize = 1 << 28;

/// The shape that the source claims to have.
TensorShape shape_of(const TensorSource& source) {
  const bool sized = std::all_of(source.shape.begin(), source.shape.end(),
                                 [](std::int64_t size) { return size >= 1 && size <= kMaxSize; });
  check((source.shape.size() == 1 || source.shape.size() == 2) && sized, "ERR_MODEL", "tensor ", source.name, " in ",
        source.file, ": expected a matrix or a vector");
  const bool vector = source.shape.size() == 1;
  return {.name = source.name,
          .rows = static_cast<int>(source.shape[0]),
          .columns = vector ? 1 : static_cast<int>(source.shape[1]),
          .vector = vector,
          .heads = source.permuted_heads};
}

}  // namespace

std::vector<float> read_tensor(const TensorSource& source, const std::atomic<bool>& abort) {
  const TensorShape shape = shape_of(source);
  const int heads = source.permuted_heads;
  check(heads == 0 || shape.rows % (2 * heads) == 0, "ERR_MODEL", "tensor ", source.name, " in ", source.file,
        ": expected a multiple of ", 2 * heads, " rows, found ", shape.rows);
  // Checks that the file holds the bytes of all rows, before memory is allocated for them.
  const TensorRows rows(std::make_shared<MappedFile>(source.file), source, shape);
  const auto columns = static_cast<std::size_t>(shape.columns);
  std::vector<float> values(static_cast<std::size_t>(shape.rows) * columns);
  for (int row = 0; row < shape.rows; ++row) {
    check(!abort, "ERR_ABORTED", "tensor: aborted");
    rows.read(row, values.data() + static_cast<std::size_t>(row) * columns);
  }
  rows.forget();
  return values;
}

}  // namespace tinylora
