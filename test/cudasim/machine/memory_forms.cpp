// ld and st in all spaces; isspacep.
#include "machine/memory_forms.h"

#include <cstring>
#include <type_traits>

#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/kernel_decoder.h"
#include "machine/memory_access.h"

namespace cudasim {
namespace {

/** slots[0] is the address; instr.modifier: bytes of an element, elements, space, kind of access. */
struct Shape {
  uint32_t bytes, count;
  Space space;
  AccessKind kind;
  uint32_t packed() const {
    return bytes | count << 8 | static_cast<uint32_t>(space) << 16 | static_cast<uint32_t>(kind) << 24;
  }
  static Shape of(const Instr& instr) {
    return {instr.modifier & 0xFF, instr.modifier >> 8 & 0xFF, static_cast<Space>(instr.modifier >> 16 & 0xFF),
            static_cast<AccessKind>(instr.modifier >> 24)};
  }
};

/** f(constant) with the number of elements, so that loops over them vectorise. */
template <class F>
void withCount(uint32_t count, F f) {
  switch (count) {
    case 1:
      return f(std::integral_constant<uint32_t, 1>{});
    case 2:
      return f(std::integral_constant<uint32_t, 2>{});
    case 4:
      return f(std::integral_constant<uint32_t, 4>{});
    default:
      return f(std::integral_constant<uint32_t, 8>{});
  }
}

/** From lane-major memory into registers of type R, extended as T. */
template <class T, class R>
void unpack(Warp& warp, const Instr& instr, uint32_t mask, uint8_t* data) {
  withCount(Shape::of(instr).count, [&](auto count) {
    for (uint32_t element = 0; element < count; ++element) {
      const uint8_t* from = data + element * sizeof(T);
      assign<R>(warp, instr.slots[1 + element], mask, [=](uint32_t lane) {
        T value;
        std::memcpy(&value, from + lane * (count * sizeof(T)), sizeof(T));
        return static_cast<R>(value);
      });
    }
  });
}

/** The same for all lanes from one place. */
template <class T, class R>
void spread(Warp& warp, const Instr& instr, uint32_t mask, uint8_t* data) {
  const uint32_t count = Shape::of(instr).count;
  for (uint32_t element = 0; element < count; ++element) {
    T value;
    std::memcpy(&value, data + element * sizeof(T), sizeof(T));
    assign<R>(warp, instr.slots[1 + element], mask, [=](uint32_t) { return static_cast<R>(value); });
  }
}

template <class T, class R>
void pack(Warp& warp, const Instr& instr, uint32_t, uint8_t* data) {
  withCount(Shape::of(instr).count, [&](auto count) {
    for (uint32_t element = 0; element < count; ++element) {
      const R* from = warp.reg<R>(instr.slots[1 + element]);
      uint8_t* to = data + element * sizeof(T);
#pragma GCC ivdep
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        const T value = static_cast<T>(from[lane]);
        std::memcpy(to + lane * (count * sizeof(T)), &value, sizeof(T));
      }
    }
  });
}

enum class Pattern { Row, One, Other };

/** How the addresses of a full warp lie, `bytes` a lane; register values of A. */
template <class A>
Pattern patternOf(const A* base, A bytes) {
  A row = 0, one = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    row |= base[lane] ^ static_cast<A>(base[0] + lane * bytes);
    one |= base[lane] ^ base[0];
  }
  return row == 0 ? Pattern::Row : one == 0 ? Pattern::One : Pattern::Other;
}

/** True when the whole warp's access could be done at once. */
template <bool Writes>
bool transferAtOnce(Warp& warp, const Instr& instr, const Shape& shape) {
  const uint32_t bytes = shape.bytes * shape.count;
  const Slot slot = instr.slots[0];
  const Pattern pattern = instr.wideAddress ? patternOf<uint64_t>(warp.reg<uint64_t>(slot), bytes)
                                            : patternOf<uint32_t>(warp.reg<uint32_t>(slot), bytes);
  if (pattern == Pattern::Other) return false;
  const uint64_t first = instr.wideAddress
                             ? warp.reg<uint64_t>(slot)[0] + static_cast<uint64_t>(instr.offset)
                             : uint64_t{warp.reg<uint32_t>(slot)[0] + static_cast<uint32_t>(instr.offset)};
  if (pattern == Pattern::Row) {
    uint8_t* at =
        Writes ? writeRow(shape.space, warp, instr, first, bytes) : readRow(shape.space, warp, instr, first, bytes);
    if (at != nullptr) instr.transfer(warp, instr, kAllLanes, at);
    return at != nullptr;
  }
  if constexpr (!Writes) {
    uint8_t* at = readAsOne(shape.space, warp, instr, first, bytes);
    if (at == nullptr) return false;
    instr.spread(warp, instr, kAllLanes, at);
    return true;
  }
  return false;
}

template <bool Writes>
void transferMemory(Warp& warp, const Instr& instr, uint32_t mask) {
  const Shape shape = Shape::of(instr);
  // Lane by lane where the kind of access matters.
  const bool judged = shape.kind == AccessKind::Strong ||
                      (shape.kind == AccessKind::ReadOnly && warp.block.worker.launch.before != nullptr);
  if (mask == kAllLanes && !judged && transferAtOnce<Writes>(warp, instr, shape)) return;
  alignas(64) uint64_t address[kLanes];
  laneAddresses(warp, instr, instr.slots[0], address);
  alignas(64) uint8_t data[16 * kLanes];
  const Access access{warp, instr, mask, shape.bytes * shape.count, address, data, shape.kind};
  if constexpr (Writes) {
    instr.transfer(warp, instr, mask, data);
    writeMemory(shape.space, access);
  } else {
    readMemory(shape.space, access);
    instr.transfer(warp, instr, mask, data);
  }
}

/** ld.param [name + offset]: the same for all lanes, and never out of bounds. */
void loadParameter(Warp& warp, const Instr& instr, uint32_t mask) {
  const uint64_t address = warp.reg<uint64_t>(instr.slots[0])[0] + static_cast<uint64_t>(instr.offset);
  instr.spread(warp, instr, mask, reinterpret_cast<uint8_t*>(address));
}

/** ld.param by an address in a register: parameters lie in constant banks, so that no sector of global memory counts.
 */
void loadParameterAt(Warp& warp, const Instr& instr, uint32_t mask) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  const uint64_t sectors = site.sectors, usefulBytes = site.usefulBytes;
  transferMemory<false>(warp, instr, mask);
  site.sectors = sectors;
  site.usefulBytes = usefulBytes;
}

enum class Way { Read, Spread, Write };

template <class T>
Transfer transferFor(const Form& form, uint32_t width, Way way) {
  const auto pick = [&]<class R>(R) {
    return way == Way::Write ? pack<T, R> : way == Way::Read ? unpack<T, R> : spread<T, R>;
  };
  if (width == 8) return pick(uint64_t{});
  if constexpr (sizeof(T) <= 4) {
    if (width == 4) return pick(uint32_t{});
  }
  if constexpr (sizeof(T) <= 2) {
    if (width == 2) return pick(uint16_t{});
  }
  form.unknown("a register narrower than the value");
}

Transfer transferFor(const Form& form, Type type, uint32_t width, Way way) {
  switch (ptx::sizeOf(type)) {
    case 1:
      return type == Type::s8 ? transferFor<int8_t>(form, width, way) : transferFor<uint8_t>(form, width, way);
    case 2:
      return type == Type::s16 ? transferFor<int16_t>(form, width, way) : transferFor<uint16_t>(form, width, way);
    case 4:
      return type == Type::s32 ? transferFor<int32_t>(form, width, way) : transferFor<uint32_t>(form, width, way);
    case 8:
      return transferFor<uint64_t>(form, width, way);
    default:
      form.unknown("type");
  }
}

void ignoreCacheHints(Form& form) {
  form.ignore({"ca",
               "cg",
               "cs",
               "lu",
               "cv",
               "wb",
               "wt",
               "weak",
               "cta",
               "cluster",
               "gpu",
               "sys",
               "L1::evict_normal",
               "L1::evict_unchanged",
               "L1::evict_first",
               "L1::evict_last",
               "L1::no_allocate",
               "L2::64B",
               "L2::128B",
               "L2::256B",
               "L2::cache_hint",
               "L2::evict_last",
               "L2::evict_first",
               "L2::evict_normal"});
}

template <bool Writes>
void memoryForm(Form& form) {
  bool strong = form.has("volatile");
  strong |= form.has("relaxed");
  strong |= form.has("acquire");
  strong |= form.has("release");
  std::string space = readSpace(form);
  const bool readOnly = form.has("nc");
  ignoreCacheHints(form);
  const uint32_t count = form.has("v2") ? 2 : form.has("v4") ? 4 : form.has("v8") ? 8 : 1;
  const Type type = form.type();
  const Operand& address = form.operand(Writes ? 0 : 1);
  const Operand& value = form.operand(Writes ? 1 : 0);
  if (address.kind != Operand::Kind::Address) form.unknown("no address");
  space = useAddress(form, address, space);
  const std::vector<Operand> single{value};
  const std::vector<Operand>& values = value.kind == Operand::Kind::Vector ? value.items : single;
  if (values.size() != count || ptx::sizeOf(type) * count > 16) form.unknown("vector");
  uint32_t width = 0;  // of the registers: all alike, `_` and constants aside
  for (const Operand& element : values) {
    if (element.kind == Operand::Kind::Name && element.name != "_")
      width = std::max(width, form.widthOf(element, type));
  }
  if (width == 0) width = std::max(ptx::sizeOf(type), 2u);
  for (const Operand& element : values) {
    Writes ? form.use(element, ptx::bitsOf(width)) : form.define(element, ptx::bitsOf(width));
  }
  form.instr.transfer = transferFor(form, type, width, Writes ? Way::Write : Way::Read);
  if (!Writes) form.instr.spread = transferFor(form, type, width, Way::Spread);
  if (strong && !Writes && space != "shared" && space != "local") form.decoder.readsGlobalStrongly();
  const AccessKind kind = strong ? AccessKind::Strong : readOnly ? AccessKind::ReadOnly : AccessKind::Plain;
  form.instr.modifier = Shape{ptx::sizeOf(type), count, spaceNamed(form, space == "param" ? "" : space), kind}.packed();
  const bool isParameter = space == "param" && form.decoder.isParameters(form.references.front().id);
  if (isParameter && Writes) form.unknown("a store to a kernel parameter");
  if (isParameter) return form.finish(loadParameter);
  form.finish(!Writes && space == "param" ? loadParameterAt : transferMemory<Writes>);
}

void isSpace(Form& form) {
  const std::string space = form.next();
  form.define(form.operand(0), Type::pred);
  form.use(form.operand(1), Type::u64);
  const auto in = [&](auto test) {
    form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
      const uint64_t* a = warp.reg<uint64_t>(instr.slots[1]);
      assignPredicate(warp, instr.slots[0], mask, collect([=](uint32_t i) { return decltype(test){}(a[i]); }));
    });
  };
  if (space == "shared") return in([](uint64_t a) { return a - kSharedWindow < kWindowSize; });
  if (space == "local") return in([](uint64_t a) { return a - kLocalWindow < kWindowSize; });
  if (space == "global") return in([](uint64_t a) { return a < kSharedWindow; });
  form.unknown("space " + space);
}

}  // namespace

void laneAddresses(Warp& warp, const Instr& instr, Slot slot, uint64_t* address) {
  if (instr.wideAddress) {
    const uint64_t* base = warp.reg<uint64_t>(slot);
    for (uint32_t lane = 0; lane < kLanes; ++lane) address[lane] = base[lane] + static_cast<uint64_t>(instr.offset);
  } else {
    const uint32_t* base = warp.reg<uint32_t>(slot);
    for (uint32_t lane = 0; lane < kLanes; ++lane) address[lane] = base[lane] + static_cast<uint32_t>(instr.offset);
  }
}

std::string readSpace(Form& form) {
  for (const char* space :
       {"global", "shared", "local", "const", "param", "shared::cta", "param::entry", "param::func"}) {
    if (form.has(space)) return std::string(space).substr(0, std::string(space).find(':'));
  }
  return "";
}

std::string useAddress(Form& form, const Operand& address, const std::string& space) {
  const KernelDecoder::Base base = form.decoder.base(form, address, false);
  form.references.push_back({base.id, false, true});
  form.instr.offset = base.offset;
  form.instr.wideAddress = form.decoder.isWide(base.id);
  return base.space.empty() ? space : base.space;
}

Space spaceNamed(const Form& form, const std::string& name) {
  if (name.empty()) return Space::Generic;
  if (name == "global" || name == "const") return Space::Global;
  if (name == "shared") return Space::Shared;
  if (name == "local") return Space::Local;
  form.unknown("space " + name);
}

void addMemoryForms(FormTable& table) {
  table["ld"] = memoryForm<false>;
  table["ldu"] = memoryForm<false>;
  table["st"] = memoryForm<true>;
  table["isspacep"] = isSpace;
}

}  // namespace cudasim
