// Tensor cores of sm_80: mma.sync and ldmatrix. Products are exact, sums f32 with k ascending.
// Fragments (g = lane / 4, t = lane % 4), from the PTX manual:
//   m16n8k16  A value i: row g + 8 (i in 2, 3, 6, 7), column 2t + i % 2 + 8 (i >= 4); B: k = 2t + i % 2 + 8 (i >= 2),
//             n = g; C: row g + 8 (i >= 2), column 2t + i % 2
//   m16n8k8   the first half of that for 16-bit types; tf32: A value i: row g + 8 (i odd), column t + 4 (i >= 2);
//             B: k = t + 4 i, n = g
#include <array>
#include <cstring>

#include "machine/forms.h"
#include "machine/half.h"
#include "machine/handlers.h"
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
  for (uint32_t row = 0; row < 16; row += 4) {  // four rows at once hide the latency of the sums
    Row sum[4] = {tile.c[row], tile.c[row + 1], tile.c[row + 2], tile.c[row + 3]};
    for (uint32_t k = 0; k < K; ++k) {
      for (uint32_t r = 0; r < 4; ++r) {
        const float a = tile.a[row + r][k];
        const __m256 vector = _mm256_set1_ps(a);
        sum[r] = reinterpret_cast<Row>(
            _mm256_fmadd_ps(vector, reinterpret_cast<__m256>(tile.b[k]), reinterpret_cast<__m256>(sum[r])));
      }
    }
    for (uint32_t r = 0; r < 4; ++r) tile.c[row + r] = sum[r];
  }
}

// slots: d (4), a, b, c (4).

template <uint32_t K>
void loadSums(Warp& warp, const Slot* c, Tile<K>& tile) {
  for (uint32_t i = 0; i < 4; ++i) {
    const float* from = warp.reg<float>(c[i]);
    for (uint32_t lane = 0; lane < kLanes; ++lane) tile.c[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2] = from[lane];
  }
}

template <uint32_t K>
void storeSums(Warp& warp, const Slot* d, const Tile<K>& tile) {
  for (uint32_t i = 0; i < 4; ++i) {
    float* to = warp.reg<float>(d[i]);
    for (uint32_t lane = 0; lane < kLanes; ++lane) to[lane] = tile.c[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
  }
}

template <class H>
void widen(const uint32_t* pairs, float* low, float* high) {
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    low[lane] = toFloat(H{static_cast<uint16_t>(pairs[lane])});
    high[lane] = toFloat(H{static_cast<uint16_t>(pairs[lane] >> 16)});
  }
}

/** K = 16 or 8, 16-bit inputs; a has K / 4 registers of two values, b K / 8. */
template <class H, uint32_t K>
void multiplyHalf(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  constexpr uint32_t aRegisters = K / 4, bRegisters = K / 8;
  const Slot *d = instr.slots, *a = d + 4, *b = a + aRegisters, *c = b + bRegisters;
  Tile<K> tile;
  alignas(64) float low[kLanes], high[kLanes];
  for (uint32_t r = 0; r < aRegisters; ++r) {
    widen<H>(warp.reg<uint32_t>(a[r]), low, high);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      float* at = &tile.a[lane / 4 + 8 * (r % 2)][2 * (lane % 4) + 8 * (r / 2)];
      at[0] = low[lane], at[1] = high[lane];
    }
  }
  for (uint32_t r = 0; r < bRegisters; ++r) {
    widen<H>(warp.reg<uint32_t>(b[r]), low, high);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      tile.b[2 * (lane % 4) + 8 * r][lane / 4] = low[lane];
      tile.b[2 * (lane % 4) + 8 * r + 1][lane / 4] = high[lane];
    }
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

/** slots: address, results. Lane 8m + r names row r of matrix m; a lane gets row lane / 4, elements 2 (lane % 4), + 1.
 */
template <bool Transposed>
void loadMatrix(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!allHere(warp, instr, mask)) return;
  uint64_t address[kLanes];
  laneAddresses(warp, instr, instr.slots[0], address);
  if (static_cast<Space>(instr.modifier >> 8) == Space::Generic) {
    for (uint64_t& a : address) a -= kSharedWindow;
  }
  const uint32_t matrices = instr.modifier & 0xFF;
  SharedMemory& shared = warp.block.shared;
  const uint32_t named = matrices == 4 ? kAllLanes : (1u << 8 * matrices) - 1;
  countWavefronts(warp, instr, named, address, 16);
  alignas(64) uint16_t element[4][8][8];
  forEachLane(named, [&](uint32_t lane) {
    checkShared(warp, lane, address[lane], 16);
    if (address[lane] % 16 != 0) misaligned(lane, address[lane], 16);
    const auto at = static_cast<uint32_t>(address[lane]);
    shared.read(at, 16, kLanes * warp.index + lane, AccessKind::Plain);
    checkSharedDefined(warp, lane, at, 16);
    std::memcpy(element[lane / 8][lane % 8], shared.at(at), 16);
  });
  for (uint32_t m = 0; m < matrices; ++m) {
    uint32_t* to = warp.reg<uint32_t>(instr.slots[1 + m]);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const uint32_t g = lane / 4, t = lane % 4;
      const uint16_t low = Transposed ? element[m][2 * t][g] : element[m][g][2 * t];
      const uint16_t high = Transposed ? element[m][2 * t + 1][g] : element[m][g][2 * t + 1];
      to[lane] = uint32_t{high} << 16 | low;
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
  uint16_t element[8][8];
  const uint32_t* from = warp.reg<uint32_t>(instr.slots[1]);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    element[lane / 4][2 * (lane % 4)] = static_cast<uint16_t>(from[lane]);
    element[lane / 4][2 * (lane % 4) + 1] = static_cast<uint16_t>(from[lane] >> 16);
  }
  uint32_t* to = warp.reg<uint32_t>(instr.slots[0]);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    to[lane] = uint32_t{element[2 * (lane % 4) + 1][lane / 4]} << 16 | element[2 * (lane % 4)][lane / 4];
  }
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
