// The gradient of v of each part of a batch (GradientParts), from the backward pass that gives the whole gradient.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/adapter.h"

namespace tinylora {

class PartGradients {
 public:
  /// Part p is the rows rows[p] .. rows[p + 1] - 1 of a batch, all of one slot.
  PartGradients(const Adapters& adapters, Backend& backend, std::span<const std::int32_t> rows);

  /// What linear_backward takes for one module; of count 0 where it is not adapted.
  GradientParts of_module(int module) const;
  /// dv of every part. [parts, groups * u]
  std::vector<double> gradients() const;

 private:
  const Adapters* adapters_;
  Backend* backend_;
  int count_;
  std::shared_ptr<void> rows_;  // [parts + 1] int32
  std::shared_ptr<void> d_r_;   // [entries, parts, r, r] double
};

}  // namespace tinylora
