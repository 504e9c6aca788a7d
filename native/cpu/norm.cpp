// rms_norm and rms_norm_backward, some rows at a time (norm_rows.h).
#include "cpu/cpu_backend.h"
#include "cpu/ranges.h"

namespace tinylora {

void CpuBackend::rms_norm(const RmsNormArgs& args) {
  const RowKernels& kernels = row_kernels(path_, dtype_);
  for_ranges(pool_, args.rows, rows_at_once(args.width), [&](RowRange rows) { kernels.rms_norm(args, rows); });
}

void CpuBackend::rms_norm_backward(const RmsNormBackwardArgs& args) {
  const RowKernels& kernels = row_kernels(path_, dtype_);
  for_ranges(pool_, args.rows, rows_at_once(args.width), [&](RowRange rows) { kernels.rms_norm_backward(args, rows); });
}

}  // namespace tinylora
