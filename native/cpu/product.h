// Products split over threads: what linear, the head and their backward passes have in common.
#pragma once

#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "cpu/aligned.h"
#include "cpu/packed_weight.h"
#include "cpu/product_kernels.h"

namespace tinylora {

/// Rows that go through a product at a time, so that scratch does not grow with the batch. A multiple of every block.
inline constexpr int kRowsAtOnce = 1024;
/// The same for linear and linear_backward. More rows, since each such part of a batch reads all weights once, and in
/// the backward pass transposes them.
inline constexpr int kLinearRows = 4096;

/// Scratch of all ops that use product kernels, each part as large as its largest use so far. R is kRowsAtOnce,
/// in linear and linear_backward kLinearRows.
///   packed      linear, head: packed rows, R * padded width * 2 or 4 bytes. weight_gradient: x^T in panels, as much.
///               attention_backward with AMX: packed queries, 12 bytes a number of q of the whole batch
///   z           backward: s, R * r floats; lora_gradient: s and z R_k^T
///   low         z R_k^T or s R_k of each product that reads the packed rows, R * r floats each
///   active      which rows have an update, R bytes of each such product
///   columns     weight_gradient: dy^T, R * out elements. head_gradient: x^T in panels
///   transposed  linear_backward: panels of W^T, 2 MiB or one panel
///   stats       head: 3 * R * chunks floats; head_sample also 16 * V floats, of rows cut by top_k, top_p or min_p
/// and for each thread
///   tiles       sums of an item: its rows * panel floats, and a tile
///   panel       head with dx: a panel of W^T of three chunks. Outer products: packed g^T
///   logits      of 128 rows and a chunk; head with dx: of 64 rows and three chunks, twice; head_sample also V floats
///   rows        head with dx: packed exponentials of up to 256 rows and three chunks. head_gradient: gradients of the
///               logits of R rows and one chunk. head_sample: one packed row
///   sums        head with dx: of up to 256 rows, in tiles. Outer products: sums. head_sample: chunks floats
struct ProductScratch {
  explicit ProductScratch(int count) : threads(static_cast<std::size_t>(count)) {}

  struct Thread {
    Scratch tiles, panel, logits, rows, sums;
  };
  Scratch packed, low, z, active, stats, columns, transposed;
  std::vector<Thread> threads;
};

/// Up to kRowsAtOnce or kLinearRows rows, packed.
struct PackedRows {
  int rows;
  const std::byte* blocks;
  std::size_t block_bytes;
};

/// x [rows, in] act. The low-rank factors of the products that read x are made in the same pass.
PackedRows pack_rows(const ProductKernels& kernels, ThreadPool& pool, ProductScratch& scratch, int rows, int in,
                     const void* x, std::span<const LowRankTask> low_rank = {});

/// The part of a task that comes from the packed rows.
ProductTask task_for(const PackedRows& rows);

}  // namespace tinylora
