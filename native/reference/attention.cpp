// attention           p_t = softmax_t(q k_t / sqrt(D)) over t = 0 .. position,  out = sum_t p_t v_t,  lse of the scores
// attention_backward  p_t = exp(score_t - lse),  delta = d_out . out,  dp_t = d_out . v_t,  ds_t = p_t (dp_t - delta),
//                     dq = sum_t ds_t k_t / sqrt(D),  d_keys_t += ds_t q / sqrt(D),  d_values_t += p_t d_out
// Slots of positions after a row's own are never read: they may hold anything.
#include <algorithm>
#include <cmath>

#include "reference/reference.h"

namespace tinylora::reference {
namespace {

/// Calls body(row, page table) for every row of every span, spans ascending.
template <typename Body>
void for_each_row(const SequenceLayout& layout, const Body& body) {
  for (int span = 0; span < layout.spans; ++span) {
    const std::int32_t* table = layout.page_table + at(span, layout.max_pages);
    for (int i = 0; i < layout.span_rows[span]; ++i) body(layout.span_row[span] + i, table);
  }
}

int slot_of(const std::int32_t* table, int position) {
  return table[position / kPageSize] * kPageSize + position % kPageSize;
}

}  // namespace

void attention(DType dtype, const AttentionArgs& args) {
  const int dim = args.head_dim;
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const ActIn q_all(dtype, args.q), keys(dtype, args.pages.keys), values(dtype, args.pages.values);
  const ActOut out(dtype, args.out);

  for_each_row(*args.layout, [&](int m, const std::int32_t* table) {
    const int length = args.layout->position[m] + 1;
    for (int h = 0; h < args.heads; ++h) {
      const int kv_head = h / (args.heads / args.kv_heads);
      const std::size_t index = at(m, args.heads) + h;
      const std::vector<float> q = q_all.read(at(index, dim), dim);

      std::vector<double> scores(static_cast<std::size_t>(length));
      for (int t = 0; t < length; ++t) {
        const auto k = keys.read(page_at(slot_of(table, t), kv_head, args.kv_heads, dim), dim);
        scores[t] = dot(q.data(), k.data(), dim) * scale;
      }
      const double lse = log_sum_exp(scores);
      if (args.lse != nullptr) args.lse[index] = static_cast<float>(lse);

      std::vector<double> sum(static_cast<std::size_t>(dim));
      for (int t = 0; t < length; ++t) {
        const double p = std::exp(scores[t] - lse);
        const std::size_t v = page_at(slot_of(table, t), kv_head, args.kv_heads, dim);
        for (int i = 0; i < dim; ++i) sum[i] += p * double{values[v + i]};
      }
      for (int i = 0; i < dim; ++i) out.set(at(index, dim) + i, sum[i]);
    }
  });
}

void attention_backward(DType dtype, const AttentionBackwardArgs& args) {
  const SequenceLayout& layout = *args.layout;
  const int dim = args.head_dim;
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const ActIn q_all(dtype, args.q), keys(dtype, args.pages.keys), values(dtype, args.pages.values);
  const ActIn out_all(dtype, args.out);

  const std::size_t page_size = at(kPageSize, args.kv_heads * dim);
  std::vector<double> d_keys(args.pages.pages * page_size), d_values(args.pages.pages * page_size);

  for_each_row(layout, [&](int m, const std::int32_t* table) {
    const int length = layout.position[m] + 1;
    for (int h = 0; h < args.heads; ++h) {
      const int kv_head = h / (args.heads / args.kv_heads);
      const std::size_t index = at(m, args.heads) + h;
      const std::vector<float> q = q_all.read(at(index, dim), dim);
      const std::vector<float> out = out_all.read(at(index, dim), dim);
      const float* d_out = args.d_out + at(index, dim);
      const double delta = dot(d_out, out.data(), dim);

      std::vector<double> dq(static_cast<std::size_t>(dim));
      for (int t = 0; t < length; ++t) {
        const int slot = slot_of(table, t);
        const std::size_t page = page_at(slot, kv_head, args.kv_heads, dim);
        const std::vector<float> k = keys.read(page, dim), v = values.read(page, dim);
        const double p = std::exp(dot(q.data(), k.data(), dim) * scale - double{args.lse[index]});
        const double ds = p * (dot(d_out, v.data(), dim) - delta) * scale;
        const std::size_t row = at(at(slot, args.kv_heads) + kv_head, dim);
        for (int i = 0; i < dim; ++i) {
          dq[i] += ds * double{k[i]};
          d_keys[row + i] += ds * double{q[i]};
          d_values[row + i] += p * double{d_out[i]};
        }
      }
      std::copy(dq.begin(), dq.end(), args.dq_out + at(index, dim));
    }
  });

  // Every page that a span reads is written whole; the other pages stay as they are.
  for (int span = 0; span < layout.spans; ++span) {
    const int last = layout.position[layout.span_row[span] + layout.span_rows[span] - 1];
    for (int j = 0; j <= last / kPageSize; ++j) {
      const std::size_t first = layout.page_table[at(span, layout.max_pages) + j] * page_size;
      std::copy_n(d_keys.begin() + static_cast<std::ptrdiff_t>(first), page_size, args.d_keys + first);
      std::copy_n(d_values.begin() + static_cast<std::ptrdiff_t>(first), page_size, args.d_values + first);
    }
  }
}

}  // namespace tinylora::reference
