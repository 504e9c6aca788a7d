// y[rows[i]] += x[i], i ascending: a row of y may be named several times, so the threads share out columns, not rows.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/cpu_backend.h"

namespace tinylora {

void CpuBackend::scatter_add_rows(const ScatterAddRowsArgs& args) {
  constexpr int kColumns = 256;
  const int blocks = (args.width + kColumns - 1) / kColumns;
  pool_.run(blocks, [&](std::int64_t block, int) {
    const int first = static_cast<int>(block) * kColumns;
    const int last = std::min(first + kColumns, args.width);
    for (int i = 0; i < args.count; ++i) {
      const float* x = args.x + static_cast<std::ptrdiff_t>(i) * args.width;
      float* y = args.y + static_cast<std::ptrdiff_t>(args.rows[i]) * args.width;
      for (int column = first; column < last; ++column) y[column] += x[column];
    }
  });
}

}  // namespace tinylora
