// One PTX instruction on its way to a handler: modifiers are consumed one by one, what is left over is unknown.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "machine/program.h"
#include "ptx/module.h"
#include "ptx/types.h"

namespace cudasim {

using ptx::Operand;
using ptx::Type;

class KernelDecoder;

/** A register before it has a place: index into the decoder's list. */
using RegisterId = uint32_t;

struct Reference {
  RegisterId id;
  bool isDefinition, isUse;
};

/** Where control goes after an instruction. */
enum class Flow { Next, Branch, Table, End };

class Form {
 public:
  Form(KernelDecoder& decoder, const ptx::Instruction& in, int frame);

  const std::string& opcode() const { return in.parts[0]; }
  /** Consumes the modifier if the instruction has it. */
  bool has(std::string_view modifier);
  /** Consumes modifiers that change nothing here: cache hints, scopes of memory order. */
  void ignore(std::initializer_list<std::string_view> modifiers);
  /** Consumes the next type. */
  Type type();
  std::optional<Type> maybeType();
  /** Consumes the next modifier of any kind. */
  std::string next();
  /** The next modifier, unconsumed; empty when none is left. */
  std::string peek() const;

  const Operand& operand(size_t index) const;
  size_t operandCount() const { return in.operands.size(); }
  const std::vector<Operand>& operands() const { return in.operands; }

  /** Append a register to the handler's slots. A definition of a register that keeps some lanes also uses it. */
  void define(const Operand& operand, Type type);
  void use(const Operand& operand, Type type);
  void defineAndUse(const Operand& operand, Type type);
  /** True when it is negated. */
  bool usePredicate(const Operand& operand);
  void usePredicateConstant(bool value);
  /** Bytes of the register, or of the type for a constant. */
  uint32_t widthOf(const Operand& operand, Type type) const;
  bool isConstant(const Operand& operand) const { return operand.kind == Operand::Kind::Integer; }
  /** The value of an operand that must be a plain number. */
  uint64_t constant(const Operand& operand) const;

  [[noreturn]] void unknown(const std::string& why = "") const;

  KernelDecoder& decoder;
  const ptx::Instruction& in;
  const int frame;
  Instr instr;
  std::vector<Reference> references;
  Flow flow = Flow::Next;
  bool copies = false;    // moves undefined bits on instead of using them
  uint32_t products = 0;  // so many references are registers that a wgmma uses until it is waited for
  /** Checks that every modifier was consumed. */
  void finish(Handler handler);

 private:
  std::vector<bool> consumed_;
};

using DecodeForm = void (*)(Form&);
using FormTable = std::unordered_map<std::string, DecodeForm>;

/** All opcodes the stand-in knows. */
const FormTable& formTable();

}  // namespace cudasim
