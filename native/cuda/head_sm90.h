// The head's kernels on a device with compute capability 9.0, one by one: head_stats.cpp and others choose, tests
// compare the tilings.
#pragma once

#include "cuda/kernels/head.h"
#include "cuda/tiles_sm90.h"

namespace tinylora::cuda {

/// Rows of x [rows, width] as TMA reads them: aligned to 16 bytes, a multiple of 8 apart.
struct AlignedRows {
  const void* data;
  int stride;
};

/// Of dtype bf16 or fp16, the smaller tile first.
std::span<const Sm90Kernel> sm90_head_stats(DType dtype);
std::span<const Sm90Kernel> sm90_head_products(DType dtype);

/// `x` in place of the product's. `chunks` chunks from the task's first one on.
void run_sm90_head_stats(Device& device, const Sm90Kernel& kernel, const HeadStatsTask& task, AlignedRows x, int chunks,
                         DType dtype);
void run_sm90_head_product(Device& device, const Sm90Kernel& kernel, const HeadProductTask& task, DType dtype);
void run_sm90_head_sample(Device& device, const HeadSampleTask& task, AlignedRows x, DType dtype);

}  // namespace tinylora::cuda
