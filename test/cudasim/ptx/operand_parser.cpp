#include "ptx/operand_parser.h"

#include <cctype>
#include <cstring>

namespace cudasim::ptx {
namespace {

bool isDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

}  // namespace

Operand OperandParser::operand() {
  Operand first = single();
  if (!in_.accept('|')) return first;
  Operand pair;
  pair.kind = Operand::Kind::Pair;
  pair.items.push_back(std::move(first));
  pair.items.push_back(single());
  return pair;
}

Operand OperandParser::single() {
  if (in_.accept('{')) return list('}', Operand::Kind::Vector);
  if (in_.accept('(')) return list(')', Operand::Kind::Arguments);
  if (in_.accept('[')) return address();
  if (in_.accept('-')) return number(true);
  if (isDigit(in_.peek())) return number(false);
  Operand made;
  made.negated = in_.accept('!');
  made.name = in_.word();
  if (made.name.empty()) in_.fail(std::string("expected an operand, found '") + in_.peek() + "'");
  if (made.name.front() == '%' && in_.peek() == '.') made.name += in_.word(".");  // %tid.x
  made.offset = offset();
  return made;
}

Operand OperandParser::list(char end, Operand::Kind kind) {
  Operand made;
  made.kind = kind;
  while (!in_.accept(end)) {
    made.items.push_back(single());
    in_.accept(',');
  }
  return made;
}

Operand OperandParser::address() {
  Operand made;
  made.kind = Operand::Kind::Address;
  if (isDigit(in_.peek())) {
    made.offset = static_cast<int64_t>(number(false).bits);
  } else {
    made.name = in_.word();
    if (in_.peek() == '.') made.name += in_.word(".");
    made.offset = offset();
  }
  while (in_.accept(',')) made.items.push_back(single());
  in_.expect(']');
  return made;
}

int64_t OperandParser::offset() {
  const bool negative = in_.peek() == '-';
  if (!in_.accept('+') && !in_.accept('-')) return 0;
  const bool also = in_.accept('-');  // %rd1+-4
  const auto value = static_cast<int64_t>(number(false).bits);
  return negative != also ? -value : value;
}

Operand OperandParser::number(bool negative) {
  const std::string text = in_.word(".");
  Operand made;
  const auto hex = [&] { return std::stoull(text.substr(2), nullptr, 16); };
  if (text.rfind("0f", 0) == 0 || text.rfind("0F", 0) == 0) {
    made.kind = Operand::Kind::Float32;
    made.bits = hex() ^ (negative ? 1ull << 31 : 0);
  } else if (text.rfind("0d", 0) == 0 || text.rfind("0D", 0) == 0) {
    made.kind = Operand::Kind::Float64;
    made.bits = hex() ^ (negative ? 1ull << 63 : 0);
  } else if (text.find('.') != std::string::npos) {
    made.kind = Operand::Kind::Float64;
    const double value = negative ? -std::stod(text) : std::stod(text);
    std::memcpy(&made.bits, &value, sizeof value);
  } else {
    made.kind = Operand::Kind::Integer;
    std::string digits = text;
    if (digits.back() == 'U') digits.pop_back();
    const bool binary = digits.rfind("0b", 0) == 0;
    const uint64_t value = binary ? std::stoull(digits.substr(2), nullptr, 2) : std::stoull(digits, nullptr, 0);
    made.bits = negative ? 0 - value : value;
  }
  return made;
}

void OperandParser::initialiser(Variable& variable, uint64_t bytes) {
  if (in_.peek() != '{') return element(variable, bytes);
  in_.expect('{');
  while (!in_.accept('}')) {
    in_.peek() == '{' ? initialiser(variable, bytes) : element(variable, bytes);
    in_.accept(',');
  }
}

void OperandParser::element(Variable& variable, uint64_t bytes) {
  uint64_t bits = 0;
  const bool negative = in_.accept('-');
  if (negative || isDigit(in_.peek())) {
    const Operand value = number(negative);
    bits = value.bits;
    if (value.kind == Operand::Kind::Float64 && bytes == 4) {
      double wide;
      std::memcpy(&wide, &bits, sizeof wide);
      const auto narrow = static_cast<float>(wide);
      std::memcpy(&bits, &narrow, sizeof narrow);
    }
  } else {
    std::string symbol = in_.word();
    if (symbol == "generic") {  // every space but shared has generic addresses anyway
      in_.expect('(');
      symbol = in_.word();
      in_.expect(')');
    }
    variable.relocations.push_back({variable.initial.size(), static_cast<uint64_t>(offset()), symbol});
  }
  for (uint64_t i = 0; i < bytes; ++i) variable.initial.push_back(static_cast<uint8_t>(i < 8 ? bits >> (8 * i) : 0));
}

}  // namespace cudasim::ptx
