#include "machine/form.h"

#include "machine/forms.h"
#include "machine/kernel_decoder.h"
#include "ptx/scanner.h"

namespace cudasim {

Form::Form(KernelDecoder& d, const ptx::Instruction& i, int f)
    : decoder(d), in(i), frame(f), consumed_(i.parts.size()) {
  consumed_[0] = true;
}

bool Form::has(std::string_view modifier) {
  for (size_t i = 1; i < in.parts.size(); ++i) {
    if (!consumed_[i] && in.parts[i] == modifier) {
      consumed_[i] = true;
      return true;
    }
  }
  return false;
}

void Form::ignore(std::initializer_list<std::string_view> modifiers) {
  for (const std::string_view modifier : modifiers) has(modifier);
}

std::optional<Type> Form::maybeType() {
  for (size_t i = 1; i < in.parts.size(); ++i) {
    if (consumed_[i]) continue;
    if (const auto named = ptx::typeNamed(in.parts[i])) {
      consumed_[i] = true;
      return named;
    }
  }
  return std::nullopt;
}

Type Form::type() {
  if (const auto named = maybeType()) return *named;
  unknown("no type");
}

std::string Form::peek() const {
  for (size_t i = 1; i < in.parts.size(); ++i) {
    if (!consumed_[i]) return in.parts[i];
  }
  return "";
}

std::string Form::next() {
  const std::string part = peek();
  has(part);
  return part;
}

const Operand& Form::operand(size_t index) const {
  if (index >= in.operands.size()) unknown("too few operands");
  return in.operands[index];
}

void Form::define(const Operand& operand, Type type) {
  references.push_back({decoder.registerFor(*this, operand, type, true), true, false});
}

void Form::use(const Operand& operand, Type type) {
  references.push_back({decoder.registerFor(*this, operand, type, false), false, true});
}

void Form::defineAndUse(const Operand& operand, Type type) {
  references.push_back({decoder.registerFor(*this, operand, type, true), true, true});
}

bool Form::usePredicate(const Operand& operand) {
  use(operand, Type::pred);
  return operand.negated;
}

void Form::usePredicateConstant(bool value) {
  references.push_back({decoder.constant(value ? kAllLanes : 0, Type::pred), false, true});
}

uint32_t Form::widthOf(const Operand& operand, Type type) const { return decoder.widthOf(*this, operand, type); }

uint64_t Form::constant(const Operand& operand) const {
  if (!isConstant(operand)) unknown("expected a number");
  return operand.bits;
}

void Form::unknown(const std::string& why) const {
  throw ptx::SyntaxError(in.line, "unknown form " + in.form + (why.empty() ? "" : " (" + why + ")"));
}

void Form::finish(Handler handler) {
  for (size_t i = 1; i < in.parts.size(); ++i) {
    if (!consumed_[i]) unknown("." + in.parts[i]);
  }
  instr.run = handler;
}

const FormTable& formTable() {
  static const FormTable table = [] {
    FormTable made;
    addIntegerForms(made);
    addCarryForms(made);
    addFloatForms(made);
    addHalfForms(made);
    addConversionForms(made);
    addMoveForms(made);
    addCompareForms(made);
    addBitForms(made);
    addControlForms(made);
    addWarpForms(made);
    addMemoryForms(made);
    addAtomicForms(made);
    addMatrixForms(made);
    addCopyForms(made);
    addMbarrierForms(made);
    addProductForms(made);
    return made;
  }();
  return table;
}

}  // namespace cudasim
