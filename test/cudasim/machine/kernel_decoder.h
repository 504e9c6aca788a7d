// From a parsed kernel to a Program: names become registers, labels become targets, calls are inlined, and registers
// that are never alive together share their place.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "machine/form.h"
#include "machine/program.h"

namespace cudasim {

/** A variable of the module: where it lies. */
struct Symbol {
  std::string space;  // global, const, shared
  uint64_t address = 0;
};
using Symbols = std::unordered_map<std::string, Symbol>;

struct VirtualRegister {
  Type type;           // as wide as the register; pred for a predicate
  bool fixed = false;  // a constant or special register: never written
  uint64_t bits = 0;
  std::string special;
};

struct Draft {  // an instruction before its registers have places
  Instr instr;
  std::vector<Reference> references;
  RegisterId guard = kNoSlot;
  Flow flow = Flow::Next;
  bool copies = false;
  uint32_t products = 0;  // of the references
};

class KernelDecoder {
 public:
  KernelDecoder(const ptx::Module& module, const Symbols& symbols);

  /** Throws SyntaxError for a form or name that is not known. */
  Program decode(const ptx::Function& kernel);
  /** Every form of the function that is not known, one line each. */
  std::set<std::string> missing(const ptx::Function& function);

  // For Form:
  RegisterId registerFor(const Form& form, const Operand& operand, Type type, bool written);
  RegisterId constant(uint64_t bits, Type type);
  uint32_t widthOf(const Form& form, const Operand& operand, Type type);

  /** The base of an address: a register or a constant, and what space its name tells ("" when none). */
  struct Base {
    RegisterId id;
    std::string space;
    int64_t offset = 0;
  };
  bool isWide(RegisterId id) const { return ptx::sizeOf(registers_[id].type) == 8; }
  bool isParameters(RegisterId id) const { return id == parameterBase_; }
  Base base(const Form& form, const Operand& address, bool narrow);

  // For the control forms:
  void branchTo(const Form& form, const std::string& label);
  uint32_t branchTable(const Form& form, const std::string& name);
  void call(const Form& form);
  bool isInlined(int frame) const { return frames_[static_cast<size_t>(frame)].parent >= 0; }
  void branchToEnd(int frame);
  void readsGlobalStrongly() { program_.readsGlobalStrongly = true; }
  void usesGlobalAtomics(bool addsFloats) {
    program_.usesGlobalAtomics = true;
    program_.addsGlobalFloats |= addsFloats;
  }
  RegisterId scratch(Type type);
  /** The carry of multi-word arithmetic: a predicate that PTX has no name for. */
  RegisterId carry();

 private:
  struct Frame {  // one copy of a function's body
    const ptx::Function* function;
    int parent;  // -1: the kernel
    std::unordered_map<std::string, RegisterId> registers;
    std::unordered_map<std::string, Symbol> variables;  // with the scope before the name
    std::unordered_map<std::string, uint32_t> labels;
  };
  struct Fixup {
    size_t draft;
    int frame, scope;
    std::string label;
    int line;
    int table = -1;  // entry `slot` of that branch table instead of a target
    size_t slot = 0;
  };

  void layOutParameters(const ptx::Function& kernel);
  void declareVariables(Frame& frame);
  void decodeBody(int frame);
  void decodeOne(const ptx::Instruction& in, int frame);
  void resolve();
  void place();
  Symbol* findVariable(int frame, int scope, const std::string& name);
  const ptx::RegisterDeclaration* findRegister(const ptx::Function& function, int scope, const std::string& name,
                                               int& owner) const;
  RegisterId named(const Form& form, const std::string& name);
  RegisterId add(VirtualRegister made);

  const ptx::Module& module_;
  const Symbols& symbols_;
  Program program_;
  std::vector<VirtualRegister> registers_;
  std::map<std::pair<uint64_t, Type>, RegisterId> constants_;
  std::unordered_map<std::string, RegisterId> specials_;
  std::map<Type, RegisterId> scratch_;
  std::vector<Draft> drafts_;
  std::deque<Frame> frames_;
  std::vector<Fixup> fixups_;
  std::vector<std::pair<size_t, int>> ends_;  // branches to the end of an inlined frame
  std::unordered_map<std::string, uint16_t> formIndex_;
  RegisterId parameterBase_ = kNoSlot, carry_ = kNoSlot;
};

}  // namespace cudasim
