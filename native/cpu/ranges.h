// Ranges of rows or elements, spread over the threads of a pool.
#pragma once

#include <algorithm>

#include "core/thread_pool.h"
#include "cpu/row_kernels.h"

namespace tinylora {

/// body(range) for ranges of `size` that cover 0 .. count - 1, in any order, on any thread.
template <class Body>
void for_ranges(ThreadPool& pool, std::int64_t count, std::int64_t size, const Body& body) {
  pool.run((count + size - 1) / size, [&](std::int64_t item, int) {
    const std::int64_t first = item * size;
    body(RowRange{first, std::min(first + size, count)});
  });
}

/// Work for some microseconds: long enough to be worth a thread's attention.
inline constexpr std::int64_t kElementsAtOnce = 16384;

inline std::int64_t rows_at_once(std::int64_t width) { return std::max<std::int64_t>(1, kElementsAtOnce / width); }

}  // namespace tinylora
