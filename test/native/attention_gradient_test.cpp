// attention_backward and rope_store_backward: against the reference, against finite differences through both ops, the
// same bits on any number of threads and in any company, a group's gradient is the sum of its members'.
#include <cmath>

#include "layout.h"
#include "suites.h"

namespace tinylora::test {
namespace {

const std::vector<AttentionShape> kShapes = {
    {.heads = 1, .kv_heads = 1, .head_dim = 2},   {.heads = 4, .kv_heads = 2, .head_dim = 16, .gains = true},
    {.heads = 9, .kv_heads = 3, .head_dim = 64},  {.heads = 3, .kv_heads = 1, .head_dim = 24},
    {.heads = 2, .kv_heads = 1, .head_dim = 128}, {.heads = 2, .kv_heads = 1, .head_dim = 34},
    {.heads = 3, .kv_heads = 1, .head_dim = 130}, {.heads = 2, .kv_heads = 1, .head_dim = 256},
    {.heads = 5, .kv_heads = 1, .head_dim = 96},
};

Layout groups() {
  Layout layout;
  add_group(layout, 33, {2, 40, 1});
  layout.add_span(take_pages(layout, 1), 0, 7);
  add_group(layout, 64, {3, 11});
  return layout;
}

/// `spread`: how much larger the largest error may be than in kShapes.
void expect_numerics(const Candidate& candidate, DType dtype, const std::vector<AttentionShape>& shapes,
                     const Layout& layout, double spread = 1) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const AttentionShape& shape : shapes) {
    const AttentionCase data = make_attention(shape, layout);
    const AttentionGradients got = attend_backward(*backend, data), want = attend_backward(*reference, data);
    // ds = p (d_out . v - delta) is a difference of sums over D that come to about sqrt(D). In bf16 an element of q, k
    // or out that rounds to the other side moves delta or a score by 2^-8 of factors up to 4; of large heads, where p
    // is rounded too, a third of out's does, signs at random. What is wrong in ds meets keys and queries of up to 4
    // over sqrt(D), in a sum whose weights p add up to a few.
    const double root = std::sqrt(static_cast<double>(shape.head_dim));
    const double moved = dtype == DType::f32 ? 0 : dtype == DType::bf16 ? 0x1.0p-8 : 0x1.0p-11;
    const double sides = shape.head_dim > 128 ? std::sqrt(shape.head_dim / 3.0) : 4;
    const double ds = summing(DType::f32, shape.head_dim, root).absolute + sides * moved;
    const Tolerance in_float = {spread * 4 * ds / root * 2, 0x1.0p-20};
    const Tolerance in_act = {spread * 4 * ds / root * 2, rounding(dtype).relative};
    expect_near("dq_out", got.dq_out, want.dq_out, in_float);
    expect_near("d_keys", got.d_keys, want.d_keys, in_float);
    expect_near("d_values", got.d_values, want.d_values, in_float);
    expect_near("dq", got.dq, want.dq, in_act);
    expect_near("dk", got.dk, want.dk, in_act);
    expect_near("dv", got.dv, want.dv, in_act);
    // A sum over the heads of all rows, times normed elements of about 1, of what is wrong in dq_out: signs at random,
    // and on average an eighth of what one may be off.
    const double terms = std::sqrt(static_cast<double>(data.q.size()) / shape.head_dim);
    const Tolerance summed = {in_float.absolute / 8 * terms, 0x1.0p-18};
    expect_near("d_q_gain", got.d_q_gain, want.d_q_gain, summed);
    expect_near("d_k_gain", got.d_k_gain, want.d_k_gain, summed);
  }
}

void numerics(const Candidate& candidate, DType dtype) { expect_numerics(candidate, dtype, kShapes, groups()); }
/// More heads to sum over, and several times as many elements, of which one is further off than all of the others.
void tile_numerics(const Candidate& candidate, DType dtype) {
  expect_numerics(candidate, dtype, kTileShapes, tile_layout(), 1.5);
}

void gradient(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const bool gains : {false, true}) {
    Layout layout;
    add_group(layout, 35, {3, 1});
    AttentionCase data = make_attention({.heads = 4, .kv_heads = 2, .head_dim = 8, .gains = gains}, layout);
    const AttentionGradients gradients = attend_backward(*backend, data);
    const auto loss = [&](std::vector<float> AttentionCase::*field) {
      return [&, field](const std::vector<float>& values) {
        AttentionCase moved = data;
        moved.*field = values;
        return weighted_sum(data.d_out, attend(*backend, moved).out);
      };
    };
    expect_gradient("dq", data.q, gradients.dq, loss(&AttentionCase::q));
    expect_gradient("dk", data.k, gradients.dk, loss(&AttentionCase::k));
    expect_gradient("dv", data.v, gradients.dv, loss(&AttentionCase::v));
    if (!gains) continue;
    expect_gradient("d_q_gain", data.q_gain, gradients.d_q_gain, loss(&AttentionCase::q_gain));
    expect_gradient("d_k_gain", data.k_gain, gradients.d_k_gain, loss(&AttentionCase::k_gain));
  }
}

void any_number_of_threads(const Candidate& candidate, DType dtype) {
  for (const AttentionShape& shape : {kShapes[1], kShapes[2]}) {
    const AttentionCase data = make_attention(shape, groups());
    const AttentionGradients want = attend_backward(*candidate.make(dtype, 1), data);
    for (const int threads : thread_counts(candidate)) {
      const AttentionGradients got = attend_backward(*candidate.make(dtype, threads), data);
      expect_same_bits("dq_out", got.dq_out, want.dq_out);
      expect_same_bits("d_keys", got.d_keys, want.d_keys);
      expect_same_bits("d_values", got.d_values, want.d_values);
      expect_same_bits("dq", got.dq, want.dq);
      expect_same_bits("dk", got.dk, want.dk);
      expect_same_bits("dv", got.dv, want.dv);
      expect_same_bits("d_q_gain", got.d_q_gain, want.d_q_gain);
      expect_same_bits("d_k_gain", got.d_k_gain, want.d_k_gain);
    }
  }
}

/// With d_out = 0 on one span, nothing of that span reaches any gradient; slots that nobody reads get exactly 0.
void spans_stay_apart(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  Layout layout;
  layout.add_span(take_pages(layout, 2), 0, 40);
  layout.add_span(take_pages(layout, 1), 0, 19);
  const AttentionShape shape = kShapes[1];
  AttentionCase data = make_attention(shape, layout);
  std::fill(data.d_out.begin(), data.d_out.begin() + 40 * shape.heads * shape.head_dim, 0.0F);
  const AttentionGradients got = attend_backward(*backend, data);
  for (const auto& [values, rows] : {std::pair{&got.dq, 40}, {&got.dk, 40}, {&got.dv, 40}}) {
    const auto width = values->size() / 59;
    for (std::size_t i = 0; i < rows * width; ++i) expect((*values)[i] == 0, "a gradient leaked from another span");
  }
  const int kv_width = shape.kv_heads * shape.head_dim;
  const int unread = 2 * kPageSize + 19;  // the second span has page 2
  for (const auto* values : {&got.d_keys, &got.d_values}) {
    for (int i = unread * kv_width; i < 3 * kPageSize * kv_width; ++i) {
      expect((*values)[i] == 0, "an unread slot has the gradient ", (*values)[i]);
    }
  }
}

/// A group has the same gradients alone and between a sequence and another group.
void expect_company(const Candidate& candidate, DType dtype, const std::vector<AttentionShape>& shapes) {
  const auto backend = candidate.make(dtype, 2);
  for (const AttentionShape& shape : shapes) {
    const auto add_own = [](Layout& layout) { add_group(layout, 70, {2, 40, 1}); };
    Layout own, all;
    add_own(own);
    all.add_span(take_pages(all, 1), 0, 7);
    const int first_row = all.rows();
    const std::size_t first_span = all.span_pages.size();
    add_own(all);
    add_group(all, 64, {3, 11});

    const AttentionCase alone = make_attention(shape, own, 2);
    AttentionCase beside = make_attention(shape, all);
    beside.q_gain = alone.q_gain;
    beside.k_gain = alone.k_gain;
    const int width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
    for (const auto field : {&AttentionCase::q, &AttentionCase::k, &AttentionCase::v, &AttentionCase::d_out}) {
      const auto size = static_cast<int>((alone.*field).size()) / own.rows();
      std::copy((alone.*field).begin(), (alone.*field).end(), (beside.*field).begin() + first_row * size);
    }

    const AttentionGradients got = attend_backward(*backend, beside), want = attend_backward(*backend, alone);
    const auto expect_same_rows = [&](const std::string& what, const std::vector<float>& ours, int from,
                                      const std::vector<float>& theirs, int to, int count) {
      expect_same_bits(what, {ours.begin() + from, ours.begin() + from + count},
                       {theirs.begin() + to, theirs.begin() + to + count});
    };
    expect_same_rows("dq_out", got.dq_out, first_row * width, want.dq_out, 0, own.rows() * width);
    const int page = kPageSize * kv_width;
    for (std::size_t span = 0; span < own.span_pages.size(); ++span) {
      for (std::size_t i = 0; i < own.span_pages[span].size(); ++i) {
        const int from = all.span_pages[first_span + span][i] * page, to = own.span_pages[span][i] * page;
        expect_same_rows("d_keys", got.d_keys, from, want.d_keys, to, page);
        expect_same_rows("d_values", got.d_values, from, want.d_values, to, page);
      }
    }
  }
}

void company(const Candidate& candidate, DType dtype) { expect_company(candidate, dtype, kShapes); }
void company_of_tiles(const Candidate& candidate, DType dtype) { expect_company(candidate, dtype, kTileShapes); }

/// Keys and values nearly as large as bf16 has them reach no dq of a token before theirs.
void later_tokens(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  Layout layout;
  layout.add_span(take_pages(layout, 3), 0, 80);
  for (const AttentionShape& shape : {kShapes[2], kShapes[8]}) {
    const AttentionCase data = make_attention(shape, layout);
    const AttentionGradients want = attend_backward(*backend, data);
    const int width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
    for (const int first : {1, 40, 79}) {
      AttentionCase spoiled = data;
      for (auto k = spoiled.k.begin() + static_cast<std::ptrdiff_t>(first) * kv_width; k < spoiled.k.end(); ++k) {
        *k *= 1e36F;
      }
      for (auto v = spoiled.v.begin() + static_cast<std::ptrdiff_t>(first) * kv_width; v < spoiled.v.end(); ++v) {
        *v = *v < 0 ? -3e38F : 3e38F;
      }
      const AttentionGradients got = attend_backward(*backend, spoiled);
      expect_same_bits("dq before token " + std::to_string(first), rows_of(got.dq_out, 0, first, width),
                       rows_of(want.dq_out, 0, first, width));
    }
  }
}

}  // namespace

void add_attention_gradient_tests(Tests& tests) {
  add_for_each_backend(tests, "attention backward: numerics", numerics);
  add_for_each_backend(tests, "attention backward: gradient", gradient, {DType::f32});
  add_for_each_backend(tests, "attention backward: threads", any_number_of_threads);
  add_for_each_backend(tests, "attention backward: company", company);
  add_for_each_backend(tests, "attention backward: spans stay apart", spans_stay_apart);
  add_for_each_backend(tests, "attention backward: later tokens", later_tokens, {DType::f32, DType::bf16});
  add_for_tiles(tests, "attention backward: numerics of all tiles", tile_numerics);
  add_for_tiles(tests, "attention backward: company of all tiles", company_of_tiles);
}

}  // namespace tinylora::test
