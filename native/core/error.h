// The one exception of the native code. The binding turns it into a JavaScript TinyLoraError with the same code.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace tinylora {

/// `code` is stable and short (ERR_ARGUMENT, ERR_FILE, ERR_MODEL, ERR_ADAPTER, ERR_MEMORY, ERR_ABORTED, ERR_NUMERIC,
/// ERR_DEVICE, ERR_DISPOSED); `what()` is one sentence: what, where, expected, found.
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

/// fail("ERR_MODEL", "tensor ", name, ": expected ", 4, " rows, found ", rows) joins its parts into the message.
template <typename... Parts>
[[noreturn]] void fail(const char* code, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(code, message.str());
}

/// Kept in release builds: every value from outside passes one of these.
template <typename... Parts>
void check(bool condition, const char* code, const Parts&... parts) {
  if (!condition) fail(code, parts...);
}

}  // namespace tinylora
