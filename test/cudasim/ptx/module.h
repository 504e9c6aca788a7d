// A PTX module as text says it: declarations and instructions by name, nothing resolved yet.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cudasim::ptx {

/** Anything between two commas of an instruction. */
struct Operand {
  enum class Kind { Name, Integer, Float32, Float64, Address, Vector, Pair, Arguments };
  Kind kind = Kind::Name;
  std::string name;            // Name; the base of an Address, empty for an absolute one
  uint64_t bits = 0;           // Integer, Float32, Float64
  int64_t offset = 0;          // Address: added to the base; Name: the same for `symbol+4`
  bool negated = false;        // !%p
  std::vector<Operand> items;  // Vector {a, b}, Pair a|b, Arguments (a, b), what follows the base of [map, {x, y}]
};

struct SourceLine {
  int file = 0;
  int line = 0;
};

struct Instruction {
  std::string form;                // ld.global.v4.f32
  std::vector<std::string> parts;  // ld, global, v4, f32
  std::vector<Operand> operands;
  std::string guard;  // empty: unconditional
  bool guardNegated = false;
  int scope = 0;
  int line = 0;  // of the PTX text
  SourceLine source;
};

/** `.reg .b32 %r<8>` declares a family, `.reg .pred p` one register. */
struct RegisterDeclaration {
  std::string type, name;
  bool family = false;
};

/** A variable, a kernel parameter, or a `.param` of a call. */
struct Variable {
  std::string space;  // global, const, shared, local, param
  std::string name;
  uint64_t align = 1;
  uint64_t size = 0;  // in bytes; 0: extern, sized by the launch
  bool isExtern = false;
  std::vector<uint8_t> initial;
  struct Relocation {
    uint64_t offset, addend;
    std::string symbol;
  };
  std::vector<Relocation> relocations;
};

struct Label {
  std::string name;
  size_t at;  // index of the instruction that follows
};

/** `name: .branchtargets a, b;` */
struct BranchTargets {
  std::string name;
  std::vector<std::string> labels;
};

/** One pair of braces: names declared inside hide those outside. */
struct Scope {
  int parent = -1;
  std::vector<RegisterDeclaration> registers;
  std::vector<Variable> variables;
  std::vector<Label> labels;
  std::vector<BranchTargets> branchTargets;
};

struct Function {
  std::string name;
  bool isKernel = false;
  bool isDefined = false;
  std::vector<Variable> results, parameters;
  std::vector<Scope> scopes;  // [0] is the body
  std::vector<Instruction> body;
  uint32_t maxThreads = 0;          // product of .maxntid, 0: not said
  uint32_t cluster[3] = {0, 0, 0};  // .reqnctapercluster, 0: not said
};

struct Module {
  int target = 0;                  // 80 of sm_80
  bool targetIsSpecific = false;   // sm_90a
  std::vector<std::string> files;  // by .file index
  std::vector<Variable> variables;
  std::vector<Function> functions;
};

}  // namespace cudasim::ptx
