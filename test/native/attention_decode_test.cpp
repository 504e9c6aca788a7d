// Decoding over pages that sequences share: the same bits whether the layout tells of them or not, in any company, and
// as the pass that had all tokens at once; lengths around the borders of pages and of splits (kernels/attention.h).
#include "engine/batch.h"
#include "layout.h"
#include "simulated_driver.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// 3, 7, 8, 1, 70, 2 and 10 heads a kv head; the last two have no tensor cores.
const std::vector<AttentionShape> kShapes = {
    {.heads = 3, .kv_heads = 1, .head_dim = 32},   {.heads = 14, .kv_heads = 2, .head_dim = 64},
    {.heads = 8, .kv_heads = 1, .head_dim = 128},  {.heads = 2, .kv_heads = 2, .head_dim = 24},
    {.heads = 70, .kv_heads = 1, .head_dim = 8},   {.heads = 4, .kv_heads = 2, .head_dim = 12},
    {.heads = 10, .kv_heads = 1, .head_dim = 136},
};

Layout grouped_layout() {
  Layout layout;
  add_group(layout, 129, {1, 30, 127, 128, 2});
  add_group(layout, 256, {1, 2, 40});
  add_group(layout, 31, {2, 97, 98});
  layout.add_span(take_pages(layout, 10), 0, 300);
  return layout;
}

/// Of these, what reaches past the borders of splits: for heads without tensor cores, which take the stand-in longest.
Layout short_layout() {
  Layout layout;
  add_group(layout, 129, {1, 30, 128});
  add_group(layout, 31, {97, 98});
  return layout;
}

/// The last row of every span; then runs of rows of one span or another, that share what their spans share.
std::vector<std::vector<int>> selections(const Layout& layout, int count) {
  std::vector<std::vector<int>> all(1);
  const int spans = static_cast<int>(layout.span_row.size());
  for (int span = 0; span < spans; ++span) all[0].push_back(layout.span_row[span] + layout.span_rows[span] - 1);
  Random random(5);
  for (int i = 1; i < count; ++i) {
    std::vector<int>& rows = all.emplace_back();
    while (rows.size() < 40) {
      const int span = random.below(spans), run = 1 + random.below(12);
      for (int j = 0; j < run; ++j) rows.push_back(layout.span_row[span] + random.below(layout.span_rows[span]));
    }
  }
  return all;
}

void expect_decoded(Backend& backend, const AttentionCase& whole, const AttentionResult& want, const Cache& cache,
                    const std::vector<int>& rows) {
  const int heads = whole.shape.heads, width = heads * whole.shape.head_dim;
  std::vector<float> out, lse, z, projected;
  for (const int row : rows) {
    const auto append = [row](std::vector<float>& to, const std::vector<float>& from, int size) {
      to.insert(to.end(), from.begin() + row * size, from.begin() + (row + 1) * size);
    };
    append(out, want.out, width);
    append(lse, want.lse, heads);
    append(z, want.projected.z, whole.shape.rank);
    append(projected, want.projected.y, kProjected);
  }
  // Grouped first: a part that is not written must not be there from before.
  for (const bool tells_shared : {true, false}) {
    const AttentionResult got = attend(backend, decoding(whole, rows, tells_shared), cache);
    expect_same_bits(tells_shared ? "out, grouped" : "out", got.out, out);
    expect_same_bits(tells_shared ? "lse, grouped" : "lse", got.lse, lse);
    expect_same_bits(tells_shared ? "z, grouped" : "z", got.projected.z, z);
    expect_same_bits(tells_shared ? "product, grouped" : "product", got.projected.y, projected);
  }
}

void shared_pages(const Candidate& candidate, DType dtype) {
  for (const AttentionShape& shape : kShapes) {
    const bool tensor_cores = shape.head_dim % 8 == 0 && shape.head_dim <= 128;
    const AttentionCase whole = make_attention(shape, tensor_cores ? grouped_layout() : short_layout());
    const auto backend = candidate.make(dtype, 3);
    const Cache cache(*backend, shape, whole.layout.pages);
    const AttentionResult want = attend(*backend, whole, cache);
    for (const auto& rows : selections(whole.layout, 4)) expect_decoded(*backend, whole, want, cache, rows);
  }
}

/// More spans than splits are spread for: a block takes several, and a tile has no end of company.
void many_rows(const Candidate& candidate, DType dtype) {
  const AttentionShape shape{.heads = 2, .kv_heads = 2, .head_dim = 16};
  const AttentionCase whole = make_attention(shape, grouped_layout());
  const auto backend = candidate.make(dtype, 3);
  const Cache cache(*backend, shape, whole.layout.pages);
  const AttentionResult want = attend(*backend, whole, cache);
  std::vector<int> rows;
  for (const auto& some : selections(whole.layout, 8)) rows.insert(rows.end(), some.begin(), some.end());
  rows.insert(rows.end(), 300, whole.layout.rows() - 1);
  expect_decoded(*backend, whole, want, cache, rows);
}

/// Sequences decode beside one that is prefilled: the first rows of the call, and the rest.
void beside_prefill(const Candidate& candidate, DType dtype) {
  const AttentionShape shape{.heads = 6, .kv_heads = 2, .head_dim = 32};
  const AttentionCase whole = make_attention(shape, grouped_layout());
  const auto backend = candidate.make(dtype, 2);
  const Cache cache(*backend, shape, whole.layout.pages);
  const AttentionResult want = attend(*backend, whole, cache);
  const std::vector<int> ends = selections(whole.layout, 1)[0];
  const int first = whole.layout.span_row.back(), count = whole.layout.span_rows.back();
  std::vector<int> rows = ends;
  for (int row = first + 40; row < first + count; ++row) rows.push_back(row);
  AttentionCase data = decoding(whole, rows, true);
  data.layout.join_spans(static_cast<int>(ends.size()));
  const AttentionResult got = attend(*backend, data, cache);
  const int width = shape.heads * shape.head_dim;
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const std::string name = "row " + std::to_string(m);
    expect_same_bits(name, rows_of(got.out, static_cast<int>(m), 1, width), rows_of(want.out, rows[m], 1, width));
    expect_same_bits(name + ", lse", rows_of(got.lse, static_cast<int>(m), 1, shape.heads),
                     rows_of(want.lse, rows[m], 1, shape.heads));
    expect_same_bits(name + ", z", rows_of(got.projected.z, static_cast<int>(m), 1, shape.rank),
                     rows_of(want.projected.z, rows[m], 1, shape.rank));
  }
}

/// The shape of Qwen2.5-1.5B: eight sequences share a prompt of 512 tokens.
void a_prompt_is_read_once(const SimulatedDriver& driver, const Candidate& candidate, DType dtype) {
  const bool half = dtype != DType::f32;
  const AttentionShape shape{.heads = 12, .kv_heads = 2, .head_dim = 128};
  const std::int64_t sequences = 8, prompt = 512, prompt_pages = prompt / kPageSize;
  Layout layout;
  std::vector<int> rows;
  for (const int first : add_group(layout, prompt, std::vector<int>(sequences, 1))) rows.push_back(first);
  const AttentionCase whole = make_attention(shape, layout);
  const auto backend = candidate.make(dtype, 1);
  const Cache cache(*backend, shape, layout.pages);
  attend(*backend, whole, cache);

  const auto count = [&](bool tells_shared, const char* counter) {
    driver.reset_counters();
    attend(*backend, decoding(whole, rows, tells_shared), cache);
    if (!half) return driver.counted("attention_simt_decode_f32_128", counter);
    return driver.counted(tells_shared ? "attention_decode_group_bf16_128" : "attention_decode_bf16_128", counter);
  };
  const std::int64_t prompt_sectors = prompt * 2 * shape.kv_heads * shape.head_dim * (half ? 2 : 4) / 32;
  const std::int64_t alone = count(false, "sectors"), together = count(true, "sectors");
  const std::int64_t rest = alone - sequences * prompt_sectors;
  // The warps of a group read page table and span_shared each.
  expect(rest > 0 && together - rest <= prompt_sectors * 1.08, "the prompt takes ", together - rest, " sectors of ",
         prompt_sectors);
  if (!half) return;

  // A page is 4 D / 16 mma for the scores and 4 D / 16 for the values, of 16 queries: 8 x 6 of a kv head fill 3 tiles.
  const std::int64_t page = 2 * 4 * shape.head_dim / 16 * shape.kv_heads;
  const std::int64_t mma_alone = count(false, "mma"), mma = count(true, "mma");
  expect(mma_alone == sequences * (prompt_pages + 1) * page, mma_alone, " mma without sharing");
  expect(mma == (3 * prompt_pages + sequences) * page, mma, " mma");
}

void pages_shared_with_the_span_before() {
  const auto backend = make_reference_backend(DType::f32);
  const std::vector<std::int32_t> token{1};
  Batch batch;
  append_span(batch, token, 70, -1, {3, 5, 9});
  append_span(batch, token, 64, -1, {3, 5, 1});
  append_span(batch, token, 63, -1, {3, 5, 1});  // its own page is not counted
  append_span(batch, token, 130, -1, {3, 5, 1, 2, 7});
  append_span(batch, token, 130, -1, {4, 5, 1, 2, 8});
  append_span(batch, token, 0, -1, {4});
  const DeviceBatch device(*backend, batch);
  std::vector<std::int32_t> shared(6);
  backend->download(shared.data(), device.layout().span_shared, shared.size() * sizeof(std::int32_t));
  expect(shared == std::vector<std::int32_t>{0, 2, 1, 1, 0, 0}, "other pages are shared");
}

}  // namespace

void add_attention_decode_tests(Tests& tests) {
  tests.add("attention decode: pages shared with the span before", pages_shared_with_the_span_before);
  add_for_each_backend(tests, "attention decode: shared pages", shared_pages);
  add_for_each_backend(tests, "attention decode: many rows", many_rows);
  add_for_each_backend(tests, "attention decode: beside prefill", beside_prefill);
  const SimulatedDriver driver = SimulatedDriver::find();
  if (!driver) return;  // a GPU's driver counts nothing
  const Candidate& cuda = candidates().back();
  for (const DType dtype : {DType::bf16, DType::f32}) {
    tests.add(std::string("attention decode: a prompt is read once [cuda ") + name_of(dtype) + "]",
              [driver, cuda, dtype] { a_prompt_is_read_once(driver, cuda, dtype); });
  }
}

}  // namespace tinylora::test
