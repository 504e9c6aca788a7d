// wgmma: products of a warpgroup. A warp computes its own 16 of the 64 rows when it issues; that they are over is known
// only past wgmma.wait_group: until then nobody may read the sums, touch registers of A, or write what they read.
// Sums (PTX manual, m64nNk16): value i of a lane is row 16 warp + g + 8 (i / 2 % 2), column 8 (i / 4) + 2t + i % 2:
// four neighbouring values are one C fragment of mma.m16n8k16; A in registers is one A fragment.
#include <cstring>

#include "machine/block.h"
#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/matrix_descriptor.h"
#include "machine/matrix_tile.h"
#include "machine/memory_forms.h"

namespace cudasim {
namespace {

/** Instr::modifier. slots: sums (4 a column tile), A (a descriptor or 4 registers), B, predicate, words of the sums and
 * of the registers of A. */
struct Shape {
  uint32_t tiles;  // of 8 columns
  bool registers, half, transposesA, transposesB, negatesA, negatesB, notPredicate;

  uint32_t packed() const {
    return tiles | registers << 8 | half << 9 | transposesA << 10 | transposesB << 11 | negatesA << 12 |
           negatesB << 13 | notPredicate << 14;
  }
  static Shape of(uint32_t bits) {
    const auto flag = [=](uint32_t at) { return (bits >> at & 1) != 0; };
    return {bits & 0xFF, flag(8), flag(9), flag(10), flag(11), flag(12), flag(13), flag(14)};
  }
  uint32_t sums() const { return 4 * tiles; }
  uint32_t slotOfB() const { return sums() + (registers ? 4 : 1); }
};

uint64_t uniform(Warp& warp, Slot slot, const char* what) {
  const uint64_t* value = warp.reg<uint64_t>(slot);
  for (uint32_t lane = 1; lane < kLanes; ++lane) {
    if (value[lane] == value[0]) continue;
    throw Fault{FaultKind::IllegalInstruction, std::string(what) + " differs between lanes", static_cast<int>(lane)};
  }
  return value[0];
}

/** 16 bytes of an operand as eight numbers. */
template <class H>
__m256 chunk(Warp& warp, uint32_t address, uint32_t until) {
  SharedMemory& shared = warp.block.shared;
  checkShared(warp, 0, address, 16);
  shared.readAsync(address, warp.index, kProductAgents + warp.index, until);
  if (!allSet(shared.definedAt(address), 16)) checkSharedDefined(warp, 0, address, 16);
  alignas(16) uint32_t words[4];
  std::memcpy(words, shared.at(address), 16);
  return widen<H>(words);
}

__m256 signedBy(__m256 values, bool negative) {
  return negative ? _mm256_xor_ps(values, _mm256_set1_ps(-0.0f)) : values;
}

/** The eight rows (or columns) 8 index .. of an operand, as vectors over them for each of 16 k. */
template <class H>
void byK(Warp& warp, const MatrixDescriptor& matrix, uint32_t index, bool transposes, uint32_t until, __m256 (&k)[16]) {
  if (transposes) {
    for (uint32_t i = 0; i < 16; ++i) k[i] = chunk<H>(warp, matrix.acrossK(i, index), until);
    return;
  }
  for (uint32_t part = 0; part < 2; ++part) {
    __m256 rows[8];
    for (uint32_t r = 0; r < 8; ++r) rows[r] = chunk<H>(warp, matrix.alongK(8 * index + r, part), until);
    transpose(rows);
    for (uint32_t i = 0; i < 8; ++i) k[8 * part + i] = rows[i];
  }
}

template <class H>
void loadA(Warp& warp, const Instr& instr, const Shape& shape, uint32_t until, Tile<16>& tile) {
  const Slot* a = instr.slots + shape.sums();
  if (shape.registers) {
    for (uint32_t r = 0; r < 4; ++r) {
      const uint32_t* from = warp.reg<uint32_t>(a[r]);
      for (uint32_t g = 0; g < 8; ++g) {
        _mm256_store_ps(&tile.a[g + 8 * (r % 2)][8 * (r / 2)], signedBy(widen<H>(from + 4 * g), shape.negatesA));
      }
    }
    return;
  }
  const MatrixDescriptor matrix(uniform(warp, a[0], "the descriptor of A"));
  for (uint32_t half = 0; half < 2; ++half) {
    __m256 k[16];
    byK<H>(warp, matrix, 2 * (warp.index % 4) + half, shape.transposesA, until, k);
    for (uint32_t i = 0; i < 16; ++i) {
      alignas(32) float column[8];
      _mm256_store_ps(column, signedBy(k[i], shape.negatesA));
      for (uint32_t r = 0; r < 8; ++r) tile.a[8 * half + r][i] = column[r];
    }
  }
}

/** Registers of this product: past a fence, none in use otherwise. */
void claimRegisters(Warp& warp, const Shape& shape, const Slot* words, bool adds, uint32_t until) {
  const uint32_t agent = kProductAgents + warp.index;
  if (warp.fences == 0) throw Fault{FaultKind::Synchronisation, "wgmma with no wgmma.fence before"};
  for (uint32_t i = 0; i < shape.sums() + (shape.registers ? 4 : 0); ++i) {
    ProductWord& word = *warp.reg<ProductWord>(words[i]);
    const bool isSum = i < shape.sums();
    if (word.written > warp.fences) {
      throw Fault{FaultKind::Synchronisation, "a register of wgmma was written with no wgmma.fence since"};
    }
    if (isSum && adds && word.written == 0) throw Fault{FaultKind::Undefined, "a sum of wgmma that was never written"};
    if (word.isSum != (isSum ? 1u : 0u) && !warp.block.shared.knows(warp.index, agent, word.until)) {
      throw Fault{FaultKind::Synchronisation, "a register of a wgmma under way is used as another operand"};
    }
    word.until = until;
    word.isSum = isSum ? 1 : 0;
    if (isSum) word.written = warp.fences;
  }
}

template <class H>
void multiplyGroup(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  warp.block.checkAgents();
  if ((warp.index | 3) * kLanes >= warp.block.threads) {
    throw Fault{FaultKind::Synchronisation, "wgmma by a warp that is not one of four whole ones"};
  }
  const Shape shape = Shape::of(instr.modifier);
  const Slot* b = instr.slots + shape.slotOfB();
  const uint32_t scale = warp.predicate(b[1]) ^ (shape.notPredicate ? kAllLanes : 0);
  if (scale != 0 && scale != kAllLanes) throw Fault{FaultKind::IllegalInstruction, "scale-d differs between lanes"};
  const uint32_t until = warp.block.shared.nextClock(kProductAgents + warp.index);
  claimRegisters(warp, shape, b + 2, scale != 0, until);

  Tile<16> tile;
  loadA<H>(warp, instr, shape, until, tile);
  const MatrixDescriptor matrix(uniform(warp, b[0], "the descriptor of B"));
  for (uint32_t j = 0; j < shape.tiles; ++j) {
    __m256 k[16];
    byK<H>(warp, matrix, j, shape.transposesB, until, k);
    for (uint32_t i = 0; i < 16; ++i) tile.b[i] = reinterpret_cast<Row>(signedBy(k[i], shape.negatesB));
    const Slot* sums = instr.slots + 4 * j;
    if (scale != 0) {
      loadSums(warp, sums, tile);
    } else {
      std::memset(tile.c, 0, sizeof tile.c);
    }
    multiply(tile);
    storeSums(warp, sums, tile);
  }
  ++warp.products;
  warp.uncommitted = true;
}

/** wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 d, a, b, scale-d, scale-a, scale-b[, trans-a], trans-b */
void multiplyForm(Form& form) {
  const std::string size = form.next();
  uint32_t columns = 0;
  if (std::sscanf(size.c_str(), "m64n%uk16", &columns) != 1 || size != "m64n" + std::to_string(columns) + "k16" ||
      columns % 8 != 0 || columns == 0 || columns > 256) {
    form.unknown("shape " + size);
  }
  const Type d = form.type(), a = form.type(), b = form.type();
  if (d != Type::f32 || a != b || (a != Type::bf16 && a != Type::f16)) form.unknown("types");
  Shape shape{};
  shape.tiles = columns / 8;
  shape.half = a == Type::f16;
  shape.registers = form.operand(1).kind == Operand::Kind::Vector;
  if (form.operand(0).items.size() != shape.sums()) form.unknown("number of sums");
  for (const Operand& sum : form.operand(0).items) form.defineAndUse(sum, Type::f32);
  if (shape.registers) {
    if (form.operand(1).items.size() != 4) form.unknown("registers of A");
    for (const Operand& item : form.operand(1).items) form.use(item, Type::b32);
  } else {
    form.use(form.operand(1), Type::b64);
  }
  form.use(form.operand(2), Type::b64);
  shape.notPredicate = form.usePredicate(form.operand(3));
  const auto immediate = [&](size_t i) { return static_cast<int32_t>(form.constant(form.operand(i))); };
  shape.negatesA = immediate(4) == -1;
  shape.negatesB = immediate(5) == -1;
  shape.transposesA = !shape.registers && immediate(6) == 1;
  shape.transposesB = immediate(shape.registers ? 6 : 7) == 1;
  form.products = shape.sums() + (shape.registers ? 4 : 0);
  form.instr.modifier = shape.packed();
  form.finish(shape.half ? multiplyGroup<Half> : multiplyGroup<Bfloat>);
}

void productForm(Form& form) {
  const std::string operation = form.next();
  form.ignore({"sync", "aligned"});
  if (operation == "mma_async") return multiplyForm(form);
  if (operation == "fence") {
    return form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
      if (allHere(warp, instr, mask)) ++warp.fences;
    });
  }
  if (operation == "commit_group") {
    return form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
      if (!allHere(warp, instr, mask)) return;
      warp.block.shared.advanceAgent(kProductAgents + warp.index);
      warp.uncommitted = false;
    });
  }
  if (operation != "wait_group") form.unknown();
  form.instr.modifier = static_cast<uint32_t>(form.constant(form.operand(0)));
  form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
    if (!allHere(warp, instr, mask)) return;
    const uint32_t agent = kProductAgents + warp.index;
    warp.block.shared.learn(warp.index, agent, warp.block.shared.nextClock(agent) - 1 - instr.modifier);
  });
}

}  // namespace

void addProductForms(FormTable& table) { table["wgmma"] = productForm; }

}  // namespace cudasim
