// Reads the arguments of calls from JavaScript. Nothing is trusted: every kind, range and length is checked, and
// everything is copied. Messages are uniform: "Expected X for Y but received Z".
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tinylora::binding {

/// Largest integer that a JavaScript number holds exactly.
inline constexpr std::int64_t kMaxSafeInteger = (std::int64_t{1} << 53) - 1;

/// A value and its name in messages: "batch.tokens", "tensors[3].shape".
class Argument {
 public:
  Argument(Napi::Value value, std::string name) : value_(value), name_(std::move(name)) {}
  /// Argument `index` of a call; undefined where the call has fewer.
  Argument(const Napi::CallbackInfo& info, std::size_t index, std::string name)
      : Argument(info[index], std::move(name)) {}

  bool given() const { return !value_.IsUndefined(); }

  /// A property of this object.
  Argument operator[](const char* key) const;
  /// The elements of this array, at most `most`.
  std::vector<Argument> list(std::size_t most) const;

  std::int64_t integer(std::int64_t least, std::int64_t most) const;
  int number_of(int least, int most) const { return static_cast<int>(integer(least, most)); }
  /// Any number but NaN.
  double number() const;
  bool boolean() const;
  std::string text() const;
  Napi::Function function() const;

  std::vector<std::uint8_t> bytes() const;
  std::vector<std::int32_t> int32s() const;
  std::vector<std::uint32_t> uint32s() const;
  std::vector<float> floats() const;

  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  template <typename T>
  std::vector<T> typed(napi_typedarray_type type, const char* kind) const;

  Napi::Value value_;
  std::string name_;
};

}  // namespace tinylora::binding
