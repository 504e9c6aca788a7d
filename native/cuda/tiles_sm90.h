// The host side of kernels/wgmma_tiles.cuh, for devices with compute capability 9.0: what a kernel's tiles are, which
// of several tilings suits, the tensor maps through which TMA reads, how many blocks stay.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "cuda/device.h"
#include "cuda/kernels/tensor_map.h"
#include "cuda/kernels/tiles_sm90.h"
#include "cuda/launch.h"

namespace tinylora::cuda {

struct Sm90Kernel {
  const char* name;
  int rows;     // of a tile
  int columns;  // of a tile
  unsigned threads;
  unsigned shared_bytes;  // the stages and their barriers, and what aligning them may skip
  int cluster;            // blocks, one row tile each, that share a W tile
};

/// wgmma is of sm_90a alone: later devices have other tensor cores.
bool has_sm90_kernels(const Device& device);

/// Makes `map` that of a row-major matrix [rows, stride] of bf16 or fp16, read in boxes of box_rows x 64; zeros
/// outside. In place: not every compiler keeps the alignment of one that is returned.
void encode(Device& device, TensorMap& map, DType dtype, const void* data, int rows, int stride, int box_rows);

/// Row tiles of a cluster.
int row_tiles(const Sm90Kernel& kernel, int rows);

/// The tiling for which the busiest multiprocessor copies least: the rows of its tiles and their columns, of which a
/// cluster's blocks copy a part each. Of two such tilings the larger. column_tiles(kernel): those of the launch.
template <class ColumnTiles>
const Sm90Kernel& least_copied(std::span<const Sm90Kernel> kernels, int rows, int multiprocessors,
                               const ColumnTiles& column_tiles) {
  const auto asked = [&](const Sm90Kernel& kernel) {
    const std::int64_t blocks = std::int64_t{column_tiles(kernel)} * kernel.cluster * row_tiles(kernel, rows);
    const std::int64_t of_busiest = (blocks + multiprocessors - 1) / multiprocessors;
    return of_busiest * (kernel.rows + kernel.columns / kernel.cluster);
  };
  return *std::min_element(kernels.rbegin(), kernels.rend(), [&](auto& a, auto& b) { return asked(a) < asked(b); });
}

/// Of a launch of `tiles` (row tiles of a cluster x column tiles), with so much shared memory behind the ring.
Shape shape_of(const Device& device, const Sm90Kernel& kernel, int tiles, unsigned bytes_behind);

}  // namespace tinylora::cuda
