#include "layout.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace tinylora::test {

int Layout::add_span(const std::vector<int>& pages_of_sequence, int first, int rows_of_span) {
  const int first_row = rows();
  span_row.push_back(first_row);
  span_rows.push_back(rows_of_span);
  span_pages.push_back(pages_of_sequence);
  for (int i = 0; i < rows_of_span; ++i) {
    const int at = first + i;
    position.push_back(at);
    add_store(first_row + i, pages_of_sequence[static_cast<std::size_t>(at / kPageSize)], at % kPageSize);
  }
  return first_row;
}

void Layout::join_spans(int first) {
  const auto count = static_cast<std::size_t>(first) + 1;
  span_row.resize(count);
  span_rows.resize(count);
  span_pages.resize(count);
  span_rows.back() = rows() - span_row.back();
}

void Layout::add_store(int row, int page, int offset) {
  store_row.push_back(row);
  store_slot.push_back(page * kPageSize + offset);
}

std::vector<int> take_pages(Layout& layout, int count) {
  std::vector<int> pages(static_cast<std::size_t>(count));
  std::iota(pages.rbegin(), pages.rend(), layout.pages);
  layout.pages += count;
  return pages;
}

std::vector<int> add_group(Layout& layout, int prompt_rows, const std::vector<int>& completion_rows) {
  const auto pages_for = [](int rows) { return (rows + kPageSize - 1) / kPageSize; };
  const std::vector<int> prompt_pages = take_pages(layout, pages_for(prompt_rows));
  const int prompt = layout.add_span(prompt_pages, 0, prompt_rows);
  const int shared = prompt_rows / kPageSize;

  std::vector<int> first_rows;
  for (const int rows : completion_rows) {
    std::vector<int> pages(prompt_pages.begin(), prompt_pages.begin() + shared);
    for (const int page : take_pages(layout, pages_for(prompt_rows + rows) - shared)) pages.push_back(page);
    for (int at = shared * kPageSize; at < prompt_rows; ++at) {
      layout.add_store(prompt + at, pages[static_cast<std::size_t>(shared)], at % kPageSize);
    }
    first_rows.push_back(layout.add_span(pages, prompt_rows, rows));
  }
  return first_rows;
}

DeviceLayout::DeviceLayout(Backend& backend, const Layout& layout) {
  std::vector<std::int32_t> order(layout.store_row.size());  // stores by row
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return layout.store_row[a] < layout.store_row[b]; });
  std::vector<std::int32_t> store_row, store_slot;
  for (const int store : order) {
    store_row.push_back(layout.store_row[store]);
    store_slot.push_back(layout.store_slot[store]);
  }

  std::size_t width = 1;
  for (const auto& pages : layout.span_pages) width = std::max(width, pages.size());
  std::vector<std::int32_t> table;  // unused entries name no page
  for (const auto& pages : layout.span_pages) {
    table.insert(table.end(), pages.begin(), pages.end());
    table.resize(table.size() + width - pages.size(), -1);
  }

  std::vector<std::int32_t> shared(layout.span_row.size());
  const auto before_page = [&](std::size_t span) { return layout.position[layout.span_row[span]] / kPageSize; };
  for (std::size_t span = 1; span < shared.size(); ++span) {
    const int most = std::min(before_page(span), before_page(span - 1));
    while (shared[span] < most && layout.span_pages[span][static_cast<std::size_t>(shared[span])] ==
                                      layout.span_pages[span - 1][static_cast<std::size_t>(shared[span])]) {
      ++shared[span];
    }
  }

  using Array = const std::vector<std::int32_t>*;
  for (const Array values : std::initializer_list<Array>{&layout.position, &store_row, &store_slot, &layout.span_row,
                                                         &layout.span_rows, &table, &shared}) {
    arrays_.emplace_back(backend, *values);
  }
  view_ = {.rows = layout.rows(),
           .position = arrays_[0].data(),
           .stores = static_cast<int>(store_row.size()),
           .store_row = arrays_[1].data(),
           .store_slot = arrays_[2].data(),
           .spans = static_cast<int>(layout.span_row.size()),
           .span_row = arrays_[3].data(),
           .span_rows = arrays_[4].data(),
           .max_pages = static_cast<int>(width),
           .page_table = arrays_[5].data(),
           .max_position = layout.rows() == 0 ? 0 : *std::max_element(layout.position.begin(), layout.position.end()),
           .span_shared = layout.tells_shared ? arrays_[6].data() : nullptr};
  if (layout.tells_shared) view_.most_shared = *std::max_element(shared.begin(), shared.end());
  while (view_.decode_spans < view_.spans && layout.span_rows[view_.decode_spans] == 1) ++view_.decode_spans;
}

AttentionCase make_attention(const AttentionShape& shape, const Layout& layout, std::uint64_t seed) {
  Random random(seed);
  const auto rows = static_cast<std::size_t>(layout.rows());
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  AttentionCase data{.shape = shape,
                     .layout = layout,
                     .q = random.normals(rows * shape.heads * dim),
                     .k = random.normals(rows * shape.kv_heads * dim),
                     .v = random.normals(rows * shape.kv_heads * dim),
                     .q_gain = random.normals(dim),
                     .k_gain = random.normals(dim),
                     .cos = {},
                     .sin = {},
                     .d_out = random.normals(rows * shape.heads * dim)};
  const int positions = 1 + *std::max_element(layout.position.begin(), layout.position.end());
  for (int position = 0; position < positions; ++position) {
    for (int i = 0; i < shape.head_dim / 2; ++i) {
      const double angle = position * std::pow(1000.0, -2.0 * i / shape.head_dim);
      data.cos.push_back(static_cast<float>(1.1 * std::cos(angle)));  // 1.1: the scale of a rope scaling
      data.sin.push_back(static_cast<float>(1.1 * std::sin(angle)));
    }
  }
  return data;
}

const std::vector<AttentionShape> kTileShapes = {
    {.heads = 40, .kv_heads = 1, .head_dim = 32},  {.heads = 14, .kv_heads = 2, .head_dim = 64},
    {.heads = 3, .kv_heads = 1, .head_dim = 96},   {.heads = 2, .kv_heads = 2, .head_dim = 128},
    {.heads = 33, .kv_heads = 1, .head_dim = 160}, {.heads = 5, .kv_heads = 1, .head_dim = 192},
    {.heads = 4, .kv_heads = 2, .head_dim = 224},  {.heads = 7, .kv_heads = 1, .head_dim = 256},
};

Layout tile_layout() {
  Layout layout;
  add_group(layout, 45, {1, 40, 1});
  layout.add_span(take_pages(layout, 1), 0, 1);
  add_group(layout, 64, {1, 1, 20});
  add_group(layout, 33, {30});
  return layout;
}

AttentionCase decoding(const AttentionCase& whole, const std::vector<int>& rows, bool tells_shared) {
  Layout layout;
  layout.pages = whole.layout.pages;
  layout.tells_shared = tells_shared;
  for (const int row : rows) {
    const auto& starts = whole.layout.span_row;
    const auto span = std::upper_bound(starts.begin(), starts.end(), row) - starts.begin() - 1;
    layout.add_span(whole.layout.span_pages[static_cast<std::size_t>(span)], whole.layout.position[row], 1);
  }
  AttentionCase data = make_attention(whole.shape, layout);
  data.q_gain = whole.q_gain;
  data.k_gain = whole.k_gain;
  const auto copy = [&](const std::vector<float>& from, std::vector<float>& to, int heads) {
    const auto width = static_cast<std::ptrdiff_t>(heads) * whole.shape.head_dim;
    for (std::size_t m = 0; m < rows.size(); ++m) {
      std::copy_n(from.begin() + rows[m] * width, width, to.begin() + static_cast<std::ptrdiff_t>(m) * width);
    }
  };
  copy(whole.q, data.q, whole.shape.heads);
  copy(whole.k, data.k, whole.shape.kv_heads);
  copy(whole.v, data.v, whole.shape.kv_heads);
  return data;
}

Cache::Cache(Backend& backend, const AttentionShape& shape, int page_count) : pages(page_count) {
  const auto size = static_cast<std::size_t>(page_count * shape.kv_heads * kPageSize * shape.head_dim);
  keys = std::make_unique<ActBuffer>(backend, size, std::numeric_limits<float>::quiet_NaN());
  values = std::make_unique<ActBuffer>(backend, size, std::numeric_limits<float>::quiet_NaN());
}

namespace {

constexpr int kAdapters = 3;

/// The product that reads attention's output.
class Projection {
 public:
  Projection(Backend& backend, const AttentionCase& data, const void* x)
      : shape_(data.shape),
        random_(static_cast<std::uint64_t>(shape_.rank)),
        weight_(pack(backend, kProjected, width(), numbers(kProjected * width()))),
        a_(backend, numbers(shape_.rank * width())),
        b_(backend, numbers(shape_.rank * kProjected)),
        r_(backend, numbers(kAdapters * shape_.rank * shape_.rank)),
        z_(backend, static_cast<std::size_t>(data.layout.rows() * shape_.rank)),
        y_(backend, static_cast<std::size_t>(data.layout.rows() * kProjected)),
        adapter_(backend, adapters(data.layout)) {
    args = {.rows = data.layout.rows(),
            .x = x,
            .weight = weight_.get(),
            .lora = {.rank = shape_.rank,
                     .a = a_.data(),
                     .b = b_.data(),
                     .r = r_.data(),
                     .adapter = adapter_.data(),
                     .adapters = kAdapters},
            .z = z_.data(),
            .y = y_.data(),
            .y_float = true};
  }
  Projected read() const { return {z_.read(), y_.read()}; }

  LinearArgs args;

 private:
  int width() const { return shape_.heads * shape_.head_dim; }
  std::vector<float> numbers(int count) { return random_.normals(static_cast<std::size_t>(count)); }
  /// -1 .. kAdapters - 1 in turn.
  static std::vector<std::int32_t> adapters(const Layout& layout) {
    std::vector<std::int32_t> all;
    for (const std::int32_t position : layout.position) all.push_back(position % (kAdapters + 1) - 1);
    return all;
  }

  AttentionShape shape_;
  Random random_;
  std::unique_ptr<Weight> weight_;
  Buffer<float> a_, b_, r_, z_, y_;
  Buffer<std::int32_t> adapter_;
};

/// The device side of a case: its buffers and the arguments that name them.
struct Device {
  Device(Backend& backend, const AttentionCase& data, const Cache& kv)
      : layout(backend, data.layout),
        q(backend, data.q),
        k(backend, data.k),
        v(backend, data.v),
        q_gain(backend, data.q_gain),
        k_gain(backend, data.k_gain),
        cos(backend, data.cos),
        sin(backend, data.sin),
        q_out(backend, data.q.size()),
        out(backend, data.q.size()),
        lse(backend, data.q.size() / static_cast<std::size_t>(data.shape.head_dim)),
        projection(backend, data, out.data()) {
    const AttentionShape& shape = data.shape;
    backend.rope_store({.layout = layout.view(),
                        .heads = shape.heads,
                        .kv_heads = shape.kv_heads,
                        .head_dim = shape.head_dim,
                        .cos = cos.data(),
                        .sin = sin.data(),
                        .q_gain = shape.gains ? q_gain.data() : nullptr,
                        .k_gain = shape.gains ? k_gain.data() : nullptr,
                        .epsilon = 1e-5F,
                        .q = q.data(),
                        .k = k.data(),
                        .v = v.data(),
                        .q_out = q_out.data(),
                        .pages = kv.view()});
    backend.attention({.layout = layout.view(),
                       .heads = shape.heads,
                       .kv_heads = shape.kv_heads,
                       .head_dim = shape.head_dim,
                       .q = q_out.data(),
                       .pages = kv.view(),
                       .out = out.data(),
                       .lse = lse.data(),
                       .readers = {&projection.args, 1}});
    backend.linear(projection.args);
  }

  DeviceLayout layout;
  Buffer<float> q, k, v, q_gain, k_gain, cos, sin;
  ActBuffer q_out, out;
  Buffer<float> lse;
  Projection projection;
};

}  // namespace

AttentionResult attend(Backend& backend, const AttentionCase& data, const Cache& cache) {
  const Device device(backend, data, cache);
  return {device.q_out.read(), device.out.read(), device.lse.read(), device.projection.read()};
}

Projected project(Backend& backend, const AttentionCase& data, const std::vector<float>& out) {
  const ActBuffer x(backend, out);
  const Projection projection(backend, data, x.data());
  backend.linear(projection.args);
  return projection.read();
}

AttentionGradients attend_backward(Backend& backend, const AttentionCase& data) {
  const AttentionShape& shape = data.shape;
  const Cache cache(backend, shape, data.layout.pages);
  const Device device(backend, data, cache);

  const auto slots = static_cast<std::size_t>(data.layout.pages * kPageSize);
  const std::size_t kv_size = slots * static_cast<std::size_t>(shape.kv_heads * shape.head_dim);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Buffer<float> d_out(backend, data.d_out), dq_out(backend, data.q.size(), nan);
  const Buffer<float> d_keys(backend, kv_size, nan), d_values(backend, kv_size, nan);  // written whole
  backend.attention_backward({.layout = device.layout.view(),
                              .heads = shape.heads,
                              .kv_heads = shape.kv_heads,
                              .head_dim = shape.head_dim,
                              .q = device.q_out.data(),
                              .pages = cache.view(),
                              .out = device.out.data(),
                              .lse = device.lse.data(),
                              .d_out = d_out.data(),
                              .dq_out = dq_out.data(),
                              .d_keys = d_keys.data(),
                              .d_values = d_values.data()});

  const ActBuffer dq(backend, data.q.size()), dk(backend, data.k.size()), dv(backend, data.v.size());
  const RopeStoreBackwardArgs back{.layout = device.layout.view(),
                                   .heads = shape.heads,
                                   .kv_heads = shape.kv_heads,
                                   .head_dim = shape.head_dim,
                                   .cos = device.cos.data(),
                                   .sin = device.sin.data(),
                                   .q_gain = shape.gains ? device.q_gain.data() : nullptr,
                                   .k_gain = shape.gains ? device.k_gain.data() : nullptr,
                                   .epsilon = 1e-5F,
                                   .q = device.q.data(),
                                   .k = device.k.data(),
                                   .dq_out = dq_out.data(),
                                   .d_keys = d_keys.data(),
                                   .d_values = d_values.data(),
                                   .dq = dq.data(),
                                   .dk = dk.data(),
                                   .dv = dv.data()};
  backend.rope_store_backward(back);
  const auto gain_size = static_cast<std::size_t>(shape.gains ? shape.head_dim : 0);
  const Buffer<float> d_q_gain(backend, gain_size), d_k_gain(backend, gain_size);
  if (shape.gains) {
    backend.head_gain_gradient({.back = &back, .d_q_gain = d_q_gain.data(), .d_k_gain = d_k_gain.data()});
  }
  return {.dq_out = dq_out.read(),
          .d_keys = d_keys.read(),
          .d_values = d_values.read(),
          .dq = dq.read(),
          .dk = dk.read(),
          .dv = dv.read(),
          .d_q_gain = d_q_gain.read(),
          .d_k_gain = d_k_gain.read()};
}

}  // namespace tinylora::test
