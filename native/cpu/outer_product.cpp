#include "cpu/outer_product.h"

#include <algorithm>

namespace tinylora {
namespace {

/// Lanes of one panel for all rows: consecutive numbers of x stay so.
void pack_panel(const float* x, int rows, int in, int panel, int column, float* to) {
  const int count = std::min(panel, in - column);
  for (int m = 0; m < rows; ++m, to += panel) {
    const float* from = x + std::ptrdiff_t{m} * in + column;
    for (int lane = 0; lane < count; ++lane) to[lane] = from[lane];
    for (int lane = count; lane < panel; ++lane) to[lane] = 0;
  }
}

/// Pairs of rows side by side.
void pack_panel(const Bf16* x, int rows, int in, int panel, int column, Bf16* to) {
  const int count = std::min(panel, in - column);
  for (int m = 0; m < rows; m += 2, to += std::ptrdiff_t{2} * panel) {
    const Bf16* even = x + std::ptrdiff_t{m} * in + column;
    const Bf16* odd = m + 1 < rows ? even + in : nullptr;
    for (int lane = 0; lane < count; ++lane) {
      to[2 * lane] = even[lane];
      to[2 * lane + 1] = odd ? odd[lane] : Bf16{};
    }
    for (int lane = 2 * count; lane < 2 * panel; ++lane) to[lane] = Bf16{};
  }
}

template <class T>
void transpose(int rows, int out, int first, int last, const T* g, T* transposed) {
  constexpr int kTile = 16;  // a tile's lines stay in the first-level cache on both sides
  for (int m = 0; m < rows; m += kTile) {
    const int end = std::min(rows, m + kTile);
    for (int o = first; o < last; ++o) {
      T* to = transposed + std::ptrdiff_t{o} * rows;
      for (int row = m; row < end; ++row) to[row] = g[std::ptrdiff_t{row} * out + o];
    }
  }
}

}  // namespace

PackedColumns pack_columns(const ProductKernels& kernels, ThreadPool& pool, Scratch& scratch, int rows, int in,
                           const void* x) {
  const std::size_t bytes = kernels.panel_bytes(rows);
  const int panels = kernels.panels(in);
  auto* to = scratch.at_least<std::byte>(std::size_t(panels) * bytes);
  pool.run(panels, [&](std::int64_t panel, int) {
    const int column = static_cast<int>(panel) * kernels.panel;
    std::byte* own = to + std::size_t(panel) * bytes;
    // Rows beyond the last that fill up a step are zeros: a row of zeros adds nothing.
    const std::size_t used = std::size_t(rows) * std::size_t(kernels.panel) * size_of(kernels.dtype);
    std::fill(own + used, own + bytes, std::byte{});
    if (kernels.dtype == DType::bf16) {
      pack_panel(static_cast<const Bf16*>(x), rows, in, kernels.panel, column, reinterpret_cast<Bf16*>(own));
    } else {
      pack_panel(static_cast<const float*>(x), rows, in, kernels.panel, column, reinterpret_cast<float*>(own));
    }
  });
  return {to, rows, in};
}

void transpose_columns(DType dtype, int rows, int out, int first, int last, const void* g, void* transposed) {
  if (dtype == DType::bf16) {
    transpose(rows, out, first, last, static_cast<const Bf16*>(g), static_cast<Bf16*>(transposed));
  } else {
    transpose(rows, out, first, last, static_cast<const float*>(g), static_cast<float*>(transposed));
  }
}

void add_outer_product(const ProductKernels& kernels, const PackedColumns& x, ProductScratch::Thread& own, int out,
                       const void* transposed, float* d) {
  const int blocks = kernels.blocks(out);
  const std::size_t block_bytes = kernels.block_bytes(x.rows);
  auto* packed = own.panel.at_least<std::byte>(block_bytes * std::size_t(blocks));
  for (int block = 0; block < blocks; ++block) {
    const int first = block * kernels.block;
    PackTask task{};
    task.rows = std::min(kernels.block, out - first);
    task.in = x.rows;
    task.padded_in = kernels.padded(x.rows);
    task.x =
        static_cast<const std::byte*>(transposed) + std::size_t(first) * std::size_t(x.rows) * size_of(kernels.dtype);
    task.packed = packed + std::size_t(block) * block_bytes;
    kernels.pack(task);
  }

  ProductTask task{};
  task.rows = out;
  task.last_block = blocks;
  task.last_panel = kernels.panels(x.in);
  task.padded_in = kernels.padded(x.rows);
  task.out = x.in;
  task.x = packed;
  task.block_bytes = block_bytes;
  task.panels = x.panels;
  task.panel_bytes = kernels.panel_bytes(x.rows);
  task.sums = own.sums.at_least<float>(kernels.sums_floats(blocks));
  task.y = d;
  task.y_stride = x.in;
  task.y_float = true;
  task.residual = d;
  kernels.product(task);
}

}  // namespace tinylora
