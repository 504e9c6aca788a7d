// Sums of e^l are kept in units: a unit is 2^n with n a whole number, which is what these functions call it by. So they
// go on in a larger unit, when a larger l comes, with all their bits, and so do terms that were rounded to act: what is
// lost is less than the smallest number of act, or float, in the larger unit.
#pragma once

#include "act.cuh"
#include "powers.cuh"

namespace tinylora::cuda {

/// The smallest unit that e^l does not exceed.
__device__ inline float unit_of(float l) { return ceilf(l * kLog2E); }

/// e^l in that unit: 1/2 to 1.
__device__ inline float in_unit(float l, float unit) { return power_of_two(fmaf(l, kLog2E, -unit)); }

/// For a chunk whose l have the unit `own` after others that have `before`: `before`, so that all go on in one unit,
/// unless act had no room for e^l in it.
template <typename Act>
__device__ inline float unit_after(float before, float own) {
  constexpr float kRoom = std::is_same_v<Act, __half> ? 15 : 64;  // 2^64 leaves sums in float as much again
  return own > before + kRoom ? own : before;
}

/// Sums of e^l in units of numbers up to 1 that are not more than this are nothing beside the target.
inline constexpr float kLeastSum = 0x1.0p-64F;

/// What takes numbers from a unit to one that is not smaller: a power of 2, or 0 where float has it no more.
__device__ inline float unit_ratio(float from, float to) {
  const int exponent = static_cast<int>(fmaxf(from - to, -127.0F));  // -127 for the NaN of two units of no l
  return __int_as_float((exponent + 127) << 23);
}

}  // namespace tinylora::cuda
