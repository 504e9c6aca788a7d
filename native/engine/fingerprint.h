// A 64-bit hash over a model: every weight as widened to float, its name and place, and the configuration. The same for
// any file format that holds the same numbers, for any engine dtype and number of threads: rows are hashed one by one
// and combined by a sum. It is no cryptographic hash: it does not protect against files made to collide.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "engine/model.h"

namespace tinylora {

class Fingerprint {
 public:
  explicit Fingerprint(const ModelConfig& config);

  /// To be called once for each row, from any thread. `tensor` is `hash_name` of the tensor's name.
  void add_row(std::uint64_t tensor, int row, std::span<const float> values);
  /// 16 hex digits.
  std::string text() const;

  static std::uint64_t hash_name(const std::string& name);

 private:
  std::atomic<std::uint64_t> sum_;
};

}  // namespace tinylora
