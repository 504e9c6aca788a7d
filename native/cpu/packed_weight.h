// A weight in panels, the layout of product_kernels.h.
#pragma once

#include <memory>

#include "core/thread_pool.h"
#include "cpu/product_kernels.h"
#include "ops/backend.h"

namespace tinylora {

class PackedWeight : public Weight {
 public:
  PackedWeight(int out, int in, const ProductKernels& kernels);

  const ProductKernels& kernels;
  const int padded_in;
  const int panels;
  const std::size_t panel_bytes;

  std::byte* data() const { return data_.get(); }
  /// Where W[o, i] lies, counted in elements.
  std::size_t index(int o, int i) const;
  /// x [in] = W[o].
  void read_row(int o, float* x) const;

 private:
  std::shared_ptr<std::byte> data_;
};

std::unique_ptr<PackedWeight> pack_weight(const ProductKernels& kernels, int out, int in, const RowReader& read_row,
                                          ThreadPool& pool);
/// Overwrites all of a weight.
void fill_weight(PackedWeight& weight, const RowReader& read_row, ThreadPool& pool);

/// The weight as one that `kernels` made; fails with ERR_ARGUMENT when another backend made it.
const PackedWeight& packed(const Weight* weight, const ProductKernels& kernels, const char* op);

}  // namespace tinylora
