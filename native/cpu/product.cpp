#include "cpu/product.h"

#include <algorithm>

namespace tinylora {

PackedRows pack_rows(const ProductKernels& kernels, ThreadPool& pool, ProductScratch& scratch, int rows, int in,
                     const void* x, const LowRank& low_rank, float* z) {
  const int rank = low_rank.rank;
  const std::size_t block_bytes = kernels.block_bytes(in);
  const int blocks = kernels.blocks(rows);
  auto* packed_blocks = scratch.packed.at_least<std::byte>(block_bytes * std::size_t(blocks));
  float* low = rank > 0 ? scratch.low.at_least<float>(std::size_t(rows) * std::size_t(rank)) : nullptr;
  auto* active = rank > 0 ? scratch.active.at_least<std::uint8_t>(std::size_t(rows)) : nullptr;

  const auto pack_block = [&](int block) {
    const int row = block * kernels.block;
    PackTask task{};
    task.rows = std::min(kernels.block, rows - row);
    task.in = in;
    task.padded_in = kernels.padded(in);
    task.x = static_cast<const std::byte*>(x) + std::size_t(row) * std::size_t(in) * size_of(kernels.dtype);
    task.packed = packed_blocks + std::size_t(block) * block_bytes;
    if (rank > 0) {
      task.low_rank = low_rank;
      task.low_rank.adapter += row;
      task.z = z + std::ptrdiff_t{row} * rank;
      task.low = low + std::ptrdiff_t{row} * rank;
      task.active = active + row;
    }
    kernels.pack(task);
  };

  // Waking a thread costs as much as packing a few blocks.
  constexpr int kBlocksAnItem = 4;
  const int items = (blocks + kBlocksAnItem - 1) / kBlocksAnItem;
  pool.run(items, [&](std::int64_t item, int) {
    const int first = static_cast<int>(item) * kBlocksAnItem;
    for (int block = first; block < std::min(blocks, first + kBlocksAnItem); ++block) pack_block(block);
  });
  return {rows, packed_blocks, block_bytes, low, active};
}

ProductTask task_for(const PackedRows& rows) {
  ProductTask task{};
  task.rows = rows.rows;
  task.x = rows.blocks;
  task.block_bytes = rows.block_bytes;
  task.low = rows.low;
  task.active = rows.active;
  return task;
}

}  // namespace tinylora
