// linear and linear_backward. Both are the same product: the way back swaps inputs and outputs, A and B, R and R^T, and
// takes its panels of W^T from the forward layout, a panel at a time into a thread's scratch.
#include <algorithm>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/product.h"

namespace tinylora {
namespace {

void check_update(const char* op, const LoraArgs& lora, const void* z) {
  check(lora.rank >= 0 && lora.rank <= 16, "ERR_ARGUMENT", op, ": rank: expected 0 to 16, found ", lora.rank);
  check(lora.rank == 0 || (lora.a && lora.b && lora.r && lora.adapter && z), "ERR_ARGUMENT", op, ": update of rank ",
        lora.rank, ": expected A, B, R, adapter and z, found a null pointer");
}

int divided_up(int a, int b) { return (a + b - 1) / b; }

/// How a product is cut into items: runs of panels times runs of blocks, blocks fastest.
struct Split {
  int panels_at_once, panel_items;
  int blocks_at_once, block_items;
  std::int64_t items() const { return std::int64_t{panel_items} * block_items; }
};

/// Runs of blocks whose packed inputs fit the second-level cache beside a panel. Runs of panels that are read from
/// memory once and from the third level for the other blocks, short enough for each thread to take a few.
Split split_forward(const ProductKernels& kernels, int rows, int in, int panels, int threads) {
  constexpr std::size_t kBlockBytes = 256 * 1024;
  constexpr std::size_t kPanelBytes = 1024 * 1024;
  const int blocks = kernels.blocks(rows);
  const int fitting = std::max<int>(8, static_cast<int>(kBlockBytes / kernels.block_bytes(in)));
  const int block_items = divided_up(blocks, fitting);
  const int blocks_at_once = divided_up(blocks, block_items);
  const int run = std::max<int>(1, static_cast<int>(kPanelBytes / kernels.panel_bytes(in)));
  const int panels_at_once = std::clamp(panels / (4 * threads), 1, run);
  return {panels_at_once, divided_up(panels, panels_at_once), blocks_at_once, divided_up(blocks, blocks_at_once)};
}

/// One panel of W^T at a time, for all blocks: rows are split only where there are too few panels for the threads.
Split split_backward(const ProductKernels& kernels, int rows, int panels, int threads) {
  const int blocks = kernels.blocks(rows);
  const int wanted = threads == 1 ? 1 : divided_up(4 * threads, panels);
  const int blocks_at_once = std::max(divided_up(blocks, wanted), std::min(blocks, 16));
  return {1, panels, blocks_at_once, divided_up(blocks, blocks_at_once)};
}

/// The ranges of one item of a split.
void set_ranges(ProductTask& task, const Split& split, std::int64_t item, int panels, int blocks) {
  task.first_block = static_cast<int>(item % split.block_items) * split.blocks_at_once;
  task.last_block = std::min(blocks, task.first_block + split.blocks_at_once);
  task.first_panel = static_cast<int>(item / split.block_items) * split.panels_at_once;
  task.last_panel = std::min(panels, task.first_panel + split.panels_at_once);
}

/// dR[k] += s^T z, rows ascending.
void add_d_r(int rows, int rank, const std::int32_t* adapter, const float* s, const float* z, double* d_r) {
  for (int m = 0; m < rows; ++m, s += rank, z += rank) {
    if (adapter[m] < 0) continue;
    double* d = d_r + std::ptrdiff_t{adapter[m]} * rank * rank;
    for (int i = 0; i < rank; ++i) {
      for (int j = 0; j < rank; ++j) d[i * rank + j] += static_cast<double>(s[i]) * static_cast<double>(z[j]);
    }
  }
}

}  // namespace

void CpuBackend::linear(const LinearArgs& args) {
  const PackedWeight& weight = packed(args.weight, product_, "linear");
  check(!args.add || args.y_float, "ERR_ARGUMENT", "linear: add: expected a float y, found an act y");
  check_update("linear", args.lora, args.z);
  const std::size_t x_size = size_of(dtype_);
  const std::size_t y_size = args.y_float ? sizeof(float) : x_size;

  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const LoraArgs& lora = args.lora;
    const LowRank low_rank{lora.rank, lora.a, lora.b, lora.r, false, lora.rank > 0 ? lora.adapter + row : nullptr};
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * std::size_t(weight.in) * x_size;
    float* z = args.z + std::ptrdiff_t{row} * lora.rank;
    ProductTask whole = task_for(pack_rows(product_, pool_, *scratch_, rows, weight.in, x, low_rank, z));
    whole.padded_in = weight.padded_in;
    whole.out = weight.out;
    whole.panels = weight.data();
    whole.panel_bytes = weight.panel_bytes;
    whole.bias = args.bias;
    whole.rank = lora.rank;
    whole.right = lora.b;
    whole.y = static_cast<std::byte*>(args.y) + std::size_t(row) * std::size_t(weight.out) * y_size;
    whole.y_stride = weight.out;
    whole.y_float = args.y_float;
    whole.add = args.add;

    const Split split = split_forward(product_, rows, weight.in, weight.panels, pool_.threads());
    pool_.run(split.items(), [&](std::int64_t item, int thread) {
      ProductTask task = whole;
      set_ranges(task, split, item, weight.panels, product_.blocks(rows));
      task.sums = scratch_->threads[std::size_t(thread)].tiles.at_least<float>(product_.tile_floats() *
                                                                               std::size_t(split.blocks_at_once));
      product_.product(task);
    });
  }
}

void CpuBackend::linear_backward(const LinearBackwardArgs& args) {
  const PackedWeight& weight = packed(args.weight, product_, "linear_backward");
  check_update("linear_backward", args.lora, args.z);
  check(args.lora.rank == 0 || args.d_r, "ERR_ARGUMENT", "linear_backward: d_r: expected a pointer, found null");
  const int panels = product_.panels(weight.in);  // of W^T
  const int outputs = weight.panels * product_.panel;

  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const LoraArgs& lora = args.lora;
    const std::int32_t* adapter = lora.rank > 0 ? lora.adapter + row : nullptr;
    const LowRank low_rank{lora.rank, lora.b, lora.a, lora.r, true, adapter};
    const auto* dy =
        static_cast<const std::byte*>(args.dy) + std::size_t(row) * std::size_t(weight.out) * size_of(dtype_);
    float* s = scratch_->z.at_least<float>(std::size_t(rows) * std::size_t(lora.rank));
    ProductTask whole = task_for(pack_rows(product_, pool_, *scratch_, rows, weight.out, dy, low_rank, s));
    whole.padded_in = product_.padded(weight.out);
    whole.out = weight.in;
    whole.rank = lora.rank;
    whole.right = lora.a;
    whole.y = args.dx + std::ptrdiff_t{row} * weight.in;
    whole.y_stride = weight.in;
    whole.y_float = true;
    whole.add = args.add;

    const Split split = split_backward(product_, rows, panels, pool_.threads());
    const int reductions = lora.rank > 0 ? 1 : 0;  // dR is the first item, beside the panels
    pool_.run(split.items() + reductions, [&](std::int64_t item, int thread) {
      if (item < reductions) {
        add_d_r(rows, lora.rank, adapter, s, args.z + std::ptrdiff_t{row} * lora.rank, args.d_r);
        return;
      }
      ProductScratch::Thread& own = scratch_->threads[std::size_t(thread)];
      ProductTask task = whole;
      set_ranges(task, split, item - reductions, panels, product_.blocks(rows));
      auto* panel = own.panel.at_least<std::byte>(product_.panel_bytes(outputs));
      product_.transpose({weight.data(), weight.panel_bytes, weight.padded_in, 0, weight.panels,
                          task.first_panel * product_.panel, panel});
      task.panels = panel;
      task.panel_bytes = 0;  // the one panel, whatever its number
      task.sums = own.tiles.at_least<float>(product_.tile_floats() * std::size_t(split.blocks_at_once));
      product_.product(task);
    });
  }
}

}  // namespace tinylora
