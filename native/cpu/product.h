// Products split over threads: what linear, the head and their ways back have in common.
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

/// Grows to the largest product seen:
///   packed  kRowsAtOnce * padded width * 2 or 4 bytes; in AMX's way back of attention 12 bytes a number of q
///   z  kRowsAtOnce * r floats
///   low  kRowsAtOnce * r floats, active  kRowsAtOnce bytes: of each product that reads the packed rows
///   columns kRowsAtOnce * out elements (a gradient, transposed)
///   transposed  2 MiB or one panel of W^T
///   stats   kRowsAtOnce * 3 * chunks floats (head), or 16 * V floats (rows cut by top_k, top_p or min_p)
/// and for each thread
///   tiles   rows of an item * panel floats               panel   padded width * panel elements (a panel of W^T)
///   logits  2 * block * kVocabChunk, chunks or V floats         rows    256 * kVocabChunk elements (gradients of
///   logits) sums    256 * C floats (the head's dx), or chunks floats
struct ProductScratch {
  explicit ProductScratch(int count) : threads(static_cast<std::size_t>(count)) {}

  struct Thread {
    Scratch tiles, panel, logits, rows, sums;
  };
  Scratch packed, low, z, active, stats, columns, transposed;
  std::vector<Thread> threads;
};

/// Up to kRowsAtOnce rows, packed.
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
