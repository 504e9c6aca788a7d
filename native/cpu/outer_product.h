// Products over the rows of a batch, dW [out, in] += g^T x: the product kernels with the batch in the place of the
// inputs. x is packed as panels of x^T, g as blocks of g^T; a sum runs over the rows ascending.
#pragma once

#include "cpu/product.h"

namespace tinylora {

/// x^T of `rows` rows in the layout of a weight [in, rows].
struct PackedColumns {
  const std::byte* panels;
  int rows;
  int in;
};

PackedColumns pack_columns(const ProductKernels& kernels, ThreadPool& pool, Scratch& scratch, int rows, int in,
                           const void* x);

/// g [rows, out] act to g^T [out, rows], on this thread, columns first .. last - 1 of g.
void transpose_columns(DType dtype, int rows, int out, int first, int last, const void* g, void* transposed);

/// d [out, in] += g^T x on this thread; transposed is g^T [out, rows] act.
void add_outer_product(const ProductKernels& kernels, const PackedColumns& x, ProductScratch::Thread& own, int out,
                       const void* transposed, float* d);

}  // namespace tinylora
