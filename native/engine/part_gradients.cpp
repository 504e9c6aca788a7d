#include "engine/part_gradients.h"

namespace tinylora {

PartGradients::PartGradients(const Adapters& adapters, Backend& backend, std::span<const std::int32_t> rows)
    : adapters_(&adapters),
      backend_(&backend),
      count_(static_cast<int>(rows.size()) - 1),
      rows_(backend.allocate(rows.size_bytes())),
      d_r_(backend.allocate(adapters.d_r_numbers(count_) * sizeof(double))) {
  backend.upload(rows_.get(), rows.data(), rows.size_bytes());
}

GradientParts PartGradients::of_module(int module) const {
  if (!adapters_->adapts(module)) return {};
  return {.count = count_,
          .rows = static_cast<const std::int32_t*>(rows_.get()),
          .d_r = static_cast<double*>(d_r_.get()) + adapters_->d_r_place(module, count_)};
}

std::vector<double> PartGradients::gradients() const {
  std::vector<double> d_r(adapters_->d_r_numbers(count_));
  backend_->download(d_r.data(), d_r_.get(), d_r.size() * sizeof(double));
  std::vector<double> all;
  for (int part = 0; part < count_; ++part) {
    const std::vector<double> one = adapters_->gradient_of(d_r, count_, part);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

}  // namespace tinylora
