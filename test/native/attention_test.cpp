// rope_store and attention: against the reference, and row invariance: a token's output has the same bits whether it
// came by prefill, by decode, in pieces, in a packed batch, over a shared prompt, on any number of threads. Every slot
// that was not stored holds NaN, so each test also shows that nothing masked or unwritten leaks.
#include <algorithm>
#include <cmath>

#include "layout.h"
#include "suites.h"

namespace tinylora::test {
namespace {

const std::vector<AttentionShape> kShapes = {
    {.heads = 1, .kv_heads = 1, .head_dim = 2},
    {.heads = 4, .kv_heads = 2, .head_dim = 16, .rank = 16},
    {.heads = 9, .kv_heads = 3, .head_dim = 64},
    {.heads = 6, .kv_heads = 1, .head_dim = 24, .gains = true, .rank = 1},
    {.heads = 2, .kv_heads = 2, .head_dim = 128, .gains = true},
    {.heads = 40, .kv_heads = 8, .head_dim = 8},
    {.heads = 5, .kv_heads = 1, .head_dim = 96},
};

/// Prompts around the size of a page, with completions; and sequences on their own.
Layout mixed_layout() {
  Layout layout;
  add_group(layout, 1, {1});
  add_group(layout, 33, {2, 40, 1});
  add_group(layout, 64, {3, 31});
  layout.add_span(take_pages(layout, 4), 0, 111);
  layout.add_span(take_pages(layout, 1), 0, 31);
  layout.add_span(take_pages(layout, 9), 0, 270);
  return layout;
}

void expect_numerics(const Candidate& candidate, DType dtype, const std::vector<AttentionShape>& shapes,
                     const Layout& layout) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const AttentionShape& shape : shapes) {
    const AttentionCase data = make_attention(shape, layout);
    const AttentionResult got = attend(*backend, data), want = attend(*reference, data);
    // Scores are sums over D of about 1 (4 with gains). An error of a score is a relative error of its probability, and
    // so of the mean of values of about 1. A bf16 query or key that rounds to the other side (2^-9 of it) moves a score
    // by 2^-9 / sqrt(D) of its size, as often as float rounding puts it there: rarely, but over many keys it is seen.
    const double score = summing(DType::f32, shape.head_dim, 4).absolute + 0x1.0p-20;
    const double moved = dtype == DType::f32 ? 0 : dtype == DType::bf16 ? 0x1.0p-8 : 0x1.0p-11;
    expect_near("q", got.q, want.q, {0x1.0p-21, rounding(dtype).relative});
    expect_near("out", got.out, want.out, {4 * (score + moved), rounding(dtype).relative});
    expect_near("lse", got.lse, want.lse, {4 * (score + moved), 0x1.0p-21});

    const Projected projected = project(*reference, data, got.out);
    const int width = shape.heads * shape.head_dim;
    const double scale = std::sqrt(width);
    expect_near("z", got.projected.z, projected.z, summing(DType::f32, width, scale));
    // z is multiplied by R, and that by B, numbers of about 1.
    expect_near("product", got.projected.y, projected.y, summing(DType::f32, width, scale * (1 + shape.rank)));
  }
}

void numerics(const Candidate& candidate, DType dtype) { expect_numerics(candidate, dtype, kShapes, mixed_layout()); }
void tile_numerics(const Candidate& candidate, DType dtype) {
  expect_numerics(candidate, dtype, kTileShapes, tile_layout());
}

/// The sequence of 111 tokens in one span: what every other way of computing it must repeat.
struct Whole {
  explicit Whole(const AttentionShape& shape) {
    Layout layout;
    layout.add_span(take_pages(layout, 4), 0, kRows);
    data = make_attention(shape, layout);
  }
  static constexpr int kRows = 111;
  AttentionCase data;
};

/// The case of `layout` whose row m is token tokens[m] of the whole sequence, or noise where tokens[m] is -1.
AttentionCase rearranged(const Whole& whole, const Layout& layout, const std::vector<int>& tokens) {
  AttentionCase data = make_attention(whole.data.shape, layout, 7);
  data.q_gain = whole.data.q_gain;
  data.k_gain = whole.data.k_gain;
  data.cos = whole.data.cos;
  data.sin = whole.data.sin;
  const int q_width = whole.data.shape.heads * whole.data.shape.head_dim;
  const int kv_width = whole.data.shape.kv_heads * whole.data.shape.head_dim;
  const auto copy = [](const std::vector<float>& from, int token, std::vector<float>& to, int row, int width) {
    std::copy_n(from.begin() + token * width, width, to.begin() + row * width);
  };
  for (int m = 0; m < layout.rows(); ++m) {
    if (tokens[m] < 0) continue;
    copy(whole.data.q, tokens[m], data.q, m, q_width);
    copy(whole.data.k, tokens[m], data.k, m, kv_width);
    copy(whole.data.v, tokens[m], data.v, m, kv_width);
    copy(whole.data.d_out, tokens[m], data.d_out, m, q_width);
  }
  return data;
}

void expect_rows(const std::string& what, const AttentionShape& shape, const AttentionResult& got,
                 const AttentionResult& want, const std::vector<int>& tokens) {
  const int width = shape.heads * shape.head_dim;
  for (std::size_t m = 0; m < tokens.size(); ++m) {
    if (tokens[m] < 0) continue;
    const int row = static_cast<int>(m);
    const std::string name = what + ", token " + std::to_string(tokens[m]) + ": ";
    expect_same_bits(name + "q", rows_of(got.q, row, 1, width), rows_of(want.q, tokens[m], 1, width));
    expect_same_bits(name + "out", rows_of(got.out, row, 1, width), rows_of(want.out, tokens[m], 1, width));
    expect_same_bits(name + "lse", rows_of(got.lse, row, 1, shape.heads), rows_of(want.lse, tokens[m], 1, shape.heads));
    expect_same_bits(name + "z", rows_of(got.projected.z, row, 1, shape.rank),
                     rows_of(want.projected.z, tokens[m], 1, shape.rank));
    expect_same_bits(name + "product", rows_of(got.projected.y, row, 1, kProjected),
                     rows_of(want.projected.y, tokens[m], 1, kProjected));
  }
}

/// The sequence in pieces of `piece` tokens, one call each, over one cache. Piece 1 is decoding.
void expect_pieces_agree(const Whole& whole, const AttentionResult& want, Backend& backend, int prefill, int piece) {
  const Cache cache(backend, whole.data.shape, 5);
  for (int first = 0, count = prefill; first < Whole::kRows; first += count, count = piece) {
    Layout layout;
    layout.pages = 5;
    std::vector<int> tokens;
    for (int i = first; i < std::min(first + count, Whole::kRows); ++i) tokens.push_back(i);
    layout.add_span({4, 1, 3, 0}, first, static_cast<int>(tokens.size()));
    const AttentionResult got = attend(backend, rearranged(whole, layout, tokens), cache);
    expect_rows("pieces of " + std::to_string(piece), whole.data.shape, got, want, tokens);
  }
}

/// The sequence as a prompt of 45 or 64 tokens and completions that are all its rest, among strangers.
void expect_group_agrees(const Whole& whole, const AttentionResult& want, Backend& backend, int prompt) {
  Layout layout;
  add_group(layout, 37, {5, 50});
  std::vector<int> tokens(static_cast<std::size_t>(layout.rows()), -1);
  const int first = layout.rows();
  const std::vector<int> completions = add_group(layout, prompt, {Whole::kRows - prompt, 9, Whole::kRows - prompt});
  for (int row = first; row < layout.rows(); ++row) tokens.push_back(layout.position[static_cast<std::size_t>(row)]);
  layout.add_span(take_pages(layout, 2), 0, 60);
  tokens.resize(static_cast<std::size_t>(layout.rows()), -1);
  const AttentionResult got = attend(backend, rearranged(whole, layout, tokens));
  expect_rows("prompt of " + std::to_string(prompt), whole.data.shape, got, want, tokens);
}

void invariance(const Candidate& candidate, DType dtype) {
  for (const AttentionShape& shape : {kShapes[1], kShapes[2], kShapes[3]}) {
    const Whole whole(shape);
    const AttentionResult want = attend(*candidate.make(dtype, 1), whole.data);
    for (const int threads : kThreadCounts) {
      const auto backend = candidate.make(dtype, threads);
      expect_pieces_agree(whole, want, *backend, 20, 7 * threads);
      // Where threads are nothing: decoding from the start and after a prefill, and each batch once.
      if (candidate.name == "cuda" && threads > 2) continue;
      expect_pieces_agree(whole, want, *backend, threads == 1 ? 1 : 31 + threads, 1);
      expect_same_bits("out", attend(*backend, whole.data).out, want.out);
      expect_group_agrees(whole, want, *backend, 45);
      expect_group_agrees(whole, want, *backend, 64);
    }
  }
}

/// In pieces, by decoding and over a shared prompt: chunks of queries begin and end anywhere in rows and pages.
void tile_invariance(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const AttentionShape& shape : kTileShapes) {
    const Whole whole(shape);
    const AttentionResult want = attend(*backend, whole.data);
    expect_pieces_agree(whole, want, *backend, 20, 13);
    expect_pieces_agree(whole, want, *backend, 90, 1);
    expect_group_agrees(whole, want, *backend, 45);
  }
}

/// Keys and values nearly as large as bf16 has them reach no token before theirs, in whatever chunk or tile it is.
void later_tokens(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const AttentionShape& shape : {kShapes[1], kShapes[2], kShapes[6]}) {
    const Whole whole(shape);
    const AttentionResult want = attend(*backend, whole.data);
    const int width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
    for (const int first : {1, 40, 64, 110}) {
      AttentionCase data = whole.data;
      const auto from = static_cast<std::ptrdiff_t>(first) * kv_width;
      std::transform(data.k.begin() + from, data.k.end(), data.k.begin() + from, [](float k) { return 1e36F * k; });
      std::transform(data.v.begin() + from, data.v.end(), data.v.begin() + from,
                     [](float v) { return v < 0 ? -3e38F : 3e38F; });
      const AttentionResult got = attend(*backend, data);
      const std::string name = "before token " + std::to_string(first);
      expect_same_bits(name, rows_of(got.out, 0, first, width), rows_of(want.out, 0, first, width));
      expect_same_bits(name + ", lse", rows_of(got.lse, 0, first, shape.heads),
                       rows_of(want.lse, 0, first, shape.heads));
    }
  }
}

/// Scores of +-256: what an earlier page weighs against a later one must not overflow, whichever has the larger score.
void scores_far_apart(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  const AttentionShape shape = {.heads = 2, .kv_heads = 1, .head_dim = 16};
  Layout layout;
  layout.add_span(take_pages(layout, 4), 0, 100);
  AttentionCase data = make_attention(shape, layout);
  std::fill(data.q.begin(), data.q.end(), 8.0F);
  std::fill(data.cos.begin(), data.cos.end(), 1.0F);
  std::fill(data.sin.begin(), data.sin.end(), 0.0F);
  for (const bool falling : {true, false}) {
    for (std::size_t i = 0; i < data.k.size(); ++i) data.k[i] = (i / 16 < 50) == falling ? 8.0F : -8.0F;
    const AttentionResult got = attend(*backend, data), want = attend(*reference, data);
    expect_near("out", got.out, want.out, {0x1.0p-16, rounding(dtype).relative});
    expect_near("lse", got.lse, want.lse, {0x1.0p-14, 0});
  }
}

/// Many sequences decode one token each, in one call: each as if alone.
void decode_batch(const Candidate& candidate, DType dtype) {
  const AttentionShape shape = kShapes[2];
  const Whole whole(shape);
  const auto backend = candidate.make(dtype, 3);
  const AttentionResult want = attend(*backend, whole.data);
  const Cache cache(*backend, shape, 4);
  attend(*backend, whole.data, cache);
  // The keys are all there; each row now reads them again up to its own position (and stores its own once more).
  Layout layout;
  layout.pages = 4;
  std::vector<int> tokens;
  for (const int token : {110, 3, 31, 32, 64, 0, 95, 96, 63, 1, 50}) {
    layout.add_span({3, 2, 1, 0}, token, 1);
    tokens.push_back(token);
  }
  expect_rows("decode batch", shape, attend(*backend, rearranged(whole, layout, tokens), cache), want, tokens);
}

}  // namespace

void add_attention_tests(Tests& tests) {
  add_for_each_backend(tests, "attention: numerics", numerics);
  add_for_each_backend(tests, "attention: invariance", invariance);
  add_for_each_backend(tests, "attention: decode batch", decode_batch);
  add_for_each_backend(tests, "attention: scores far apart", scores_far_apart);
  add_for_each_backend(tests, "attention: later tokens", later_tokens, {DType::f32, DType::bf16});
  add_for_tiles(tests, "attention: numerics of all tiles", tile_numerics);
  add_for_tiles(tests, "attention: invariance of all tiles", tile_invariance);
}

}  // namespace tinylora::test
