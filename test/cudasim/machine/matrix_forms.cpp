// Tensor cores of sm_80: mma.sync and ldmatrix. Products are exact, sums f32 with k ascending.
// Fragments (g = lane / 4, t = lane % 4), from the PTX manual:
//   m16n8k16  A value i: row g + 8 (i in 2, 3, 6, 7), column 2t + i % 2 + 8 (i >= 4); B: k = 2t + i % 2 + 8 (i >= 2),
//             n = g; C: row g + 8 (i >= 2), column 2t + i % 2
//   m16n8k8   the first half of that for 16-bit types; tf32: A value i: row g + 8 (i odd), column t + 4 (i >= 2);
//             B: k = t + 4 i, n = g
#include <cstring>

#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/matrix_tile.h"
#include "machine/memory_counters.h"
#include "machine/memory_forms.h"

namespace cudasim {
namespace {

// slots: d (4), a, b, c (4).

/** K = 16 or 8, 16-bit inputs; a has K / 4 registers of two values, b K / 8. */
template <class H, uint32_t K>
void multiplyHalf(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  constexpr uint32_t aRegisters = K / 4, bRegisters = K / 8;
  const Slot *d = instr.slots, *a = d + 4, *b = a + aRegisters, *c = b + bRegisters;
  Tile<K> tile;
  for (uint32_t r = 0; r < aRegisters; ++r) {
    const uint32_t* from = warp.reg<uint32_t>(a[r]);
    for (uint32_t g = 0; g < 8; ++g) {
      _mm256_store_ps(&tile.a[g + 8 * (r % 2)][8 * (r / 2)], widen<H>(from + 4 * g));
    }
  }
  for (uint32_t r = 0; r < bRegisters; ++r) {
    const uint32_t* from = warp.reg<uint32_t>(b[r]);
    __m256 columns[8];
    for (uint32_t g = 0; g < 8; ++g) columns[g] = widen<H>(from + 4 * g);
    transpose(columns);
    for (uint32_t k = 0; k < 8; ++k) tile.b[8 * r + k] = reinterpret_cast<Row>(columns[k]);
  }
  loadSums(warp, c, tile);
  multiply(tile);
  storeSums(warp, d, tile);
}

/** tf32: a has K / 2 registers, b K / 4. */
template <uint32_t K>
void multiplyTf32(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  constexpr uint32_t aRegisters = K / 2, bRegisters = K / 4;
  const Slot *d = instr.slots, *a = d + 4, *b = a + aRegisters, *c = b + bRegisters;
  Tile<K> tile;
  for (uint32_t r = 0; r < aRegisters; ++r) {
    const uint32_t* from = warp.reg<uint32_t>(a[r]);
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      tile.a[lane / 4 + 8 * (r % 2)][lane % 4 + 4 * (r / 2)] = tf32(from[lane]);
  }
  for (uint32_t r = 0; r < bRegisters; ++r) {
    const uint32_t* from = warp.reg<uint32_t>(b[r]);
    for (uint32_t lane = 0; lane < kLanes; ++lane) tile.b[lane % 4 + 4 * r][lane / 4] = tf32(from[lane]);
  }
  loadSums(warp, c, tile);
  multiply(tile);
  storeSums(warp, d, tile);
}

/** mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 d, a, b, c */
void multiplyForm(Form& form) {
  form.ignore({"sync", "aligned"});
  const std::string shape = form.next();
  if (!form.has("row") || !form.has("col")) form.unknown("layout");
  const Type d = form.type(), a = form.type(), b = form.type(), c = form.type();
  if (d != Type::f32 || c != Type::f32 || a != b) form.unknown("types");
  for (size_t i = 0; i < 4; ++i) {
    const Operand& operand = form.operand(i);
    const std::vector<Operand> single{operand};
    for (const Operand& item : operand.kind == Operand::Kind::Vector ? operand.items : single) {
      const Type type = i == 0 || i == 3 ? Type::f32 : Type::b32;
      i == 0 ? form.define(item, type) : form.use(item, type);
    }
  }
  if (shape == "m16n8k16" && a == Type::bf16) return form.finish(multiplyHalf<Bfloat, 16>);
  if (shape == "m16n8k16" && a == Type::f16) return form.finish(multiplyHalf<Half, 16>);
  if (shape == "m16n8k8" && a == Type::bf16) return form.finish(multiplyHalf<Bfloat, 8>);
  if (shape == "m16n8k8" && a == Type::f16) return form.finish(multiplyHalf<Half, 8>);
  if (shape == "m16n8k8" && a == Type::tf32) return form.finish(multiplyTf32<8>);
  if (shape == "m16n8k4" && a == Type::tf32) return form.finish(multiplyTf32<4>);
  form.unknown("shape " + shape);
}

/** The 16-bit elements of an 8 by 8 matrix, its rows and columns swapped. */
void transposeHalves(const uint8_t* from, uint8_t* to) {
  __m128i row[8], step[8];
  for (uint32_t i = 0; i < 8; ++i) row[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(from) + i);
  for (uint32_t round = 0; round < 3; ++round) {  // each round interleaves row i with row i + 4
    for (uint32_t i = 0; i < 4; ++i) {
      step[2 * i] = _mm_unpacklo_epi16(row[i], row[i + 4]);
      step[2 * i + 1] = _mm_unpackhi_epi16(row[i], row[i + 4]);
    }
    for (uint32_t i = 0; i < 8; ++i) row[i] = step[i];
  }
  for (uint32_t i = 0; i < 8; ++i) _mm_store_si128(reinterpret_cast<__m128i*>(to) + i, row[i]);
}

/** slots: address, results. Lane 8m + r names row r of matrix m; a lane gets row lane / 4, elements 2 (lane % 4), + 1:
 * the matrix as it lies in memory. */
template <bool Transposed>
void loadMatrix(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  alignas(64) uint64_t address[kLanes];
  laneAddresses(warp, instr, instr.slots[0], address);
  if (static_cast<Space>(instr.modifier >> 8) == Space::Generic) {
    for (uint64_t& a : address) a -= kSharedWindow;
  }
  const uint32_t matrices = instr.modifier & 0xFF, lanes = 8 * matrices;
  SharedMemory& shared = warp.block.shared;
  const uint32_t named = matrices == 4 ? kAllLanes : (1u << lanes) - 1;
  checkSharedLanes(warp, named, address, 16);
  countWavefronts(warp, instr, named, address, 16);
  alignas(64) uint32_t at[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) at[lane] = static_cast<uint32_t>(address[lane]);
  shared.readChunks(at, lanes, warp.index);
  alignas(64) uint8_t rows[16 * kLanes];
  __m128i defined = _mm_set1_epi8(1);
  for (uint32_t lane = 0; lane < lanes; ++lane) {
    defined = _mm_and_si128(defined, _mm_loadu_si128(reinterpret_cast<const __m128i*>(shared.definedAt(at[lane]))));
    std::memcpy(rows + 16 * lane, shared.at(at[lane]), 16);
  }
  if (_mm_movemask_epi8(_mm_cmpeq_epi8(defined, _mm_set1_epi8(1))) != 0xFFFF) {
    for (uint32_t lane = 0; lane < lanes; ++lane) checkSharedDefined(warp, lane, at[lane], 16);
  }
  for (uint32_t m = 0; m < matrices; ++m) {
    auto* to = warp.reg<uint8_t>(instr.slots[1 + m]);
    if constexpr (Transposed) {
      transposeHalves(rows + 128 * m, to);
    } else {
      std::memcpy(to, rows + 128 * m, 128);
    }
  }
}

void loadMatrixForm(Form& form) {
  form.ignore({"sync", "aligned"});
  if (!form.has("m8n8")) form.unknown("shape");
  const uint32_t count = form.has("x4") ? 4 : form.has("x2") ? 2 : form.has("x1") ? 1 : 0;
  if (count == 0) form.unknown("number of matrices");
  const bool transposed = form.has("trans");
  const std::string space = readSpace(form);
  form.type();
  const std::string where = useAddress(form, form.operand(1), space);
  const Operand& to = form.operand(0);
  const std::vector<Operand> single{to};
  for (const Operand& item : to.kind == Operand::Kind::Vector ? to.items : single) form.define(item, Type::b32);
  form.instr.modifier = count | static_cast<uint32_t>(spaceNamed(form, where)) << 8;
  form.finish(transposed ? loadMatrix<true> : loadMatrix<false>);
}

/** stmatrix, the reverse. slots: address, sources. */
template <bool Transposed>
void storeMatrix(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  alignas(64) uint64_t address[kLanes];
  laneAddresses(warp, instr, instr.slots[0], address);
  if (static_cast<Space>(instr.modifier >> 8) == Space::Generic) {
    for (uint64_t& a : address) a -= kSharedWindow;
  }
  const uint32_t matrices = instr.modifier & 0xFF, lanes = 8 * matrices;
  const uint32_t named = matrices == 4 ? kAllLanes : (1u << lanes) - 1;
  checkSharedLanes(warp, named, address, 16);
  countWavefronts(warp, instr, named, address, 16);
  SharedMemory& shared = warp.block.shared;
  for (uint32_t m = 0; m < matrices; ++m) {
    alignas(16) uint8_t rows[128];
    const auto* from = warp.reg<uint8_t>(instr.slots[1 + m]);
    if constexpr (Transposed) {
      transposeHalves(from, rows);
    } else {
      std::memcpy(rows, from, 128);
    }
    for (uint32_t row = 0; row < 8; ++row) {
      const auto at = static_cast<uint32_t>(address[8 * m + row]);
      shared.write(at, 16, kLanes * warp.index + 8 * m + row, AccessKind::Plain);
      std::memcpy(shared.at(at), rows + 16 * row, 16);
      std::memset(shared.definedAt(at), 1, 16);
    }
  }
}

void storeMatrixForm(Form& form) {
  form.ignore({"sync", "aligned"});
  if (!form.has("m8n8")) form.unknown("shape");
  const uint32_t count = form.has("x4") ? 4 : form.has("x2") ? 2 : form.has("x1") ? 1 : 0;
  if (count == 0) form.unknown("number of matrices");
  const bool transposed = form.has("trans");
  const std::string space = readSpace(form);
  form.type();
  const std::string where = useAddress(form, form.operand(0), space);
  const Operand& from = form.operand(1);
  const std::vector<Operand> single{from};
  for (const Operand& item : from.kind == Operand::Kind::Vector ? from.items : single) form.use(item, Type::b32);
  form.instr.modifier = count | static_cast<uint32_t>(spaceNamed(form, where)) << 8;
  form.finish(transposed ? storeMatrix<true> : storeMatrix<false>);
}

/** movmatrix: the transposed 8 by 8 matrix that the warp holds. slots: result, source. */
void transposeMatrix(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  transposeHalves(warp.reg<uint8_t>(instr.slots[1]), warp.reg<uint8_t>(instr.slots[0]));
}

void transposeForm(Form& form) {
  form.ignore({"sync", "aligned", "m8n8", "trans"});
  sameTypes(form, form.type(), 1);
  form.instr.modifier = 0;
  form.finish(transposeMatrix);
}

}  // namespace

void addMatrixForms(FormTable& table) {
  table["mma"] = multiplyForm;
  table["ldmatrix"] = loadMatrixForm;
  table["stmatrix"] = storeMatrixForm;
  table["movmatrix"] = transposeForm;
}

}  // namespace cudasim
