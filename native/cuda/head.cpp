// The head op, some rows at a time: statistics of all chunks of the vocabulary, then of each row. With dx the chunks
// come in groups, and of each group dx += e^l W follows (kernels/head_product.cu); e^l is [kHeadRows, kGroupChunks *
// kVocabChunk]: a matrix of tokens by vocabulary never exists.
#include "cuda/kernels/head.h"

#include <algorithm>
#include <utility>

#include "cuda/cuda_backend.h"
#include "cuda/head_sm90.h"
#include "cuda/launch.h"

namespace tinylora {

void CudaBackend::head(const HeadArgs& args) {
  using namespace cuda;
  const CudaWeight& weight = packed(args.weight, "head");
  const int chunks = vocab_chunks(weight.out);
  const std::size_t row_bytes = std::size_t(weight.in) * size_of(dtype_);
  const int most_rows = std::min(args.rows, kHeadRows);
  const auto stats = device_->scratch(head_stats_bytes(most_rows, chunks));
  const std::size_t sums_bytes = std::size_t(most_rows) * 2 * sizeof(ExponentialSum);
  const auto sums = args.dx ? device_->scratch(sums_bytes) : nullptr;
  for (int row = 0; row < args.rows; row += kHeadRows) {
    const int rows = std::min(kHeadRows, args.rows - row);
    HeadStatsTask task{};
    task.product = {static_cast<const std::byte*>(args.x) + std::size_t(row) * row_bytes,
                    weight.data(),
                    rows,
                    weight.in,
                    weight.stride,
                    weight.out};
    task.inv_temperature = args.inv_temperature + row;
    task.stats = static_cast<ChunkStats*>(stats.get());
    task.chunks = chunks;
    task.target = args.target + row;
    task.target_l = args.logp + row;
    float* dx = args.dx ? args.dx + std::ptrdiff_t{row} * weight.in : nullptr;
    const ExponentialSum* others = nullptr;
    if (dx) {
      others = head_with_sums(task, dx, static_cast<ExponentialSum*>(sums.get()));
    } else {
      head_stats(task, chunks);
    }
    launch(*device_, "head", pick("head_total_bf16", "head_total_f16", "head_total_f32"),
           {.grid = {static_cast<unsigned>(rows)}, .block = static_cast<unsigned>(kTotalRuns)},
           HeadTotalTask{task.product, task.stats, chunks, task.target, task.inv_temperature, args.logp + row,
                         args.entropy + row, args.lse + row, dx, others});
  }
}

const cuda::ExponentialSum* CudaBackend::head_with_sums(const cuda::HeadStatsTask& scan, float* dx,
                                                        cuda::ExponentialSum* sums) {
  using namespace cuda;
  HeadStatsTask task = scan;
  const int rows = task.product.rows, chunks = task.chunks, vocab = task.product.vocab;
  task.stride = std::min(chunks, kGroupChunks) * kVocabChunk;
  const auto exponentials = device_->scratch(std::size_t(rows) * std::size_t(task.stride) * size_of(dtype_));
  const auto made = device_->scratch(std::size_t(rows) * kGroupChunks * sizeof(ExponentialSum));
  task.exponentials = exponentials.get();
  task.made = static_cast<ExponentialSum*>(made.get());

  HeadProductTask product{};
  product.exponentials = task.exponentials;
  product.weight = task.product.weight;
  product.dx = dx;
  product.rows = rows;
  product.width = task.product.width;
  product.weight_stride = task.product.weight_stride;
  product.stride = task.stride;
  product.made = task.made;
  ExponentialSum *before = sums, *after = sums + rows;
  for (int chunk = 0; chunk < chunks; chunk += kGroupChunks) {
    task.first_chunk = chunk;
    task.before = chunk > 0 ? before : nullptr;
    const int count = std::min(kGroupChunks, chunks - chunk);
    head_stats(task, count);
    product.before = before;
    product.after = after;
    product.first_token = chunk * kVocabChunk;
    product.tokens = std::min(count * kVocabChunk, vocab - product.first_token);
    add_exponentials(product);
    std::swap(before, after);
  }
  return before;
}

void CudaBackend::add_exponentials(const cuda::HeadProductTask& task) {
  using namespace cuda;
  if (has_sm90_head()) {
    const Sm90Kernel& kernel = least_copied(sm90_head_products(dtype_), task.rows, device_->multiprocessors(),
                                            [&](const Sm90Kernel& one) { return ceil_div(task.width, one.columns); });
    return run_sm90_head_product(*device_, kernel, task, dtype_);
  }
  const unsigned columns = ceil_div(task.width, kProductColumns);
  const bool many =
      columns * ceil_div(task.rows, kManyProductRows.rows) >= static_cast<unsigned>(device_->multiprocessors());
  const TileShape tile = half() ? many ? kManyProductRows : kFewProductRows : kFloatRows;
  const char* kernel = many ? pick("head_product_many_bf16", "head_product_many_f16", "head_product_f32")
                            : pick("head_product_few_bf16", "head_product_few_f16", "head_product_f32");
  const Shape shape{.grid = {columns, ceil_div(task.rows, tile.rows)},
                    .block = static_cast<unsigned>(tile.threads),
                    .shared_bytes = half() ? tile.shared_bytes : 0U};
  launch(*device_, "head_product", kernel, shape, task);
}

void CudaBackend::head_backward(const HeadBackwardArgs& args) {
  cuda::launch(*device_, "head", "head_scale", {.grid = {static_cast<unsigned>(args.rows)}, .block = 256},
               cuda::HeadScaleTask{args.dx, args.d_logp, args.weight->in});
}

}  // namespace tinylora
