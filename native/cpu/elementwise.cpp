// swiglu, swiglu_backward and cast, some elements at a time (elementwise_rows.h), and gather_rows and copy_rows,
// which only copy.
#include <cstring>

#include "cpu/cpu_backend.h"
#include "cpu/ranges.h"

namespace tinylora {

void CpuBackend::swiglu(const SwigluArgs& args) {
  const RowKernels& kernels = row_kernels(path_, dtype_);
  for_ranges(pool_, std::int64_t{args.rows} * args.width, kElementsAtOnce,
             [&](RowRange elements) { kernels.swiglu(args, elements); });
}

void CpuBackend::swiglu_backward(const SwigluBackwardArgs& args) {
  const RowKernels& kernels = row_kernels(path_, dtype_);
  for_ranges(pool_, std::int64_t{args.rows} * args.width, kElementsAtOnce,
             [&](RowRange elements) { kernels.swiglu_backward(args, elements); });
}

void CpuBackend::cast(const CastArgs& args) {
  const RowKernels& kernels = row_kernels(path_, dtype_);
  for_ranges(pool_, args.count, kElementsAtOnce, [&](RowRange elements) { kernels.cast(args, elements); });
}

void CpuBackend::gather_rows(const GatherRowsArgs& args) {
  for_ranges(pool_, args.count, rows_at_once(args.width), [&](RowRange rows) {
    for (std::int64_t i = rows.first; i < rows.last; ++i) {
      const float* from = args.x + static_cast<std::ptrdiff_t>(args.rows[i]) * args.width;
      std::memcpy(args.y + i * args.width, from, static_cast<std::size_t>(args.width) * sizeof(float));
    }
  });
}

void CpuBackend::copy_rows(const CopyRowsArgs& args) {
  std::size_t row_bytes = 0;
  for (const CopyRowsArgs::Array& array : args.arrays) row_bytes += array.bytes;
  const auto floats = static_cast<std::int64_t>(row_bytes / sizeof(float) + 1);
  for_ranges(pool_, args.count, rows_at_once(floats), [&](RowRange rows) {
    for (std::int64_t i = rows.first; i < rows.last; ++i) {
      const auto from_row = static_cast<std::size_t>(args.from_rows ? args.from_rows[i] : i);
      const auto to_row = static_cast<std::size_t>(args.to_rows ? args.to_rows[i] : i);
      for (const CopyRowsArgs::Array& array : args.arrays) {
        std::memcpy(static_cast<std::byte*>(array.to) + to_row * array.to_stride,
                    static_cast<const std::byte*>(array.from) + from_row * array.from_stride, array.bytes);
      }
    }
  });
}

}  // namespace tinylora
