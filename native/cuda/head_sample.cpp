// Sampling: one pass over the vocabulary for the statistics of up to kSampleRows rows, then a draw of each row from
// them. Rows that top_k, top_p or min_p cut keep all their logits meanwhile, so there are at most kCutRows of them in a
// pass. Everything is queued from memory of the device, whatever it holds: a graph can repeat it.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/head_sm90.h"
#include "cuda/kernels/head.h"
#include "cuda/launch.h"

namespace tinylora {
namespace {

constexpr int kCutRows = 64;

}  // namespace

void CudaBackend::head_sample(const HeadSampleArgs& args) {
  using namespace cuda;
  const CudaWeight& weight = packed(args.weight, "head_sample");
  const std::size_t row_bytes = std::size_t(weight.in) * size_of(dtype_);
  const TileShape tile = half() ? kFewRows : kFloatRows;
  const int pass_rows = std::min(args.rows, args.cut > kCutRows ? kCutRows : kSampleRows);
  const int places = std::min(args.cut, kCutRows);

  HeadStatsTask scan{};
  auto* stats = static_cast<ChunkStats*>(stats_.get(*device_, head_stats_bytes(pass_rows, vocab_chunks(weight.out))));
  auto* inv_temperature = sample_rows_.get<float>(*device_, std::size_t(pass_rows) * 2);
  auto* kept = reinterpret_cast<std::int32_t*>(inv_temperature + pass_rows);
  scan.stats = stats;
  scan.chunks = vocab_chunks(weight.out);
  scan.inv_temperature = inv_temperature;
  scan.kept = kept;
  if (places > 0) scan.logits = logits_.get<float>(*device_, std::size_t(places) * std::size_t(weight.out));

  for (int row = 0; row < args.rows; row += pass_rows) {
    const int rows = std::min(pass_rows, args.rows - row);
    const Shape by_row = {.grid = {static_cast<unsigned>(rows)},
                          .block = static_cast<unsigned>(tile.threads),
                          .shared_bytes = tile.shared_bytes};
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * row_bytes;
    scan.product = {x, weight.data(), rows, weight.in, weight.stride, weight.out};
    launch(*device_, "head_sample", "sample_rows", {.grid = {}, .block = 32 * ceil_div(rows, 32)},
           SampleRowsTask{args.how + row, rows, inv_temperature, kept});
    head_stats(scan, scan.chunks);
    const HeadSampleTask draw{scan.product, inv_temperature,  stats,           args.how + row,    kept,
                              scan.logits,  args.token + row, args.logp + row, args.entropy + row};
    if (has_sm90_head()) {
      run_sm90_head_sample(*device_, draw, aligned_rows(draw.product), dtype_);
    } else {
      launch(*device_, "head_sample", pick("head_sample_bf16", "head_sample_f16", "head_sample_f32"), by_row, draw);
    }
    if (places == 0) continue;
    launch(*device_, "truncated_draw", "truncated_draw", {.grid = by_row.grid, .block = truncated_threads(weight.out)},
           draw);
  }
}

}  // namespace tinylora
