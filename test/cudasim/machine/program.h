// A kernel ready to run: handlers and operand slots in one array, device functions inlined.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ptx/module.h"

namespace cudasim {

class Warp;
struct Instr;

constexpr uint32_t kLanes = 32;
constexpr uint32_t kAllLanes = ~0u;

/** Byte offset of a register in the warp's register file: 32 lanes side by side, a predicate as one mask. */
using Slot = uint32_t;
constexpr Slot kNoSlot = ~0u;

/** Executes one instruction for the lanes of `mask`. */
using Handler = void (*)(Warp& warp, const Instr& instr, uint32_t mask);
/** Moves what memory holds lane by lane into registers, or back. */
using Transfer = void (*)(Warp& warp, const Instr& instr, uint32_t mask, uint8_t* lanes);

struct Instr {
  Handler run = nullptr;
  const Slot* slots = nullptr;  // the operands, in the order the handler wants
  Slot guard = kNoSlot;
  bool guardNegated = false;
  bool tracked = false;     // touches a register that may be read before it is written
  bool wideAddress = true;  // the address register has 64 bits
  uint16_t form = 0;
  uint32_t pc = 0;
  uint32_t target = 0;    // of a branch
  uint32_t modifier = 0;  // what the handler makes of it
  int64_t offset = 0;     // added to an address
  Transfer transfer = nullptr;
  Transfer spread = nullptr;  // of a load: one place to all lanes
  Handler inner = nullptr;    // what `run` wraps
};

/** A register that some path reads before it is written: which lanes still lack a value is kept beside it. */
struct Tracking {
  Slot guardMask = kNoSlot;
  std::vector<Slot> reads, writes;                // of `undefined` masks
  bool copies = false;                            // passes the lack on instead of reporting it
  std::vector<Slot> productReads, productWrites;  // of ProductWords
};

/** Beside a register that some wgmma uses: as a sum or as A, until which of the warp's product clocks, and before which
 * wgmma.fence it was written (0: never). */
struct ProductWord {
  uint32_t until = 0, isSum = 0, written = 0;
};

struct SpecialRegister {
  Slot slot;
  std::string name;
};

struct Parameter {
  std::string name;
  uint32_t offset, size;
};

struct Position {
  int ptxLine = 0;
  ptx::SourceLine source;
};

struct Program {
  std::string kernel;
  std::vector<Instr> code;
  std::vector<std::string> forms;           // by Instr::form
  std::vector<Position> positions;          // by pc
  std::vector<std::string> files;           // by SourceLine::file
  std::vector<std::vector<Slot>> operands;  // what Instr::slots points into
  std::vector<Tracking> tracking;           // by pc, empty when nothing is tracked
  std::vector<Slot> undefinedMasks;         // start as all ones
  std::vector<Slot> productWords;           // start as zeros
  std::vector<uint8_t> constants;           // the beginning of a register file
  std::vector<SpecialRegister> specials;
  std::vector<std::vector<uint32_t>> branchTables;
  std::vector<Parameter> parameters;
  uint32_t parameterBytes = 0;
  Slot parameterBase = kNoSlot;  // u64: where the launch put its parameters
  uint32_t registerBytes = 0;
  uint32_t registersUsed = 0;  // 32-bit registers alive at once, what a driver would report
  uint32_t staticShared = 0;
  uint32_t localBytes = 0;  // a thread
  uint32_t maxThreads = 1024;
  std::array<uint32_t, 3> cluster{0, 0, 0};
  bool usesGlobalAtomics = false;
  bool addsGlobalFloats = false;     // by such atomics
  bool readsGlobalStrongly = false;  // waits for other blocks in a way that is not followed

  std::string describe(uint32_t pc) const;
};

}  // namespace cudasim
