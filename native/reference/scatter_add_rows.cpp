// y[rows[i]] += x[i], i ascending.
#include "reference/reference.h"

namespace tinylora::reference {

void scatter_add_rows(const ScatterAddRowsArgs& args) {
  for (int i = 0; i < args.count; ++i) {
    const float* x = args.x + at(static_cast<std::size_t>(i), args.width);
    float* y = args.y + at(static_cast<std::size_t>(args.rows[i]), args.width);
    for (int column = 0; column < args.width; ++column) y[column] += x[column];
  }
}

}  // namespace tinylora::reference
