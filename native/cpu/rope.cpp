// rope_store and rope_store_backward, some rows at a time with the stores that belong to them (rope_rows.h).
#include <algorithm>

#include "core/error.h"
#include "cpu/attention_kernels.h"
#include "cpu/cpu_backend.h"
#include "cpu/ranges.h"

namespace tinylora {
namespace {

/// Stores come with their rows ascending.
RowRange stores_of(const SequenceLayout& layout, RowRange rows) {
  const auto place = [&](std::int64_t row) {
    return std::lower_bound(layout.store_row, layout.store_row + layout.stores, row) - layout.store_row;
  };
  return {place(rows.first), place(rows.last)};
}

/// kernel(rows, stores) for ranges that cover all rows.
template <class Args, class Kernel>
void for_rows(ThreadPool& pool, const Args& args, const Kernel& kernel) {
  check(args.head_dim >= 2 && args.head_dim <= kMaxHeadDim && args.head_dim % 2 == 0, "ERR_ARGUMENT",
        "rope_store: expected an even head_dim up to ", kMaxHeadDim, ", found ", args.head_dim);
  const std::int64_t size = rows_at_once((args.heads + 2 * args.kv_heads) * args.head_dim);
  for_ranges(pool, args.layout->rows, size, [&](RowRange rows) { kernel(args, rows, stores_of(*args.layout, rows)); });
}

}  // namespace

void CpuBackend::rope_store(const RopeStoreArgs& args) { for_rows(pool_, args, row_kernels(path_, dtype_).rope_store); }

void CpuBackend::rope_store_backward(const RopeStoreBackwardArgs& args) {
  for_rows(pool_, args, row_kernels(path_, dtype_).rope_store_backward);
}

}  // namespace tinylora
