// Reads PTX text character by character: words, numbers, strings, line numbers.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cudasim::ptx {

/** Text that is not PTX, or a form that the stand-in lacks. */
struct SyntaxError : std::runtime_error {
  SyntaxError(int line, const std::string& what)
      : std::runtime_error("PTX line " + std::to_string(line) + ": " + what) {}
};

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool atEnd();
  /** The next character that is neither blank nor comment; 0 at the end. */
  char peek();
  bool accept(char c);
  void expect(char c);
  /** An identifier; `extra` names further characters it may hold. */
  std::string word(std::string_view extra = "");
  /** The same, but only what follows without a blank. */
  std::string rest(std::string_view extra);
  std::string quoted();
  /** Everything up to `end`, which is consumed. */
  std::string until(char end);
  int line() const { return line_; }
  [[noreturn]] void fail(const std::string& what) const { throw SyntaxError(line_, what); }

 private:
  void skipBlanks();
  void advance();

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace cudasim::ptx
