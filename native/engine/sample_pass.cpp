#include "engine/sample_pass.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "engine/activations.h"

namespace tinylora {
namespace {

constexpr std::size_t kMostRecordings = 128;

/// Whether every row continues a sequence by one token and draws the next, draw i from row i.
bool only_decodes(const Batch& batch, const std::vector<Draw>& draws) {
  const std::size_t rows = batch.tokens.size();
  if (batch.span_row.size() != rows || batch.store_row.size() != rows || draws.size() != rows) return false;
  for (std::size_t i = 0; i < rows; ++i) {
    if (draws[i].row != static_cast<std::int32_t>(i)) return false;
  }
  return true;
}

/// The next size from `rows` up: there are four sizes from a power of two to the next.
std::size_t padded_rows(std::size_t rows) {
  const std::size_t step = std::max<std::size_t>(1, std::bit_floor(rows) / 4);
  return (rows + step - 1) / step * step;
}

int count_cut(const std::vector<Draw>& draws) {
  return static_cast<int>(std::count_if(draws.begin(), draws.end(), [](const Draw& d) { return d.how.is_cut(); }));
}

}  // namespace

SamplePass::SamplePass(const Model& model, const Adapters& adapters, int rows, int draws, int pages)
    : model_(model),
      adapters_(adapters),
      rows_(rows),
      most_draws_(draws),
      cache_(model, pages + (model.backend->replays() ? 1 : 0)),
      activations_(make_activations(model, adapters, rows)) {
  Arena count;
  lay_out(count);
  bytes_ = count.used();
  memory_ = model.backend->allocate(bytes_);
  Arena arena(memory_.get());
  lay_out(arena);
}

void SamplePass::lay_out(Arena& arena) {
  const auto n = static_cast<std::size_t>(most_draws_);
  arena.take(how_, n * sizeof(SampleRow));
  input_.lay_out(arena, model_, most_draws_);
  arena.take(drawn_, n * (sizeof(std::int32_t) + 2 * sizeof(float)));
}

std::size_t SamplePass::activation_bytes() const { return activations_->bytes + bytes_; }

std::shared_ptr<const SampledActivations> SamplePass::make_sampled_activations(bool gradient_checkpointing) {
  recordings_.clear();  // they have the addresses of what is replaced
  activations_ = make_activations(model_, adapters_, rows_, true);
  return std::make_shared<SampledActivations>(model_, adapters_, cache_.pages(), gradient_checkpointing);
}

std::vector<Drawn> SamplePass::run(const Batch& batch, const std::vector<Draw>& draws, const SampledActivations* keep,
                                   const std::atomic<bool>& abort) {
  check(!abort, "ERR_ABORTED", "sample: aborted before the pass");
  check(batch.rows() <= rows_ && draws.size() <= static_cast<std::size_t>(most_draws_), "ERR_ARGUMENT",
        "sample: expected at most ", rows_, " rows and ", most_draws_, " draws, found ", batch.rows(), " and ",
        draws.size());
  if (model_.backend->replays() && only_decodes(batch, draws)) {
    const std::size_t rows = std::min(padded_rows(draws.size()), static_cast<std::size_t>(most_draws_));
    repeat(batch, draws, rows, keep, abort);
    return download(draws.size(), rows);
  }
  batch_.upload(*model_.backend, batch);
  upload_draws(draws);
  compute(static_cast<int>(draws.size()), count_cut(draws), keep, abort);
  return download(draws.size(), draws.size());
}

/// Pads the batch to `rows` rows, which read and write only the spare page, and records or repeats the pass.
void SamplePass::repeat(Batch batch, std::vector<Draw> draws, std::size_t rows, const SampledActivations* keep,
                        const std::atomic<bool>& abort) {
  std::size_t pages = 1;
  for (const std::vector<std::int32_t>& own : batch.span_pages) pages = std::max(pages, own.size());
  pages = std::bit_ceil(pages);
  const auto cut = static_cast<int>(std::bit_ceil(static_cast<unsigned>(count_cut(draws))));
  const int most_cut = count_cut(draws) == 0 ? 0 : std::min(cut, static_cast<int>(rows));
  const std::int32_t nothing = 0;
  while (draws.size() < rows) {
    draws.push_back({.row = batch.rows(), .how = {.temperature = 0}});
    append_span(batch, std::span(&nothing, 1), 0, -1, {cache_.pages() - 1});
  }
  batch_.upload(*model_.backend, batch, pages);
  upload_draws(draws);

  const std::tuple<const void*, const void*, int, int> now{batch_.memory(), keep, adapters_.basis_version(),
                                                           model_.version};
  if (now != recorded_for_ || recordings_.size() == kMostRecordings) recordings_.clear();
  recorded_for_ = now;
  const unsigned shared = std::bit_floor(static_cast<unsigned>(batch_.layout().most_shared));
  model_.backend->replay(recordings_[{rows, pages, shared, most_cut}],
                         [&] { compute(static_cast<int>(rows), most_cut, keep, abort); });
}

void SamplePass::upload_draws(const std::vector<Draw>& draws) {
  std::vector<std::int32_t> rows;
  std::vector<SampleRow> how;
  for (const Draw& draw : draws) {
    rows.push_back(draw.row);
    how.push_back(draw.how);
  }
  model_.backend->upload(input_.rows, rows.data(), rows.size() * sizeof(std::int32_t));
  model_.backend->upload(how_, how.data(), how.size() * sizeof(SampleRow));
}

/// Everything between the uploads and the download. The arguments of its ops depend only on the shape of the batch.
void SamplePass::compute(int draws, int cut, const SampledActivations* keep, const std::atomic<bool>& abort) {
  const float* x = run_layers(model_, adapters_, batch_, cache_, *activations_, abort, keep);
  if (draws == 0) return;
  input_.compute(model_, draws, x);
  model_.backend->head_sample({.rows = draws,
                               .x = input_.normed,
                               .weight = &model_.head(),
                               .how = how_,
                               .cut = cut,
                               .token = drawn_,
                               .logp = reinterpret_cast<float*>(drawn_ + draws),
                               .entropy = reinterpret_cast<float*>(drawn_ + std::ptrdiff_t{2} * draws)});
}

/// The first `count` of `padded` draws, in one copy.
std::vector<Drawn> SamplePass::download(std::size_t count, std::size_t padded) {
  std::vector<std::int32_t> words(3 * padded);
  model_.backend->download(words.data(), drawn_, words.size() * sizeof(std::int32_t));
  std::vector<Drawn> drawn;
  for (std::size_t i = 0; i < count; ++i) {
    const auto logprob = std::bit_cast<float>(words[padded + i]);
    const auto entropy = std::bit_cast<float>(words[2 * padded + i]);
    drawn.push_back({words[i], logprob, entropy});
  }
  return drawn;
}

void SamplePass::clear_pages(const std::vector<std::int32_t>& pages) {
  const std::size_t half = cache_.half_page();
  for (int layer = 0; layer < model_.config.layers; ++layer) {
    const KvPages kv = cache_.layer(layer);
    for (const std::int32_t page : pages) {
      const std::size_t offset = static_cast<std::size_t>(page) * half;
      model_.backend->zero(static_cast<std::byte*>(kv.keys) + offset, half);
      model_.backend->zero(static_cast<std::byte*>(kv.values) + offset, half);
    }
  }
}

}  // namespace tinylora
