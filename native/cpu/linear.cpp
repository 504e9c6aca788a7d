// linear and linear_backward. Both are the same product: the backward pass swaps inputs and outputs, A and B, R and
// R^T, and makes its panels of W^T from the forward layout, a run of panels at a time into scratch.
#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/product.h"

namespace tinylora {
namespace {

void check_update(const char* op, const LoraArgs& lora, const void* z) {
  check(lora.rank >= 0 && lora.rank <= kMaxRank, "ERR_ARGUMENT", op, ": rank: expected 0 to ", kMaxRank, ", found ",
        lora.rank);
  check(lora.rank == 0 || (lora.a && lora.b && lora.r && lora.adapter && z), "ERR_ARGUMENT", op, ": update of rank ",
        lora.rank, ": expected A, B, R, adapter and z, found a null pointer");
}

void check_products(std::span<const LinearArgs> products) {
  check(!products.empty(), "ERR_ARGUMENT", "linear: expected a product, found none");
  const LinearArgs& first = products.front();
  for (const LinearArgs& args : products) {
    check(args.x == first.x && args.rows == first.rows && args.weight->in == first.weight->in, "ERR_ARGUMENT",
          "linear: expected products of the same x, found another one");
    check(!args.residual || args.y_float, "ERR_ARGUMENT", "linear: residual: expected a float y, found an act y");
    check_update("linear", args.lora, args.z);
  }
}

int divided_up(int a, int b) { return (a + b - 1) / b; }

/// How a product is cut into items: runs of panels times runs of blocks, blocks fastest.
struct Split {
  int panels_at_once, panel_items;
  int blocks_at_once, block_items;
  std::int64_t items() const { return std::int64_t{panel_items} * block_items; }
};

/// An item reads its blocks and its panels into the second-level cache once, where its blocks fit beside a panel, and
/// its panels too (kernels.cached_blocks, cached_panels). Of the cuts that leave every thread some four items it is the
/// one whose items together read least.
Split split_product(const ProductKernels& kernels, int rows, int in, int panels, int threads) {
  const int blocks = kernels.blocks(rows);
  const int fitting = std::max<int>(8, static_cast<int>(kernels.cached_blocks / kernels.block_bytes(in)));
  const int run = std::max<int>(1, static_cast<int>(kernels.cached_panels / kernels.panel_bytes(in)));
  Split best{};
  double least = 0;
  for (int block_items = divided_up(blocks, fitting); block_items <= blocks; ++block_items) {
    const int blocks_at_once = divided_up(blocks, block_items);
    const int panels_at_once = std::clamp(panels * block_items / (4 * threads), 1, std::min(run, panels));
    const double read = static_cast<double>(kernels.block_bytes(in)) / panels_at_once +
                        static_cast<double>(kernels.panel_bytes(in)) / blocks_at_once;  // a tile's share of them
    if (best.panels_at_once > 0 && read >= least) continue;
    least = read;
    best = {panels_at_once, divided_up(panels, panels_at_once), blocks_at_once, divided_up(blocks, blocks_at_once)};
  }
  return best;
}

/// The ranges of one item of a split.
void set_ranges(ProductTask& task, const Split& split, std::int64_t item, int panels, int blocks) {
  task.first_block = static_cast<int>(item % split.block_items) * split.blocks_at_once;
  task.last_block = std::min(blocks, task.first_block + split.blocks_at_once);
  task.first_panel = static_cast<int>(item / split.block_items) * split.panels_at_once;
  task.last_panel = std::min(panels, task.first_panel + split.panels_at_once);
}

/// Scratch for the low-rank factors of `rows` rows, for products one after the other.
class LowRankScratch {
 public:
  LowRankScratch(ProductScratch& scratch, int rows, int ranks, int products)
      : rows_(rows),
        low_(scratch.low.at_least<float>(std::size_t(rows) * std::size_t(ranks))),
        active_(scratch.active.at_least<std::uint8_t>(std::size_t(rows) * std::size_t(products))) {}

  LowRankTask task(const LowRank& side, float* z) {
    const LowRankTask task{side, z, low_, active_};
    low_ += std::ptrdiff_t{rows_} * side.rank;
    active_ += rows_;
    return task;
  }

 private:
  int rows_;
  float* low_;
  std::uint8_t* active_;
};

void set_low_rank(ProductTask& task, const LowRankTask& low_rank) {
  task.rank = low_rank.side.rank;
  task.right = low_rank.side.right;
  task.low = low_rank.low;
  task.active = low_rank.active;
}

/// Of the products with an update, from row `row` on.
std::vector<LowRankTask> low_rank_tasks(ProductScratch& scratch, std::span<const LinearArgs> products, int row,
                                        int rows) {
  int ranks = 0;
  for (const LinearArgs& args : products) ranks += args.lora.rank;
  LowRankScratch of_rows(scratch, rows, ranks, static_cast<int>(products.size()));
  std::vector<LowRankTask> tasks;
  for (const LinearArgs& args : products) {
    const LoraArgs& lora = args.lora;
    if (lora.rank == 0) continue;
    const LowRank side{lora.rank, lora.a, lora.b, lora.r, false, lora.adapter + row};
    tasks.push_back(of_rows.task(side, args.z + std::ptrdiff_t{row} * lora.rank));
  }
  return tasks;
}

/// Whether rows of so many bytes, written in pieces of a line, had better not be read into the cache first; whoever
/// reads them next reads them in order.
bool exceeds_cache(const void* y, int rows, std::size_t row_bytes) {
  constexpr std::size_t kCache = 1024 * 1024, kLine = 64;
  return std::size_t(rows) * row_bytes >= kCache && row_bytes % kLine == 0 &&
         reinterpret_cast<std::uintptr_t>(y) % kLine == 0;
}

ProductTask forward_task(const LinearArgs& args, const PackedWeight& weight, const PackedRows& packed_x, int row) {
  const std::size_t y_size = args.y_float ? sizeof(float) : size_of(weight.dtype);
  const std::size_t offset = std::size_t(row) * std::size_t(weight.out);
  ProductTask task = task_for(packed_x);
  task.padded_in = weight.padded_in;
  task.out = weight.out;
  task.panels = weight.data();
  task.panel_bytes = weight.panel_bytes;
  task.bias = args.bias;
  task.y = static_cast<std::byte*>(args.y) + offset * y_size;
  task.y_stride = weight.out;
  task.y_float = args.y_float;
  task.y_uncached = !args.y_float && exceeds_cache(args.y, args.rows, std::size_t(weight.out) * y_size);
  task.residual = args.residual ? args.residual + offset : nullptr;
  return task;
}

/// One of the products of a call; its items follow those of the ones before it.
struct PlannedProduct {
  ProductTask task;
  Split split;
  int panels;
  std::int64_t first_item;
};

/// d += s^T z of one row.
void add_outer(int rank, const float* s, const float* z, double* d) {
  for (int i = 0; i < rank; ++i) {
    for (int j = 0; j < rank; ++j) d[i * rank + j] += static_cast<double>(s[i]) * static_cast<double>(z[j]);
  }
}

/// dR[k] += s^T z, rows ascending.
void add_d_r(int rows, int rank, const std::int32_t* adapter, const float* s, const float* z, double* d_r) {
  for (int m = 0; m < rows; ++m, s += rank, z += rank) {
    if (adapter[m] >= 0) add_outer(rank, s, z, d_r + std::ptrdiff_t{adapter[m]} * rank * rank);
  }
}

/// The same by parts; s and z are those of the batch's rows from `first` on.
void add_part_d_r(int first, int rows, int rank, const float* s, const float* z, const GradientParts& parts) {
  for (int part = 0; part < parts.count; ++part) {
    const int from = std::max(first, parts.rows[part]), to = std::min(first + rows, parts.rows[part + 1]);
    double* d = parts.d_r + std::ptrdiff_t{part} * rank * rank;
    for (int m = from; m < to; ++m) {
      const std::ptrdiff_t place = std::ptrdiff_t{m - first} * rank;
      add_outer(rank, s + place, z + place, d);
    }
  }
}

/// How many sums a backward pass has beside dx: dR, and dR of the parts.
int reductions_of(const LinearBackwardArgs& args) {
  if (args.lora.rank == 0) return 0;
  return args.parts.count == 0 ? 1 : 2;
}

/// Adds to one of them, 0 or 1, the terms of `rows` rows from `row` on; s is that of these rows.
void reduce(const LinearBackwardArgs& args, int row, int rows, const float* s, std::int64_t which) {
  const int rank = args.lora.rank;
  const float* z = args.z + std::ptrdiff_t{row} * rank;
  if (which == 0) add_d_r(rows, rank, args.lora.adapter + row, s, z, args.d_r);
  if (which == 1) add_part_d_r(row, rows, rank, s, z, args.parts);
}

/// dx of rows from `row` on, but for the panels of W^T.
ProductTask backward_task(const LinearBackwardArgs& args, const PackedWeight& weight, int padded_out,
                          const PackedRows& packed_dy, int row) {
  ProductTask task = task_for(packed_dy);
  float* dx = args.dx + std::ptrdiff_t{row} * weight.in;
  task.padded_in = padded_out;
  task.out = weight.in;
  task.y = dx;
  task.y_stride = weight.in;
  task.y_float = true;
  task.residual = args.add ? dx : nullptr;
  return task;
}

}  // namespace

void CpuBackend::linear(std::span<const LinearArgs> products) {
  check_products(products);
  const int in = products.front().weight->in;
  const auto* x = static_cast<const std::byte*>(products.front().x);
  const std::size_t x_stride = std::size_t(in) * size_of(dtype_);

  for (int row = 0; row < products.front().rows; row += kLinearRows) {
    const int rows = std::min(kLinearRows, products.front().rows - row);
    const std::vector<LowRankTask> low_rank = low_rank_tasks(*scratch_, products, row, rows);
    const PackedRows packed_x =
        pack_rows(product_, pool_, *scratch_, rows, in, x + std::size_t(row) * x_stride, low_rank);

    std::vector<PlannedProduct> planned;
    std::int64_t items = 0;
    auto low = low_rank.begin();
    for (const LinearArgs& args : products) {
      const PackedWeight& weight = packed(args.weight, product_, "linear");
      const Split split = split_product(product_, rows, in, weight.panels, pool_.threads());
      ProductTask task = forward_task(args, weight, packed_x, row);
      if (args.lora.rank > 0) set_low_rank(task, *low++);
      planned.push_back({task, split, weight.panels, items});
      items += split.items();
    }
    const auto task_of = [&](std::int64_t item) {
      auto product = planned.end() - 1;
      while (product->first_item > item) --product;
      ProductTask task = product->task;
      set_ranges(task, product->split, item - product->first_item, product->panels, product_.blocks(rows));
      return task;
    };
    pool_.run(items, [&](std::int64_t item, int thread) {
      ProductTask task = task_of(item);
      const std::int64_t after = item + pool_.threads();  // if threads take turns
      if (after < items) task.panel_after = task_of(after).first_of_panels();
      task.sums = scratch_->threads[std::size_t(thread)].tiles.at_least<float>(
          product_.sums_floats(task.last_block - task.first_block));
      product_.product(task);
    });
  }
}

void CpuBackend::linear_backward(const LinearBackwardArgs& args) {
  const PackedWeight& weight = packed(args.weight, product_, "linear_backward");
  check_update("linear_backward", args.lora, args.z);
  check(args.lora.rank == 0 || args.d_r, "ERR_ARGUMENT", "linear_backward: d_r: expected a pointer, found null");
  constexpr std::size_t kTransposedBytes = 2 * 1024 * 1024;
  const int panels = product_.panels(weight.in);  // of W^T
  const int outputs = weight.panels * product_.panel;
  const std::size_t panel_bytes = product_.panel_bytes(outputs);
  const int panels_at_once = std::clamp(static_cast<int>(kTransposedBytes / panel_bytes), 1, panels);
  auto* transposed = scratch_->transposed.at_least<std::byte>(std::size_t(panels_at_once) * panel_bytes);

  for (int row = 0; row < args.rows; row += kLinearRows) {
    const int rows = std::min(kLinearRows, args.rows - row);
    const LoraArgs& lora = args.lora;
    const auto* dy =
        static_cast<const std::byte*>(args.dy) + std::size_t(row) * std::size_t(weight.out) * size_of(dtype_);
    float* s = scratch_->z.at_least<float>(std::size_t(rows) * std::size_t(lora.rank));
    LowRankScratch of_rows(*scratch_, rows, lora.rank, 1);
    const LowRankTask low_rank =
        of_rows.task({lora.rank, lora.b, lora.a, lora.r, true, lora.rank > 0 ? lora.adapter + row : nullptr}, s);
    const std::span<const LowRankTask> low_ranks(&low_rank, lora.rank > 0 ? 1 : 0);
    const PackedRows packed_dy = pack_rows(product_, pool_, *scratch_, rows, weight.out, dy, low_ranks);
    ProductTask whole = backward_task(args, weight, product_.padded(weight.out), packed_dy, row);
    if (lora.rank > 0) set_low_rank(whole, low_rank);

    int reductions = reductions_of(args);  // beside the first panels that are transposed
    for (int first = 0; first < panels; first += panels_at_once, reductions = 0) {
      const int count = std::min(panels_at_once, panels - first);
      pool_.run(reductions + count, [&](std::int64_t item, int) {
        if (item < reductions) return reduce(args, row, rows, s, item);
        const auto panel = static_cast<int>(item) - reductions;
        product_.transpose({weight.data(), weight.panel_bytes, weight.padded_in, 0, weight.panels,
                            (first + panel) * product_.panel, transposed + std::size_t(panel) * panel_bytes});
      });

      const Split split = split_product(product_, rows, outputs, count, pool_.threads());
      pool_.run(split.items(), [&](std::int64_t item, int thread) {
        ProductTask task = whole;
        set_ranges(task, split, item, count, product_.blocks(rows));
        task.first_panel += first;
        task.last_panel += first;
        task.panels = transposed - std::ptrdiff_t{first} * static_cast<std::ptrdiff_t>(panel_bytes);
        task.panel_bytes = panel_bytes;
        task.sums =
            scratch_->threads[std::size_t(thread)].tiles.at_least<float>(product_.sums_floats(split.blocks_at_once));
        product_.product(task);
      });
    }
  }
}

}  // namespace tinylora
