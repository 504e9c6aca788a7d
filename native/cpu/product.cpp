#include "cpu/product.h"

#include <algorithm>

namespace tinylora {

PackedRows pack_rows(const ProductKernels& kernels, ThreadPool& pool, ProductScratch& scratch, int rows, int in,
                     const void* x, std::span<const LowRankTask> low_rank) {
  const std::size_t block_bytes = kernels.block_bytes(in);
  const int blocks = kernels.blocks(rows);
  auto* packed_blocks = scratch.packed.at_least<std::byte>(block_bytes * std::size_t(blocks));

  const auto pack_block = [&](int block) {
    const int row = block * kernels.block;
    PackTask task{};
    task.rows = std::min(kernels.block, rows - row);
    task.in = in;
    task.padded_in = kernels.padded(in);
    task.x = static_cast<const std::byte*>(x) + std::size_t(row) * std::size_t(in) * size_of(kernels.dtype);
    task.packed = packed_blocks + std::size_t(block) * block_bytes;
    task.low_rank = low_rank;
    task.first_row = row;
    kernels.pack(task);
  };

  // Waking a thread costs as much as packing a few blocks.
  constexpr int kBlocksAnItem = 4;
  const int items = (blocks + kBlocksAnItem - 1) / kBlocksAnItem;
  pool.run(items, [&](std::int64_t item, int) {
    const int first = static_cast<int>(item) * kBlocksAnItem;
    for (int block = first; block < std::min(blocks, first + kBlocksAnItem); ++block) pack_block(block);
  });
  return {rows, packed_blocks, block_bytes};
}

ProductTask task_for(const PackedRows& rows) {
  ProductTask task{};
  task.rows = rows.rows;
  task.x = rows.blocks;
  task.block_bytes = rows.block_bytes;
  return task;
}

}  // namespace tinylora
