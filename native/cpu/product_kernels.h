// The inner loops of all products, one table an instruction set and dtype. The driver (linear.cpp, head.cpp) splits the
// work over threads and knows no instruction; a kernel works on one thread and knows no other.
//
// A weight W [out, in] is kept in panels: `panel` outputs on vector lanes, inputs one after the other.
//   fp32  panels[p][i][lane]            = W[p * panel + lane, i]
//   bf16  panels[p][i / 2][lane][i % 2] = W[p * panel + lane, i]    pairs of inputs, as the bf16 dot products read them
// Outputs are padded to whole panels and inputs to a multiple of `step`, with zeros. Each output element is summed in
// one lane, inputs ascending, whatever the number of rows: that is the row invariance of products.
//
// Rows of x are repacked into blocks of `block` rows in the order in which a kernel reads them. A tile is block x
// panel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "cpu/features.h"

namespace tinylora {

/// The low-rank side of a product (LoraArgs), ready for the epilogue: y[m] += sum_j low[m, j] right[j].
struct LowRank {
  int rank = 0;
  const float* left = nullptr;            // [r, in] of this product: A forward, B^T backward
  const float* right = nullptr;           // [r, out] of this product: B^T forward, A backward
  const float* r = nullptr;               // [adapters, r, r]
  bool transposed = false;                // low = z R (backward) instead of z R^T
  const std::int32_t* adapter = nullptr;  // [M]
};

/// The low-rank factors of x for one product.
struct LowRankTask {
  LowRank side;
  float* z = nullptr;              // [rows, r] x left^T
  float* low = nullptr;            // [rows, r] z R_k^T, or z R_k
  std::uint8_t* active = nullptr;  // [rows] 0 where low is all zero: such a row gets the base model's bits
};

/// Packs up to `block` rows and computes their low-rank factors.
struct PackTask {
  int rows;
  int in;
  int padded_in;
  const void* x;                          // [rows, in] act
  void* packed;                           // one block
  std::span<const LowRankTask> low_rank;  // of the products that read x, with rank > 0
  int first_row = 0;                      // of the block in z, low, active and adapter
};

/// y = packed x times panels, for a range of blocks and a range of panels.
struct ProductTask {
  int rows;  // of the whole packed x
  int first_block, last_block;
  int first_panel, last_panel;
  int padded_in;
  int out;
  const std::byte* x;  // block b at x + b * block_bytes
  std::size_t block_bytes;
  const std::byte* panels;  // panel p at panels + p * panel_bytes; panel numbers are those of the output columns
  std::size_t panel_bytes;
  const std::byte* panel_after = nullptr;  // what the thread will probably read after the last one
  bool panels_cached = false;   // they are in the second-level cache: the product need not ask for them ahead
  float* sums;                  // scratch, sums_floats of the blocks in the range
  const float* bias = nullptr;  // [out]
  int rank = 0;
  const float* right = nullptr;          // [r, out]
  const float* low = nullptr;            // [rows, r]
  const std::uint8_t* active = nullptr;  // [rows]
  void* y;                               // [rows, y_stride], columns from y_column on
  std::int64_t y_stride;
  int y_column = 0;
  bool y_float;
  bool y_uncached = false;          // y goes past the caches; its rows then are whole, aligned lines
  const float* residual = nullptr;  // like y

  const std::byte* first_of_panels() const { return panels + std::size_t(first_panel) * panel_bytes; }
};

/// Turns columns first_in .. first_in + panel of the forward layout into one panel of W^T: inputs and outputs change
/// roles.
struct TransposeTask {
  const std::byte* panels;  // of the forward layout
  std::size_t panel_bytes;
  int padded_in;
  int first_panel, last_panel;  // outputs of these panels become the inputs of the result
  int first_in;
  void* result;  // one panel with (last_panel - first_panel) * panel inputs
};

struct ProductKernels {
  int panel;
  int block;
  int step;
  int element_bytes;  // of one input of one row in a packed block
  DType dtype;
  // What a thread's part of a product should not exceed, so that it stays in its second-level cache: bytes of packed
  // blocks, which every panel reads, and of panels, which every run of such blocks reads.
  std::size_t cached_blocks;
  std::size_t cached_panels;
  void (*pack)(const PackTask&);
  void (*product)(const ProductTask&);
  void (*transpose)(const TransposeTask&);
  /// sums [block, panel] (+)= one block times one panel over `inputs` (a multiple of step).
  void (*tile)(int rows, int inputs, const void* x, const void* panel, float* sums, bool resume);

  int padded(int inputs) const { return (inputs + step - 1) / step * step; }
  int panels(int outputs) const { return (outputs + panel - 1) / panel; }
  int blocks(int rows) const { return (rows + block - 1) / block; }
  std::size_t panel_bytes(int inputs) const {
    return std::size_t(padded(inputs)) * std::size_t(panel) * size_of(dtype);
  }
  std::size_t block_bytes(int inputs) const { return std::size_t(padded(inputs)) * std::size_t(block * element_bytes); }
  std::size_t tile_floats() const { return std::size_t(panel) * std::size_t(block); }
  /// Of a task with so many blocks: a tile each, and one more that is still being finished.
  std::size_t sums_floats(int task_blocks) const { return tile_floats() * std::size_t(task_blocks + 1); }
};

extern const ProductKernels kProductF32Avx2, kProductBf16Avx2;
extern const ProductKernels kProductF32Avx512, kProductBf16Avx512;
extern const ProductKernels kProductBf16Avx512Bf16;
extern const ProductKernels kProductBf16Amx, kProductBf16AmxEmulated;
extern const ProductKernels kProductF32Neon, kProductBf16Neon, kProductBf16NeonBf16;

const ProductKernels& product_kernels(CpuPath path, DType dtype);

}  // namespace tinylora
