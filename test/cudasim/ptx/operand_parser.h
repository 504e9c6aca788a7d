// Operands of instructions and the constants that initialise variables.
#pragma once

#include "ptx/module.h"
#include "ptx/scanner.h"

namespace cudasim::ptx {

class OperandParser {
 public:
  explicit OperandParser(Scanner& in) : in_(in) {}

  Operand operand();
  /** What follows the '=' of a variable whose elements are `element` bytes. */
  void initialiser(Variable& variable, uint64_t element);

 private:
  Operand single();
  Operand list(char end, Operand::Kind kind);
  Operand address();
  Operand number(bool negative);
  int64_t offset();
  void element(Variable& variable, uint64_t bytes);

  Scanner& in_;
};

}  // namespace cudasim::ptx
