// Attention's work shared out over threads: chunks of queries for out and dq, pages for d_keys and d_values.
// How the work is cut depends on the layout alone, so the bits do not depend on the number of threads.
#include <algorithm>
#include <vector>

#include "core/error.h"
#include "cpu/attention_kernels.h"
#include "cpu/cpu_backend.h"
#include "cpu/product.h"

namespace tinylora {
namespace {

template <class Args>
void check_shape(const Args& args) {
  check(args.head_dim >= 2 && args.head_dim <= kMaxHeadDim && args.head_dim % 2 == 0, "ERR_ARGUMENT",
        "attention: expected an even head_dim up to ", kMaxHeadDim, ", found ", args.head_dim);
  check(args.kv_heads >= 1 && args.heads % args.kv_heads == 0, "ERR_ARGUMENT", "attention: expected a multiple of ",
        args.kv_heads, " heads, found ", args.heads);
}

/// Chunks of all spans from the first one and kv heads; neighbours differ in the kv head first, so that threads share
/// pages in the cache.
template <class Args>
std::vector<QueryChunk> query_chunks(const Args& args, int first_span) {
  const SequenceLayout& layout = *args.layout;
  const int group = args.heads / args.kv_heads;
  std::vector<QueryChunk> chunks;
  for (int span = first_span; span < layout.spans; ++span) {
    const int queries = layout.span_rows[span] * group;
    for (int first = 0; first < queries; first += kQueryChunk) {
      for (int head = 0; head < args.kv_heads; ++head) {
        const auto number = static_cast<int>(chunks.size());
        chunks.push_back({span, first, std::min(queries - first, kQueryChunk), head, number});
      }
    }
  }
  return chunks;
}

/// The same for the forward pass, where spans that decode behind the same pages are taken together, as far as that
/// leaves every thread some four chunks.
std::vector<QueryChunk> forward_chunks(const AttentionArgs& args, int threads) {
  const SequenceLayout& layout = *args.layout;
  const int group = args.heads / args.kv_heads;
  const int most = std::min(kQueryChunk / group, layout.decode_spans * args.kv_heads / (4 * threads));
  if (most < 2 || layout.span_shared == nullptr) return query_chunks(args, 0);
  std::vector<QueryChunk> chunks;
  for (int span = 0, next = 0; span < layout.decode_spans; span = next) {
    int shared = 0;
    for (next = span + 1; next < std::min(layout.decode_spans, span + most); ++next) {
      const int with_last = layout.span_shared[next];
      if (with_last < std::max(1, shared)) break;
      if (shared == 0) shared = with_last;
    }
    for (int head = 0; head < args.kv_heads; ++head) {
      chunks.push_back({span, 0, (next - span) * group, head, 0, next - span, shared});
    }
  }
  const std::vector<QueryChunk> others = query_chunks(args, layout.decode_spans);
  chunks.insert(chunks.end(), others.begin(), others.end());
  return chunks;
}

/// Every page that a span reads, by page, spans ascending.
std::vector<PageUse> page_uses(const SequenceLayout& layout) {
  std::vector<PageUse> uses;
  for (int span = 0; span < layout.spans; ++span) {
    const int last_row = layout.span_row[span] + layout.span_rows[span] - 1;
    const std::int32_t* table = layout.page_table + static_cast<std::ptrdiff_t>(span) * layout.max_pages;
    for (int j = 0; j <= layout.position[last_row] / kPageSize; ++j) uses.push_back({table[j], span, j});
  }
  std::stable_sort(uses.begin(), uses.end(), [](const PageUse& a, const PageUse& b) { return a.page < b.page; });
  return uses;
}

/// One task a page and kv head, by kv head and then by page, so that neighbours read the queries of the same sequences.
/// Heavy ones come first, so that no thread is left alone with one at the end: pages that are read by more than a
/// sixteenth of a thread's share of all rows, such as those of a prompt with many completions.
std::vector<PageTask> page_tasks(const AttentionBackwardArgs& args, const std::vector<PageUse>& uses, int threads) {
  struct OnePage {
    const PageUse* uses;
    int count;
    std::int64_t rows;
  };
  std::vector<OnePage> pages;
  std::int64_t all_rows = 0;
  for (std::size_t begin = 0, end = 0; begin < uses.size(); begin = end) {
    std::int64_t rows = 0;
    for (end = begin; end < uses.size() && uses[end].page == uses[begin].page; ++end) {
      const int first_row = args.layout->span_row[uses[end].span];
      const int rows_before = uses[end].index * kPageSize - args.layout->position[first_row];
      rows += args.layout->span_rows[uses[end].span] - std::max(0, rows_before);
    }
    pages.push_back({uses.data() + begin, static_cast<int>(end - begin), rows});
    all_rows += rows;
  }
  const std::int64_t heavy = all_rows * args.kv_heads / (16 * threads);
  std::vector<PageTask> tasks;
  for (const bool heavy_ones : {true, false}) {
    for (int head = 0; head < args.kv_heads; ++head) {
      for (const OnePage& page : pages) {
        if ((page.rows > heavy) == heavy_ones) tasks.push_back({page.uses, page.count, head});
      }
    }
  }
  return tasks;
}

}  // namespace

void CpuBackend::attention(const AttentionArgs& args) {
  check_shape(args);
  const AttentionKernels& kernels = attention_kernels(path_, dtype_, args.head_dim);
  const std::vector<QueryChunk> chunks = forward_chunks(args, pool_.threads());
  pool_.run(static_cast<std::int64_t>(chunks.size()),
            [&](std::int64_t item, int) { kernels.forward(args, chunks[static_cast<std::size_t>(item)]); });
}

void CpuBackend::attention_backward(const AttentionBackwardArgs& args) {
  check_shape(args);
  const AttentionKernels& kernels = attention_kernels(path_, dtype_, args.head_dim);
  const std::vector<QueryChunk> chunks = query_chunks(args, 0);
  std::vector<int> first_chunk;
  for (const QueryChunk& chunk : chunks) {
    if (chunk.first == 0 && chunk.kv_head == 0) first_chunk.push_back(chunk.number);
  }
  std::vector<float> delta(static_cast<std::size_t>(args.layout->rows) * static_cast<std::size_t>(args.heads));
  const std::size_t chunk_bytes = kernels.chunk_bytes(args.head_dim);
  const BackwardScratch scratch{delta.data(), scratch_->packed.at_least<std::byte>(chunks.size() * chunk_bytes),
                                chunk_bytes, first_chunk.data()};
  pool_.run(static_cast<std::int64_t>(chunks.size()), [&](std::int64_t item, int) {
    kernels.backward_queries(args, chunks[static_cast<std::size_t>(item)], scratch);
  });
  const std::vector<PageUse> uses = page_uses(*args.layout);
  const std::vector<PageTask> tasks = page_tasks(args, uses, pool_.threads());
  pool_.run(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t item, int) {
    kernels.backward_page(args, tasks[static_cast<std::size_t>(item)], scratch);
  });
}

}  // namespace tinylora
