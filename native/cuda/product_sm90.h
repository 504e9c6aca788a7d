// The products of kernels/product_sm90.cu, one by one: run_products chooses, tests compare them all.
#pragma once

#include "cuda/kernels/product.h"
#include "cuda/tiles_sm90.h"

namespace tinylora::cuda {

/// Of dtype bf16 or fp16, the smallest tile first.
std::span<const Sm90Kernel> sm90_products(DType dtype, bool backward);
/// Fills in what depends on the tiling, and launches. `kernel` is one of that dtype and direction.
void run_sm90_product(Device& device, const Sm90Kernel& kernel, const ProductKernelArgs& product, DType dtype,
                      bool backward);
/// With the tiling that suits the number of rows.
void run_sm90_products(Device& device, const ProductKernelArgs& product, DType dtype, bool backward);

}  // namespace tinylora::cuda
