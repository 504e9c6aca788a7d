// atom and red: lane after lane. Blocks of a kernel that adds floats in global memory run one after another, so that
// its sums repeat.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "machine/forms.h"
#include "machine/half.h"
#include "machine/handlers.h"
#include "machine/kernel_decoder.h"
#include "machine/memory_forms.h"

namespace cudasim {
namespace {

/** slots: address, result, b, c. One lane at a time: read, combine, write. */
template <class T, class F>
void atomic(Warp& warp, const Instr& instr, uint32_t mask) {
  uint64_t address[kLanes];
  laneAddresses(warp, instr, instr.slots[0], address);
  const auto space = static_cast<Space>(instr.modifier);
  T* result = warp.reg<T>(instr.slots[1]);
  const T *b = warp.reg<T>(instr.slots[2]), *c = warp.reg<T>(instr.slots[3]);
  forEachLane(mask, [&](uint32_t lane) {
    const std::lock_guard guard(warp.block.worker.memory.atomics(address[lane]));
    if (space != Space::Shared) meetGlobal(warp, address[lane]);
    alignas(16) uint8_t data[16 * kLanes];
    const Access access{warp, instr, 1u << lane, sizeof(T), address, data, AccessKind::Strong};
    readMemory(space, access);
    T old, made;
    std::memcpy(&old, data + lane * sizeof(T), sizeof(T));
    const T first = b[lane], second = c[lane];
    made = F{}(old, first, second);
    std::memcpy(data + lane * sizeof(T), &made, sizeof(T));
    writeMemory(space, access);
    result[lane] = old;
  });
}

template <class T>
Handler arithmetic(const Form& form, const std::string& operation) {
  if (operation == "add") return atomic<T, decltype([](T a, T b, T) { return static_cast<T>(a + b); })>;
  if (operation == "min") return atomic<T, decltype([](T a, T b, T) { return std::min(a, b); })>;
  if (operation == "max") return atomic<T, decltype([](T a, T b, T) { return std::max(a, b); })>;
  if (operation == "exch") return atomic<T, decltype([](T, T b, T) { return b; })>;
  form.unknown("operation " + operation);
}

template <class T>
Handler integerOperation(const Form& form, const std::string& operation) {
  if (operation == "and") return atomic<T, decltype([](T a, T b, T) { return static_cast<T>(a & b); })>;
  if (operation == "or") return atomic<T, decltype([](T a, T b, T) { return static_cast<T>(a | b); })>;
  if (operation == "xor") return atomic<T, decltype([](T a, T b, T) { return static_cast<T>(a ^ b); })>;
  if (operation == "inc") return atomic<T, decltype([](T a, T b, T) { return static_cast<T>(a >= b ? 0 : a + 1); })>;
  if (operation == "dec") {
    return atomic<T, decltype([](T a, T b, T) { return static_cast<T>(a == 0 || a > b ? b : a - 1); })>;
  }
  if (operation == "cas") return atomic<T, decltype([](T a, T b, T c) { return a == b ? c : a; })>;
  return arithmetic<T>(form, operation);
}

template <class H>
uint32_t addPair(uint32_t a, uint32_t b) {
  uint32_t result = 0;
  for (uint32_t shift = 0; shift < 32; shift += 16) {
    const float sum = toFloat(H{static_cast<uint16_t>(a >> shift)}) + toFloat(H{static_cast<uint16_t>(b >> shift)});
    result |= uint32_t{fromFloat<H>(sum).bits} << shift;
  }
  return result;
}

void atomicForm(Form& form) {
  const bool returns = form.opcode() == "atom";
  form.ignore({"relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys", "noftz"});
  const std::string space = readSpace(form);
  const std::string operation = form.next();
  const Type type = form.type();
  size_t at = returns ? 1 : 0;
  const std::string where = useAddress(form, form.operand(at), space);
  if (where != "shared") form.decoder.usesGlobalAtomics(ptx::isFloat(type));
  Operand sink;
  sink.name = "_";
  form.define(returns ? form.operand(0) : sink, type);
  form.use(form.operand(at + 1), type);
  form.use(form.operand(form.operandCount() > at + 2 ? at + 2 : at + 1), type);
  form.instr.modifier = static_cast<uint32_t>(spaceNamed(form, where));
  switch (type) {
    case Type::f32:
      return form.finish(arithmetic<float>(form, operation));
    case Type::f64:
      return form.finish(arithmetic<double>(form, operation));
    case Type::f16x2:
      return form.finish(
          atomic<uint32_t, decltype([](uint32_t a, uint32_t b, uint32_t) { return addPair<Half>(a, b); })>);
    case Type::bf16x2:
      return form.finish(
          atomic<uint32_t, decltype([](uint32_t a, uint32_t b, uint32_t) { return addPair<Bfloat>(a, b); })>);
    default:
      form.finish(forInteger(form, type, [&](auto zero) { return integerOperation<decltype(zero)>(form, operation); }));
  }
}

}  // namespace

void addAtomicForms(FormTable& table) {
  table["atom"] = atomicForm;
  table["red"] = atomicForm;
}

}  // namespace cudasim
