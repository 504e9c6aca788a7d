// Arithmetic of several words: .cc leaves a carry, addc, subc and madc take it in.
#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/kernel_decoder.h"

namespace cudasim {
namespace {

__extension__ typedef unsigned __int128 Uint128;

enum class Step { Add, Subtract, MultiplyLow, MultiplyHigh };

/** slots: result, carry out, a, b, c, carry in. */
template <class T, Step S>
void carrying(Warp& warp, const Instr& instr, uint32_t mask) {
  const T *a = warp.reg<T>(instr.slots[2]), *b = warp.reg<T>(instr.slots[3]), *c = warp.reg<T>(instr.slots[4]);
  const uint32_t carryIn = warp.predicate(instr.slots[5]);
  alignas(64) T result[kLanes];
  uint32_t carryOut = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const Uint128 in = carryIn >> lane & 1, product = Uint128{a[lane]} * b[lane];
    Uint128 wide = 0;
    switch (S) {
      case Step::Add:
        wide = Uint128{a[lane]} + b[lane] + in;
        break;
      case Step::Subtract:
        wide = Uint128{a[lane]} - b[lane] - in;
        break;
      case Step::MultiplyLow:
        wide = Uint128{static_cast<T>(product)} + c[lane] + in;
        break;
      case Step::MultiplyHigh:
        wide = Uint128{static_cast<T>(product >> (8 * sizeof(T)))} + c[lane] + in;
        break;
    }
    result[lane] = static_cast<T>(wide);
    carryOut |= static_cast<uint32_t>(wide >> (8 * sizeof(T)) & 1) << lane;
  }
  assign<T>(warp, instr.slots[0], mask, [&](uint32_t lane) { return result[lane]; });
  assignPredicate(warp, instr.slots[1], mask, carryOut);
}

template <Step S>
Handler forWord(const Form& form, Type type) {
  if (ptx::sizeOf(type) == 4) return carrying<uint32_t, S>;
  if (ptx::sizeOf(type) == 8) return carrying<uint64_t, S>;
  form.unknown();
}

}  // namespace

bool carryForm(Form& form, Type type) {
  const std::string& opcode = form.opcode();
  const bool takes = opcode.back() == 'c', leaves = form.has("cc");
  if (!takes && !leaves) return false;
  const bool multiplies = opcode[0] == 'm', high = multiplies && form.has("hi");
  if (multiplies && !high) form.has("lo");
  if (high && ptx::isSigned(type)) form.unknown("signed high product with carry");
  form.define(form.operand(0), type);
  Operand sink;
  sink.name = "_";
  leaves ? form.references.push_back({form.decoder.carry(), true, false}) : form.define(sink, Type::pred);
  for (size_t i = 1; i < 4; ++i) form.use(form.operand(i < form.operandCount() ? i : 1), type);
  takes ? form.references.push_back({form.decoder.carry(), false, true}) : form.usePredicateConstant(false);
  if (multiplies) {
    form.finish(high ? forWord<Step::MultiplyHigh>(form, type) : forWord<Step::MultiplyLow>(form, type));
  } else {
    form.finish(opcode[0] == 'a' ? forWord<Step::Add>(form, type) : forWord<Step::Subtract>(form, type));
  }
  return true;
}

void addCarryForms(FormTable& table) {
  for (const char* opcode : {"addc", "subc", "madc"}) table[opcode] = [](Form& form) { carryForm(form, form.type()); };
}

}  // namespace cudasim
