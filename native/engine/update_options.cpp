#include "engine/update_options.h"

#include <limits>

#include "core/error.h"

namespace tinylora {

void check_update_options(const UpdateOptions& options) {
  constexpr double kLargestFloat = std::numeric_limits<float>::max();
  const auto check_number = [](const char* name, double value, bool fits, const char* expected) {
    check(fits, "ERR_ARGUMENT", "update: ", name, ": expected ", expected, ", found ", value);
  };
  const auto check_finite = [&](const char* name, double value) {
    check_number(name, value, value >= 0 && value <= kLargestFloat, "a finite number, 0 or more");
  };
  const auto check_share = [&](const char* name, double value) {
    check_number(name, value, value >= 0 && static_cast<float>(value) < 1, "0 or more and less than 1");
  };
  check_finite("rate", options.rate);
  check_finite("decay", options.decay);
  check_share("momentum", options.momentum);
  check_share("beta1", options.beta1);
  check_share("beta2", options.beta2);
  check(options.max_norm >= 0, "ERR_ARGUMENT", "update: max_norm: expected 0 or more, found ", options.max_norm);
  check(options.updates >= 1, "ERR_ARGUMENT", "update: updates: expected 1 or more, found ", options.updates);
  if (!options.adamw) return;
  const bool divides = options.epsilon <= kLargestFloat && static_cast<float>(options.epsilon) > 0;  // a moment of 0
  check_number("epsilon", options.epsilon, divides, "a finite number that float does not round to 0");
}

}  // namespace tinylora
