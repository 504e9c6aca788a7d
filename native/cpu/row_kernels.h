// The inner loops of everything that is done row by row or element by element, one table an instruction set and dtype.
// The drivers (norm.cpp, rope.cpp, elementwise.cpp) spread ranges over threads; each range is computed by one thread.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/features.h"
#include "ops/attention.h"
#include "ops/rows.h"

namespace tinylora {

/// first .. last - 1: of rows, or of elements.
struct RowRange {
  std::int64_t first;
  std::int64_t last;
};

struct RowKernels {
  void (*rms_norm)(const RmsNormArgs&, RowRange rows);
  void (*rms_norm_backward)(const RmsNormBackwardArgs&, RowRange rows);
  /// `stores` are those of `rows`.
  void (*rope_store)(const RopeStoreArgs&, RowRange rows, RowRange stores);
  void (*rope_store_backward)(const RopeStoreBackwardArgs&, RowRange rows, RowRange stores);
  void (*swiglu)(const SwigluArgs&, RowRange elements);
  void (*swiglu_backward)(const SwigluBackwardArgs&, RowRange elements);
  void (*cast)(const CastArgs&, RowRange elements);
};

extern const RowKernels kRowsF32Avx2, kRowsBf16Avx2;
extern const RowKernels kRowsF32Avx512, kRowsBf16Avx512;
extern const RowKernels kRowsF32Neon, kRowsBf16Neon;

const RowKernels& row_kernels(CpuPath path, DType dtype);

}  // namespace tinylora
