// Tensor cores of sm_80: mma.sync and ldmatrix. Products are exact, sums f32 with k ascending.
// Fragments (g = lane / 4, t = lane % 4), from the PTX manual:
//   m16n8k16  A value i: row g + 8 (i in 2, 3, 6, 7), column 2t + i % 2 + 8 (i >= 4); B: k = 2t + i % 2 + 8 (i >= 2),
//             n = g; C: row g + 8 (i >= 2), column 2t + i % 2
//   m16n8k8   the first half of that for 16-bit types; tf32: A value i: row g + 8 (i odd), column t + 4 (i >= 2);
//             B: k = t + 4 i, n = g
#include <immintrin.h>

#include <cstring>
#include <type_traits>

#include "machine/forms.h"
#include "machine/half.h"
#include "machine/handlers.h"
#include "machine/memory_counters.h"
#include "machine/memory_forms.h"

namespace cudasim {
namespace {

void wholeWarp(const Warp& warp, uint32_t mask) {
  if (mask == kAllLanes) return;
  const int lane = mask == 0 ? -1 : __builtin_ctz(mask);
  throw Fault{FaultKind::Synchronisation,
              "a matrix operation that only lanes " + hex(mask) + " of " + hex(warp.started) + " reach", lane};
}

/** Waits for the whole warp; false when it must. */
bool allHere(Warp& warp, const Instr& instr, uint32_t mask) {
  if (mask == kAllLanes) return true;
  if (mask == warp.mask && (mask | ~warp.live) != kAllLanes) {
    warp.waitForLanes(instr);
    return false;
  }
  wholeWarp(warp, mask);
  return false;
}

/** Eight columns of one row as one vector of the host. */
using Row = float __attribute__((vector_size(32)));

template <uint32_t K>
struct Tile {
  alignas(64) float a[16][K];
  Row b[K];
  Row c[16];
};

template <uint32_t K>
void multiply(Tile<K>& tile) {
  for (uint32_t row = 0; row < 16; row += 8) {  // eight rows at once hide the latency of the sums
    Row sum[8];
    for (uint32_t r = 0; r < 8; ++r) sum[r] = tile.c[row + r];
#pragma GCC unroll 4
    for (uint32_t k = 0; k < K; ++k) {
#pragma GCC unroll 8
      for (uint32_t r = 0; r < 8; ++r) {
        const __m256 vector = _mm256_broadcast_ss(&tile.a[row + r][k]);
        sum[r] = reinterpret_cast<Row>(
            _mm256_fmadd_ps(vector, reinterpret_cast<__m256>(tile.b[k]), reinterpret_cast<__m256>(sum[r])));
      }
    }
    for (uint32_t r = 0; r < 8; ++r) tile.c[row + r] = sum[r];
  }
}

// slots: d (4), a, b, c (4).
// Lanes 4g to 4g + 3 of a pair of registers of C hold row g, even columns in one and odd ones in the other.

template <uint32_t K>
void loadSums(Warp& warp, const Slot* c, Tile<K>& tile) {
  for (uint32_t half = 0; half < 2; ++half) {
    const float *even = warp.reg<float>(c[2 * half]), *odd = warp.reg<float>(c[2 * half + 1]);
    for (uint32_t g = 0; g < 8; ++g) {
      const __m128 e = _mm_load_ps(even + 4 * g), o = _mm_load_ps(odd + 4 * g);
      const __m256 row = _mm256_set_m128(_mm_unpackhi_ps(e, o), _mm_unpacklo_ps(e, o));
      tile.c[8 * half + g] = reinterpret_cast<Row>(row);
    }
  }
}

template <uint32_t K>
void storeSums(Warp& warp, const Slot* d, const Tile<K>& tile) {
  for (uint32_t half = 0; half < 2; ++half) {
    float *even = warp.reg<float>(d[2 * half]), *odd = warp.reg<float>(d[2 * half + 1]);
    for (uint32_t g = 0; g < 8; ++g) {
      const auto row = reinterpret_cast<__m256>(tile.c[8 * half + g]);
      const __m128 low = _mm256_castps256_ps128(row), high = _mm256_extractf128_ps(row, 1);
      _mm_store_ps(even + 4 * g, _mm_shuffle_ps(low, high, 0x88));
      _mm_store_ps(odd + 4 * g, _mm_shuffle_ps(low, high, 0xDD));
    }
  }
}

/** Eight 16-bit numbers, as lanes 4g to 4g + 3 hold them side by side. */
template <class H>
__m256 widen(const uint32_t* from) {
  const __m128i halves = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
  if constexpr (std::is_same_v<H, Half>) return _mm256_cvtph_ps(halves);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

void transpose(__m256 (&rows)[8]) {
  __m256 pairs[8], quads[8];
  for (uint32_t i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (uint32_t i = 0; i < 8; i += 4) {
    quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
    quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
  }
  for (uint32_t i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
  }
}

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
  table["movmatrix"] = transposeForm;
}

}  // namespace cudasim
