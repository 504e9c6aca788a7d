#include "engine/batch.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace tinylora {

void append_span(Batch& batch, std::span<const std::int32_t> tokens, int first, int slot,
                 const std::vector<std::int32_t>& pages, std::span<const std::int32_t> copies) {
  const int end = first + static_cast<int>(tokens.size());
  check(end <= static_cast<int>(pages.size()) * kPageSize, "ERR_ARGUMENT", "batch: ", end, " positions need more than ",
        pages.size(), " pages");
  batch.span_row.push_back(batch.rows());
  batch.span_rows.push_back(static_cast<std::int32_t>(tokens.size()));
  batch.span_pages.push_back(pages);
  // The page that the span leaves partly filled. When the last page is full, this is the one after it, which no
  // position of the loop is in: full pages are shared and not copied.
  const int last_page = end / kPageSize;
  for (int position = first; position < end; ++position) {
    const int row = batch.rows();
    const int page = position / kPageSize;
    const int offset = position % kPageSize;
    batch.tokens.push_back(tokens[static_cast<std::size_t>(position - first)]);
    batch.adapter.push_back(slot);
    batch.position.push_back(position);
    batch.slot.push_back(pages[static_cast<std::size_t>(page)] * kPageSize + offset);
    batch.store_row.push_back(row);
    batch.store_slot.push_back(batch.slot.back());
    if (page != last_page) continue;
    for (const std::int32_t copy : copies) {
      batch.store_row.push_back(row);
      batch.store_slot.push_back(copy * kPageSize + offset);
    }
  }
}

namespace {

constexpr std::size_t kLeastBytes = std::size_t{1} << 16;

/// Arrays of int32 laid end to end, each from a multiple of 64 bytes.
class IntBlock {
 public:
  std::size_t add(const std::vector<std::int32_t>& values) {
    const std::size_t offset = block_.size();
    block_.insert(block_.end(), values.begin(), values.end());
    block_.resize((block_.size() + 15) / 16 * 16);
    return offset;
  }
  const std::vector<std::int32_t>& values() const { return block_; }

 private:
  std::vector<std::int32_t> block_;
};

/// [spans, width]; entries beyond a span's own pages repeat its last page.
std::vector<std::int32_t> page_table(const Batch& batch, std::size_t width) {
  std::vector<std::int32_t> table;
  table.reserve(batch.span_pages.size() * width);
  for (const std::vector<std::int32_t>& pages : batch.span_pages) {
    table.insert(table.end(), pages.begin(), pages.end());
    table.insert(table.end(), width - pages.size(), pages.back());
  }
  return table;
}

/// SequenceLayout::span_shared.
std::vector<std::int32_t> shared_pages(const Batch& batch) {
  std::vector<std::int32_t> shared;
  for (std::size_t span = 0; span < batch.span_pages.size(); ++span) {
    std::int32_t count = 0;
    if (span > 0) {
      const std::vector<std::int32_t>&own = batch.span_pages[span], &before = batch.span_pages[span - 1];
      const auto first_position = [&](std::size_t s) {
        return batch.position[static_cast<std::size_t>(batch.span_row[s])];
      };
      const int most = std::min(first_position(span), first_position(span - 1)) / kPageSize;
      const auto end = own.begin() + std::min<std::ptrdiff_t>(most, std::ssize(before));
      count = static_cast<std::int32_t>(std::mismatch(own.begin(), end, before.begin()).first - own.begin());
    }
    shared.push_back(count);
  }
  return shared;
}

}  // namespace

void DeviceBatch::upload(Backend& backend, const Batch& batch, std::size_t least_pages) {
  std::size_t max_pages = least_pages;
  for (const std::vector<std::int32_t>& pages : batch.span_pages) max_pages = std::max(max_pages, pages.size());

  IntBlock block;
  const std::size_t tokens = block.add(batch.tokens);
  const std::size_t adapter = block.add(batch.adapter);
  const std::size_t position = block.add(batch.position);
  const std::size_t slot = block.add(batch.slot);
  const std::size_t store_row = block.add(batch.store_row);
  const std::size_t store_slot = block.add(batch.store_slot);
  const std::size_t span_row = block.add(batch.span_row);
  const std::size_t span_rows = block.add(batch.span_rows);
  const std::vector<std::int32_t> span_shared = shared_pages(batch);
  const std::size_t shared = block.add(span_shared);
  const std::size_t pages = block.add(page_table(batch, max_pages));

  const std::size_t bytes = block.values().size() * sizeof(std::int32_t);
  if (bytes > bytes_) {
    memory_.reset();
    bytes_ = 0;
    const std::size_t rounded = std::bit_ceil(std::max(bytes, kLeastBytes));  // so that it seldom moves
    memory_ = backend.allocate(rounded);
    bytes_ = rounded;
  }
  backend.upload(memory_.get(), block.values().data(), bytes);
  const auto* base = static_cast<const std::int32_t*>(memory_.get());
  tokens_ = base + tokens;
  adapter_ = base + adapter;
  slot_ = base + slot;
  layout_ = {.rows = batch.rows(),
             .position = base + position,
             .stores = static_cast<int>(batch.store_row.size()),
             .store_row = base + store_row,
             .store_slot = base + store_slot,
             .spans = static_cast<int>(batch.span_row.size()),
             .span_row = base + span_row,
             .span_rows = base + span_rows,
             .max_pages = static_cast<int>(max_pages),
             .page_table = base + pages,
             .max_position = *std::max_element(batch.position.begin(), batch.position.end()),
             .span_shared = base + shared,
             .most_shared = *std::max_element(span_shared.begin(), span_shared.end()),
             .decode_spans = static_cast<int>(
                 std::find_if(batch.span_rows.begin(), batch.span_rows.end(), [](int rows) { return rows != 1; }) -
                 batch.span_rows.begin())};
}

}  // namespace tinylora
