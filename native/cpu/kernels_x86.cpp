// Which kernels the paths of x86-64 have.
#include "cpu/attention_kernels.h"
#include "cpu/gram_loops.h"
#include "cpu/head_kernels.h"
#include "cpu/limit_kernels.h"
#include "cpu/product_kernels.h"
#include "cpu/row_kernels.h"

namespace tinylora {
namespace {

bool has_avx512(CpuPath path) { return path != CpuPath::avx2 && path != CpuPath::amx_emulated; }

}  // namespace

const ProductKernels& product_kernels(CpuPath path, DType dtype) {
  if (dtype != DType::bf16) return has_avx512(path) ? kProductF32Avx512 : kProductF32Avx2;
  switch (path) {
    case CpuPath::amx:
      return kProductBf16Amx;
    case CpuPath::avx512_bf16:
      return kProductBf16Avx512Bf16;
    case CpuPath::avx512:
      return kProductBf16Avx512;
    case CpuPath::amx_emulated:
      return kProductBf16AmxEmulated;
    default:
      return kProductBf16Avx2;
  }
}

const AttentionKernels& attention_kernels(CpuPath path, DType dtype, int head_dim) {
  if (dtype != DType::bf16) return has_avx512(path) ? kAttentionF32Avx512 : kAttentionF32Avx2;
  const bool tiles = head_dim % 32 == 0;  // whole steps of AMX's dot
  switch (path) {
    case CpuPath::amx:
      return tiles ? kAttentionBf16Amx : kAttentionBf16Avx512Bf16;
    case CpuPath::avx512_bf16:
      return kAttentionBf16Avx512Bf16;
    case CpuPath::avx512:
      return kAttentionBf16Avx512;
    case CpuPath::amx_emulated:
      return tiles ? kAttentionBf16AmxEmulated : kAttentionBf16Avx2;
    default:
      return kAttentionBf16Avx2;
  }
}

const RowKernels& row_kernels(CpuPath path, DType dtype) {
  const bool f32 = dtype == DType::f32;
  if (has_avx512(path)) return f32 ? kRowsF32Avx512 : kRowsBf16Avx512;
  return f32 ? kRowsF32Avx2 : kRowsBf16Avx2;
}

const HeadKernels& head_kernels(CpuPath path) { return has_avx512(path) ? kHeadAvx512 : kHeadAvx2; }

const LimitKernels& limit_kernels(CpuPath path) {
  switch (path) {
    case CpuPath::amx:
      return kLimitsAmx;
    case CpuPath::avx512_bf16:
      return kLimitsAvx512Bf16;
    case CpuPath::avx512:
      return kLimitsAvx512;
    default:
      return kLimitsAvx2;
  }
}

GramProduct gram_product() {
  if (__builtin_cpu_supports("avx512f")) return gram_product_avx512;
  if (__builtin_cpu_supports("avx2")) return gram_product_avx2;
  return gram_product_plain;
}

}  // namespace tinylora
