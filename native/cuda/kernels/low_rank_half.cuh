// z = x A^T of a tile of rows of 16-bit numbers, by mma.m16n8k16 (low_rank.cuh).
//
// x is what the product reads, so it is exact; A comes as the sum of kTerms 16-bit numbers (factor_terms.cu), of which
// the tensor cores' sums in float lose no more than fused multiply-adds would. A unit of 16 columns is one step of k:
// thread (g, t) of a warp has columns 4t .. 4t + 3 of a row as elements 2t, 2t + 1, 2t + 8 and 2t + 9, which sums over
// all 16 do not mind, so what it has just stored is its operand. Columns of the tile are elements of z: of all tasks in
// turn, eight at a time, rows of x being gone through again for more; the elements of several small ranks share them.
//
// Order: units are dealt out in turn to kParts parts (row_tile.cuh); a part is one chain of mma, its units ascending,
// of each the terms from high to low; then the parts ascending. A tall warp has two parts of 16 rows in turn. A
// flat one has eight parts of its row, as eight rows of operands of which each of eight sums, with the factors of one
// part, keeps its own: the same chains, and rows of mma.sync do not depend on one another. No other rows change a bit,
// no tile, no task.
// Bytes beside the rows' own: 2 kTerms rank k of A or B a task and block, from L2, which a tall block asks for once for
// its 16 rows. Instructions beside a row's own: kTerms loads and mma a unit and tile.
#pragma once

#include "group.cuh"
#include "mma.cuh"
#include "row_tile.cuh"

namespace tinylora::cuda {

constexpr int kColumns = 8;  // of a tensor tile: elements of z
static_assert(kSweep == kParts * kUnit && kUnit == kChains * kGroup);

/// Of each set and part the sums of a tile. Those of a flat block's sets are added up side by side: its sets are apart
/// by a tile's columns, for banks of their own.
template <class Tile, int kSets>
struct HalfSums {
  static constexpr int kOfPart = Tile::kRows * kColumns;
  static constexpr int kOfSet = kParts * kOfPart + (Tile::kTall ? 0 : kColumns);
  alignas(8) float of_set[kSets][kOfSet];  // written two at a time
};

/// Of the elements of z of all tasks of a set, counted through, number `place`: the index of its task, and its own
/// index within the task. Past the last element, i is not below the task's rank. Unused tasks have rank 0.
struct Element {
  int task;
  int i;
};

template <int kSets, int kMost>
__device__ Element find_element(const LowRankArgs& args, int set, int place) {
  if constexpr (kSets > 1) return {set, place};
  Element found{0, place};
#pragma unroll
  for (int t = 1, before = 0; t < kMost; ++t) {
    before += args.task[t - 1].rank;
    if (place >= before) found = {t, place - before};
  }
  return found;
}

/// Where this lane's part of an element's terms lies, in the first unit of its warp. Past the last element it is that
/// of the first, whose sum is then not used.
template <int kSets, int kMost>
__device__ const uint2* terms_of(const LowRankArgs& args, int set, int place, unsigned first_unit) {
  const unsigned units = static_cast<unsigned>(args.k + kUnit - 1) / kUnit;
  const int only = kSets > 1 ? set : 0;
  const void* right = args.task[only].right;
  const void* const other = right;
  int row = place, left = args.task[only].rank - place;
#pragma unroll
  for (int t = 1; kSets == 1 && t < kMost; ++t) {
    if (left > 0) break;
    row = -left;
    right = args.task[t].right;
    left += args.task[t].rank;
  }
  if (left <= 0) row = 0, right = other;
  const auto* terms = static_cast<const unsigned char*>(right) + kFactorTermsHead;
  const unsigned lane = threadIdx.x % kChains;
  return reinterpret_cast<const uint2*>(terms) + (int64_t{row} * units + first_unit) * (kTerms * kChains) + lane;
}

/// Two words of one term of the factors.
template <int kTerm>
__device__ uint2 load_term(const uint2* terms) {
  uint2 words;
  asm("ld.global.nc.v2.u32 {%0, %1}, [%2+%3];" : "=r"(words.x), "=r"(words.y) : "l"(terms), "n"(kTerm * kUnit * 2));
  return words;
}

/// sum += x A^T over one unit. `low` of the tile's first eight rows, `high` of the other eight.
template <typename Half>
__device__ void add_unit(float (&sum)[4], uint2 low, uint2 high, const uint2* terms) {
  const uint32_t a[4] = {low.x, high.x, low.y, high.y};
  static_assert(kTerms == 3);
  const uint2 factors[kTerms] = {load_term<0>(terms), load_term<1>(terms), load_term<2>(terms)};
#pragma unroll
  for (int term = 0; term < kTerms; ++term) multiply_add<Half>(sum, a, factors[term].x, factors[term].y);
}

/// Goes through the tile's rows; with kSum elements first .. first + kColumns - 1 of z of each set are left in `sums`.
template <typename Half, class Tile, bool kWide, int kSets, int kMost, bool kSum, bool kFirst, class Make>
__device__ __forceinline__ void add_rows(const LowRankArgs& args, HalfSums<Tile, kSets>& sums, int first,
                                         const Make& make) {
  constexpr int kOwned = Tile::kOwned, kUnroll = kWide ? Tile::kUnroll : 1;
  constexpr int kOwnParts = Tile::kTall ? 1 : 32 / kChains;  // of a warp
  const Groups<kWide> groups{args.k};
  const int lane = static_cast<int>(threadIdx.x % 32), group = lane / kChains;
#pragma unroll 1
  for (int turn = 0; turn < Tile::kTurns; ++turn) {
    const int column = Tile::column() + turn * Tile::kTurn, from = column / (kOwnParts * kUnit) * (kOwnParts * kUnit);
    const uint2* terms[kSets];
    float sum[kSets][kOwnParts][4] = {};
    if constexpr (kSum) {
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        terms[set] = terms_of<kSets, kMost>(args, set, first + group, from / kUnit);
      }
    }
    // A sum of a row past the last is that of the last again, and is not used.
    Place place[kOwned];
#pragma unroll
    for (int i = 0; i < kOwned; ++i) {
      const int m = Tile::first_row() + Tile::own(i);
      const int real = !Tile::kTall || m < args.rows;
      place[i].m = kept(real ? m : args.rows - 1);
      place[i].at = kept(int64_t{place[i].m} * args.k + column);
      place[i].real = kept(real);
    }
    const int end = kept(args.k);
#pragma unroll(kUnroll)
    for (int base = from; base < end; base += kSweep) {
      Words<Half> words[kOwned][kSets];
#pragma unroll
      for (int i = 0; i < kOwned; ++i) {
        place[i].column = base + (column - from);
        if constexpr (kWide && !Tile::kTall) {
          // Lanes past the end look at the row's last columns: of no part that is summed.
          Place inside = place[i];
          inside.real = inside.column < args.k;
          if (!inside.real) {
            inside.at -= inside.column - (args.k - kGroup);
            inside.column = args.k - kGroup;
          }
          make(groups, inside, kFirst, words[i]);
        } else {
          make(groups, place[i], kFirst, words[i]);
        }
        place[i].at += kSweep;
      }
      if constexpr (kSum) {
#pragma unroll
        for (int set = 0; set < kSets; ++set) {
#pragma unroll
          for (int part = 0; part < kOwnParts; ++part) {
            if (part > 0 && base + part * kUnit >= args.k) break;
            add_unit<Half>(sum[set][part], words[0][set], Tile::kTall ? words[kOwned - 1][set] : uint2{},
                           terms[set] + part * kTerms * kChains);
          }
          terms[set] += kParts * kTerms * kChains;
        }
      }
    }
    if constexpr (kSum) {
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        float2 kept = make_float2(sum[set][0][0], sum[set][0][1]);
#pragma unroll
        for (int part = 1; part < kOwnParts; ++part) {
          if (part == group) kept = make_float2(sum[set][part][0], sum[set][part][1]);
        }
        auto* to = reinterpret_cast<float2*>(sums.of_set[set] + Tile::part(turn) * sums.kOfPart);
        to[lane % (Tile::kTall ? 32 : kChains)] = kept;
        if constexpr (Tile::kTall) to[32 + lane] = make_float2(sum[set][0][2], sum[set][0][3]);
      }
    }
  }
}

/// Elements first .. first + kColumns - 1 of z of each set: a thread adds the parts of one of a row.
/// inner: kStride numbers an element, one a row; elements of all tasks in turn, or kMaxRank a set.
template <class Tile, int kSets, int kMost, int kStride>
__device__ void add_parts(const LowRankArgs& args, const HalfSums<Tile, kSets>& sums, float* inner, int first) {
  constexpr int kOfSet = Tile::kRows * kColumns;
  if (threadIdx.x >= kSets * kOfSet) return;
  const int set = static_cast<int>(threadIdx.x / kOfSet), own = static_cast<int>(threadIdx.x % kOfSet);
  const int row = own / kColumns, m = Tile::first_row() + row, place = first + own % kColumns;
  float total = 0;
#pragma unroll 8
  for (int part = 0; part < kParts; ++part) total += sums.of_set[set][part * sums.kOfPart + own];
  const Element element = find_element<kSets, kMost>(args, set, place);
  const LowRankTask task = task_of<kMost>(args, element.task);
  if (element.i >= task.rank) return;
  total *= static_cast<const float*>(task.right)[element.i];
  inner[(set * kMaxRank + place) * kStride + row] = total;
  if (m < args.rows) task.inner[int64_t{m} * task.rank + element.i] = total;
}

/// add_rows and add_parts over all ranks; the rows are gone through once even without tasks. Returns how many elements
/// a set has, at most.
template <typename Half, class Tile, int kSets, int kMost, int kStride, class Make>
__device__ __forceinline__ int add_half_rows(const LowRankArgs& args, float* inner, const Make& make) {
  __shared__ HalfSums<Tile, kSets> sums;
  if (args.tasks == 0) {
    args.vector ? add_rows<Half, Tile, true, kSets, kMost, false, true>(args, sums, 0, make)
                : add_rows<Half, Tile, false, kSets, kMost, false, true>(args, sums, 0, make);
    return 0;
  }
  int elements = 0;
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    elements = kSets == 1 ? elements + args.task[t].rank : max(elements, args.task[t].rank);
  }
#pragma unroll 1
  for (int first = 0; first < elements; first += kColumns) {
    if (first == 0) {
      args.vector ? add_rows<Half, Tile, true, kSets, kMost, true, true>(args, sums, 0, make)
                  : add_rows<Half, Tile, false, kSets, kMost, true, true>(args, sums, 0, make);
    } else {
      args.vector ? add_rows<Half, Tile, true, kSets, kMost, true, false>(args, sums, first, make)
                  : add_rows<Half, Tile, false, kSets, kMost, true, false>(args, sums, first, make);
    }
    __syncthreads();
    add_parts<Tile, kSets, kMost, kStride>(args, sums, inner, first);
    __syncthreads();
  }
  return elements;
}

}  // namespace tinylora::cuda
