// Sequence layouts for the attention tests: spans of rows over pages of a cache.
#pragma once

#include "support.h"

namespace tinylora::test {

/// Built on the host, one span at a time; the fields are those of SequenceLayout.
struct Layout {
  std::vector<std::int32_t> position, store_row, store_slot, span_row, span_rows;
  std::vector<std::vector<int>> span_pages;
  int pages = 0;              // of the whole cache
  bool tells_shared = false;  // SequenceLayout::span_shared is given

  int rows() const { return static_cast<int>(position.size()); }

  /// `rows` rows at positions from `first` on, each stored into its own page. Returns the span's first row.
  int add_span(const std::vector<int>& pages_of_sequence, int first, int rows);
  /// Span `first` and those behind it, rows of one sequence one after the other, become one.
  void join_spans(int first);
  /// One more slot for a row that is already there.
  void add_store(int row, int page, int offset);
};

/// Pages 0, 1, ... handed out in an order that is not ascending, so that nothing works by chance.
std::vector<int> take_pages(Layout& layout, int count);

/// A prompt and its completions in one batch: full pages of the prompt are shared, the tokens of its last, partial page
/// are stored into the first own page of each completion too. Returns the first row of each completion.
std::vector<int> add_group(Layout& layout, int prompt_rows, const std::vector<int>& completion_rows);

/// The arrays of a layout on a backend.
class DeviceLayout {
 public:
  DeviceLayout(Backend& backend, const Layout& layout);
  const SequenceLayout* view() const { return &view_; }

 private:
  std::vector<Buffer<std::int32_t>> arrays_;
  SequenceLayout view_;
};

/// Heads and the inputs of rope_store: what one attention layer reads.
struct AttentionShape {
  int heads = 4, kv_heads = 2, head_dim = 16;
  bool gains = false;
  int rank = 3;  // of the product that reads attention's output
};

struct AttentionCase {
  AttentionShape shape;
  Layout layout;
  std::vector<float> q, k, v;         // [M, H, D], [M, K, D], [M, K, D]
  std::vector<float> q_gain, k_gain;  // [D]
  std::vector<float> cos, sin;        // [positions, D / 2]
  std::vector<float> d_out;           // [M, H, D]
};

AttentionCase make_attention(const AttentionShape& shape, const Layout& layout, std::uint64_t seed = 1);

/// Heads of every size that attention takes in AMX tiles, 1 to 40 of them a kv head: chunks of queries begin and end
/// within rows, and a row may be more than a chunk.
extern const std::vector<AttentionShape> kTileShapes;
/// Prompts that end within a page, at its end and after one token of it, with completions of one token and more.
Layout tile_layout();

/// Each of `rows` of the case decoded by itself, over the pages of its own span, in that order.
AttentionCase decoding(const AttentionCase& whole, const std::vector<int>& rows, bool tells_shared);

/// Keys and values of a layer; every slot holds NaN until it is stored.
struct Cache {
  Cache(Backend& backend, const AttentionShape& shape, int pages);
  KvPages view() const { return {.pages = pages, .keys = keys->data(), .values = values->data()}; }
  int pages;
  std::unique_ptr<ActBuffer> keys, values;
};

/// Of the product that reads attention's output, with an update: a token's adapter hangs on its position, all else on
/// the shape alone.
struct Projected {
  std::vector<float> z, y;  // [M, rank], [M, kProjected]
};
inline constexpr int kProjected = 5;

struct AttentionResult {
  std::vector<float> q, out, lse;  // [M, H, D], [M, H, D], [M, H]
  Projected projected;
};
struct AttentionGradients {
  std::vector<float> dq_out, d_keys, d_values;  // attention_backward
  std::vector<float> dq, dk, dv;                // rope_store_backward
  std::vector<float> d_q_gain, d_k_gain;        // head_gain_gradient; empty without gains
};

/// rope_store, attention, which is told of the product, and the product, over a cache that may hold earlier tokens.
AttentionResult attend(Backend& backend, const AttentionCase& data, const Cache& cache);
inline AttentionResult attend(Backend& backend, const AttentionCase& data) {
  return attend(backend, data, Cache(backend, data.shape, data.layout.pages));
}
/// The product of `out` [M, H D] that is there.
Projected project(Backend& backend, const AttentionCase& data, const std::vector<float>& out);
/// rope_store, attention and its backward pass from d_out.
AttentionGradients attend_backward(Backend& backend, const AttentionCase& data);

}  // namespace tinylora::test
