#include "ptx/scanner.h"

#include <cctype>

namespace cudasim::ptx {

void Scanner::advance() {
  if (text_[at_] == '\n') ++line_;
  ++at_;
}

void Scanner::skipBlanks() {
  while (at_ < text_.size()) {
    if (std::isspace(static_cast<unsigned char>(text_[at_])) || text_[at_] == '\0') {
      advance();
    } else if (text_.substr(at_, 2) == "//") {
      while (at_ < text_.size() && text_[at_] != '\n') ++at_;
    } else if (text_.substr(at_, 2) == "/*") {
      while (at_ < text_.size() && text_.substr(at_, 2) != "*/") advance();
      at_ = std::min(at_ + 2, text_.size());
    } else {
      return;
    }
  }
}

bool Scanner::atEnd() { return peek() == 0; }

char Scanner::peek() {
  skipBlanks();
  return at_ < text_.size() ? text_[at_] : '\0';
}

bool Scanner::accept(char c) {
  if (peek() != c) return false;
  advance();
  return true;
}

void Scanner::expect(char c) {
  if (!accept(c)) fail(std::string("expected '") + c + "', found '" + peek() + "'");
}

std::string Scanner::word(std::string_view extra) {
  skipBlanks();
  return rest(extra);
}

std::string Scanner::rest(std::string_view extra) {
  const size_t begin = at_;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    const bool belongs = std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' ||
                         extra.find(c) != std::string_view::npos;
    if (!belongs) break;
    ++at_;
  }
  return std::string(text_.substr(begin, at_ - begin));
}

std::string Scanner::quoted() {
  expect('"');
  std::string text;
  while (at_ < text_.size() && text_[at_] != '"') text += text_[at_++];
  expect('"');
  return text;
}

std::string Scanner::until(char end) {
  skipBlanks();
  const size_t begin = at_;
  while (at_ < text_.size() && text_[at_] != end) advance();
  const std::string text(text_.substr(begin, at_ - begin));
  expect(end);
  return text;
}

}  // namespace cudasim::ptx
