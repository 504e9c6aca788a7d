#include "cpu/packed_weight.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "cpu/aligned.h"

namespace tinylora {
namespace {

template <class Element>
Element rounded(float value) {
  if constexpr (sizeof(Element) == 2) {
    return to_bf16(value);
  } else {
    return value;
  }
}

template <class Element>
void pack_panel(const PackedWeight& weight, int panel, const RowReader& read_row, float* row) {
  auto* data = reinterpret_cast<Element*>(weight.data());
  const int first = panel * weight.kernels.panel;
  const int last = std::min(weight.out, first + weight.kernels.panel);
  for (int o = first; o < last; ++o) {
    read_row(o, row);
    for (int i = 0; i < weight.in; ++i) data[weight.index(o, i)] = rounded<Element>(row[i]);
  }
}

}  // namespace

PackedWeight::PackedWeight(int out_size, int in_size, const ProductKernels& table)
    : Weight(out_size, in_size, table.dtype),
      kernels(table),
      padded_in(table.padded(in_size)),
      panels(table.panels(out_size)),
      panel_bytes(table.panel_bytes(in_size)),
      data_(aligned_zeros(std::size_t(panels) * panel_bytes)) {}

std::size_t PackedWeight::index(int o, int i) const {
  const int panel = o / kernels.panel;
  const int lane = o % kernels.panel;
  const int group = dtype == DType::bf16 ? 2 : 1;  // inputs that lie side by side
  const std::size_t in_panel =
      std::size_t(i / group * kernels.panel + lane) * std::size_t(group) + std::size_t(i % group);
  return std::size_t(panel) * (panel_bytes / size_of(dtype)) + in_panel;
}

void PackedWeight::read_row(int o, float* x) const {
  const std::size_t first = index(o, 0);
  if (dtype == DType::bf16) {
    const auto* pair = reinterpret_cast<const Bf16*>(data()) + first;
    for (int i = 0; i < in; i += 2, pair += 2 * kernels.panel) {
      x[i] = to_float(pair[0]);
      if (i + 1 < in) x[i + 1] = to_float(pair[1]);
    }
  } else {
    const auto* value = reinterpret_cast<const float*>(data()) + first;
    for (int i = 0; i < in; ++i, value += kernels.panel) x[i] = *value;
  }
}

std::unique_ptr<PackedWeight> pack_weight(const ProductKernels& kernels, int out, int in, const RowReader& read_row,
                                          ThreadPool& pool) {
  check(out > 0 && in > 0, "ERR_ARGUMENT", "pack: expected a matrix, found [", out, ", ", in, "]");
  auto weight = std::make_unique<PackedWeight>(out, in, kernels);
  fill_weight(*weight, read_row, pool);
  return weight;
}

void fill_weight(PackedWeight& weight, const RowReader& read_row, ThreadPool& pool) {
  std::vector<std::vector<float>> rows(std::size_t(pool.threads()), std::vector<float>(std::size_t(weight.in)));
  pool.run(weight.panels, [&](std::int64_t panel, int thread) {
    float* row = rows[std::size_t(thread)].data();
    if (weight.dtype == DType::bf16) {
      pack_panel<Bf16>(weight, static_cast<int>(panel), read_row, row);
    } else {
      pack_panel<float>(weight, static_cast<int>(panel), read_row, row);
    }
  });
}

const PackedWeight& packed(const Weight* weight, const ProductKernels& kernels, const char* op) {
  const auto* result = dynamic_cast<const PackedWeight*>(weight);
  check(result != nullptr && &result->kernels == &kernels, "ERR_ARGUMENT", op,
        ": weight: expected one packed by this backend, found ",
        result ? "another instruction set's" : "a foreign one");
  return *result;
}

}  // namespace tinylora
