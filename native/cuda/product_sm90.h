// The products of kernels/product_sm90.cu, one by one: run_products chooses, tests compare them all.
#pragma once

#include <span>

#include "core/dtype.h"
#include "cuda/device.h"
#include "cuda/kernels/product.h"

namespace tinylora::cuda {

struct Sm90Product {
  const char* name;
  int rows;     // of a tile
  int columns;  // of a tile
  unsigned threads;
  unsigned shared_bytes;  // the stages and their barriers, and what aligning them may skip; factors follow
  int cluster;            // blocks, one row tile each, that share a W tile
};

/// wgmma is of sm_90a alone: later devices have other tensor cores.
bool has_sm90_products(const Device& device);
/// Of dtype bf16 or fp16, the smallest tile first.
std::span<const Sm90Product> sm90_products(DType dtype, bool backward);
/// Fills in what depends on the tiling, and launches. `kernel` is one of that dtype and direction.
void run_sm90_product(Device& device, const Sm90Product& kernel, const ProductKernelArgs& product, DType dtype,
                      bool backward);
/// With the tiling that suits the number of rows.
void run_sm90_products(Device& device, const ProductKernelArgs& product, DType dtype, bool backward);

}  // namespace tinylora::cuda
