// Which kernels the paths of 64-bit Arm have.
#include "cpu/attention_kernels.h"
#include "cpu/gram_loops.h"
#include "cpu/head_kernels.h"
#include "cpu/limit_kernels.h"
#include "cpu/product_kernels.h"
#include "cpu/row_kernels.h"

namespace tinylora {

const ProductKernels& product_kernels(CpuPath, DType dtype) {
  return dtype == DType::bf16 ? kProductBf16Neon : kProductF32Neon;
}

const AttentionKernels& attention_kernels(CpuPath, DType dtype, int) {
  return dtype == DType::bf16 ? kAttentionBf16Neon : kAttentionF32Neon;
}

const RowKernels& row_kernels(CpuPath, DType dtype) { return dtype == DType::bf16 ? kRowsBf16Neon : kRowsF32Neon; }

const HeadKernels& head_kernels(CpuPath) { return kHeadNeon; }

const LimitKernels& limit_kernels(CpuPath) { return kLimitsNeon; }

GramProduct gram_product() { return gram_product_plain; }

}  // namespace tinylora
