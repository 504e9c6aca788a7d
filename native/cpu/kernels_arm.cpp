// Which kernels the paths of 64-bit Arm have.
#include "cpu/attention_kernels.h"
#include "cpu/gram_loops.h"
#include "cpu/head_kernels.h"
#include "cpu/limit_kernels.h"
#include "cpu/product_kernels.h"
#include "cpu/row_kernels.h"

namespace tinylora {

const ProductKernels& product_kernels(CpuPath path, DType dtype) {
  if (dtype != DType::bf16) return kProductF32Neon;
  return path == CpuPath::neon_bf16 ? kProductBf16NeonBf16 : kProductBf16Neon;
}

const AttentionKernels& attention_kernels(CpuPath path, DType dtype, int) {
  if (dtype != DType::bf16) return kAttentionF32Neon;
  return path == CpuPath::neon_bf16 ? kAttentionBf16NeonBf16 : kAttentionBf16Neon;
}

const RowKernels& row_kernels(CpuPath, DType dtype) { return dtype == DType::bf16 ? kRowsBf16Neon : kRowsF32Neon; }

const HeadKernels& head_kernels(CpuPath) { return kHeadNeon; }

const LimitKernels& limit_kernels(CpuPath path) { return path == CpuPath::neon_bf16 ? kLimitsNeonBf16 : kLimitsNeon; }

GramProduct gram_product() { return gram_product_plain; }

}  // namespace tinylora
