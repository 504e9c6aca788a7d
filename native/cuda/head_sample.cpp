// Sampling: one pass over the vocabulary for the statistics of up to kHeadRows rows, then a draw of each row from them.
// Rows that top_k, top_p or min_p cut keep all their logits meanwhile, so there are at most kCutRows of them in a pass.
#include <algorithm>
#include <vector>

#include "core/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/head_stats.h"
#include "cuda/kernels/head.h"
#include "cuda/launch.h"

namespace tinylora {
namespace {

constexpr int kCutRows = 64;

bool is_cut(const SampleRow& how) { return how.temperature > 0 && (how.top_k > 0 || how.top_p < 1 || how.min_p > 0); }

/// What the device needs to know of rows [rows] of one pass: one upload.
struct Pass {
  Pass(const SampleRow* how, int count) {
    for (; rows < count && rows < cuda::kHeadRows; ++rows) {
      const SampleRow& row = how[rows];
      if (is_cut(row) && cut == kCutRows) break;
      const bool greedy = !(row.temperature > 0);
      kept.push_back(is_cut(row) ? cut++ : -1);
      inv_temperature.push_back(greedy ? 1.0F : 1 / row.temperature);
      ways.push_back({row.seed, row.sequence, row.position, row.top_p, row.min_p, row.top_k, kept.back(), greedy});
    }
  }

  int rows = 0;
  int cut = 0;
  std::vector<cuda::SampleTaskRow> ways;
  std::vector<float> inv_temperature;
  std::vector<std::int32_t> kept;
};

/// Arrays laid end to end in one scratch buffer, written by one copy.
class Uploaded {
 public:
  Uploaded(cuda::Device& device, const Pass& pass) {
    const std::size_t ways = pass.ways.size() * sizeof(cuda::SampleTaskRow), words = pass.kept.size() * 4;
    std::vector<std::byte> bytes(ways + 2 * words);
    const auto put = [&](const void* from, std::size_t count, std::size_t at) {
      std::copy_n(static_cast<const std::byte*>(from), count, bytes.data() + at);
    };
    put(pass.ways.data(), ways, 0);
    put(pass.inv_temperature.data(), words, ways);
    put(pass.kept.data(), words, ways + words);
    memory_ = device.scratch(bytes.size());
    device.upload(memory_.get(), bytes.data(), bytes.size());
    inv_temperature_ = ways;
    kept_ = ways + words;
  }

  const cuda::SampleTaskRow* ways() const { return static_cast<const cuda::SampleTaskRow*>(memory_.get()); }
  const float* inv_temperature() const { return reinterpret_cast<const float*>(at(inv_temperature_)); }
  const std::int32_t* kept() const { return reinterpret_cast<const std::int32_t*>(at(kept_)); }

 private:
  const std::byte* at(std::size_t offset) const { return static_cast<const std::byte*>(memory_.get()) + offset; }

  std::shared_ptr<void> memory_;
  std::size_t inv_temperature_ = 0;
  std::size_t kept_ = 0;
};

}  // namespace

void CudaBackend::head_sample(const HeadSampleArgs& args) {
  const cuda::CudaWeight& weight = packed(args.weight, "head_sample");
  const int chunks = cuda::vocab_chunks(weight.out);
  const std::size_t row_bytes = std::size_t(weight.in) * size_of(dtype_);
  const cuda::TileShape tile = bf16() ? cuda::kFewRows : cuda::kFloatRows;
  for (int row = 0; row < args.rows;) {
    const Pass pass(args.how + row, args.rows - row);
    const Uploaded uploaded(*device_, pass);
    const auto stats = device_->scratch(cuda::stats_bytes(pass.rows, chunks));
    const auto logits =
        pass.cut > 0 ? device_->scratch(std::size_t(pass.cut) * std::size_t(weight.out) * sizeof(float)) : nullptr;

    cuda::HeadStatsTask scan{};
    scan.product = {static_cast<const std::byte*>(args.x) + std::size_t(row) * row_bytes,
                    weight.data(),
                    pass.rows,
                    weight.in,
                    weight.stride,
                    weight.out};
    scan.inv_temperature = uploaded.inv_temperature();
    scan.stats = static_cast<cuda::ChunkStats*>(stats.get());
    scan.kept = uploaded.kept();
    scan.logits = static_cast<float*>(logits.get());
    cuda::launch_head_stats(*device_, dtype_, scan);

    const cuda::HeadSampleTask draw{scan.product, scan.inv_temperature, scan.stats,     uploaded.ways(),
                                    scan.logits,  args.token + row,     args.logp + row};
    const auto rows = static_cast<unsigned>(pass.rows);
    if (pass.cut < pass.rows) {
      cuda::launch(*device_, "head_sample", pick("head_sample_bf16", "head_sample_f32"),
                   {.grid = {rows}, .block = static_cast<unsigned>(tile.threads), .shared_bytes = tile.shared_bytes},
                   draw);
    }
    if (pass.cut > 0) {
      cuda::launch(*device_, "truncated_draw", "truncated_draw",
                   {.grid = {rows}, .block = cuda::truncated_threads(weight.out)}, draw);
    }
    row += pass.rows;
  }

  // The one copy back: a row whose logits are not finite has no token.
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(args.rows));
  device_->download(tokens.data(), args.token, tokens.size() * sizeof(std::int32_t));
  for (std::size_t m = 0; m < tokens.size(); ++m) {
    check(tokens[m] >= 0, "ERR_NUMERIC", "head_sample: row ", m, ": expected finite logits, found NaN or infinity");
  }
}

}  // namespace tinylora
