// kGroup neighbouring elements of a row at a time: 8 or 16 bytes in one move where the arrays allow it, else one by
// one, zeros past the end of the row.
#pragma once

#include "act.cuh"
#include "low_rank.h"

namespace tinylora::cuda {

/// Four neighbours as they lie in memory.
template <typename T>
using Words = std::conditional_t<std::is_same_v<T, float>, float4, uint2>;

__device__ inline void unpack(const float4& words, const float*, float (&values)[kGroup]) {
  values[0] = words.x, values[1] = words.y, values[2] = words.z, values[3] = words.w;
}
__device__ inline void unpack(const uint2& words, const __nv_bfloat16*, float (&values)[kGroup]) {
  // Written so that no moves between integers and floats are left in PTX.
  asm("shl.b32 %0, %1, 16;" : "=f"(values[0]) : "r"(words.x));
  asm("and.b32 %0, %1, 0xffff0000;" : "=f"(values[1]) : "r"(words.x));
  asm("shl.b32 %0, %1, 16;" : "=f"(values[2]) : "r"(words.y));
  asm("and.b32 %0, %1, 0xffff0000;" : "=f"(values[3]) : "r"(words.y));
}

__device__ inline void unpack(const uint2& words, const __half*, float (&values)[kGroup]) {
  const float2 low = pair_of<__half>(words.x), high = pair_of<__half>(words.y);
  values[0] = low.x, values[1] = low.y, values[2] = high.x, values[3] = high.y;
}

__device__ inline float4 packed(const float (&values)[kGroup], const float*) {
  return make_float4(values[0], values[1], values[2], values[3]);
}
template <typename Half>
__device__ uint2 packed(const float (&values)[kGroup], const Half*) {
  return make_uint2(pack<Half>(values[0], values[1]), pack<Half>(values[2], values[3]));
}

__device__ inline const float4* words_of(const float* p) { return reinterpret_cast<const float4*>(p); }
template <typename Half>
__device__ const uint2* words_of(const Half* p) {
  return reinterpret_cast<const uint2*>(p);
}

__device__ inline float4* words_of(float* p) { return reinterpret_cast<float4*>(p); }
template <typename Half>
__device__ uint2* words_of(Half* p) {
  return reinterpret_cast<uint2*>(p);
}

/// A copy, chosen by comparing: args may be a kernel's parameters, which cannot be indexed by a number known at run
/// time without being copied to local memory.
template <int kMost>
__device__ LowRankTask task_of(const LowRankArgs& args, int index) {
  LowRankTask task = args.task[0];
#pragma unroll
  for (int t = 1; t < kMost; ++t) {
    if (t == index) task = args.task[t];
  }
  return task;
}

/// Units of a row of k, the last perhaps in part.
__device__ inline int units_of(int k) { return (k + kUnit - 1) / kUnit; }

/// The same value, hidden from the compiler's analysis: it stays in a register and is not computed again in every turn
/// of a loop.
__device__ inline int64_t kept(int64_t value) {
  asm volatile("" : "+l"(value));
  return value;
}
__device__ inline int kept(int value) {
  asm volatile("" : "+r"(value));
  return value;
}
template <typename T>
__device__ T* kept(T* pointer) {
  asm volatile("" : "+l"(pointer));
  return pointer;
}

__device__ inline void store_words(float4* to, float4 words) { *to = words; }
/// Written so that PTX does not turn the address into one of global memory at each store.
__device__ inline void store_words(uint2* to, uint2 words) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(words.x), "r"(words.y) : "memory");
}

/// Four neighbours of a row.
struct Place {
  int m;       // the row
  int column;  // the first of the four
  int64_t at;  // m k + column
  bool real;   // else a row past the last, for which m is the last: not to be stored
};

/// How the rows of one launch are moved: kWide where LowRankArgs::vector says so, by a branch outside of all loops.
template <bool kWide_>
struct Groups {
  static constexpr bool kWide = kWide_;
  int k;  // elements of a row

  /// Elements i .. i + 3 of a row, at `from`.
  template <typename T>
  __device__ Words<T> load_words(const T* from, int i) const {
    if constexpr (kWide) {
      return __ldca(words_of(from));  // a plain load of a struct is one load a member
    } else {
      float values[kGroup];
      load_each(from, i, values);
      return packed(values, from);
    }
  }
  /// The same, as floats.
  template <typename T>
  __device__ void load(const T* from, int i, float (&values)[kGroup]) const {
    if constexpr (kWide) {
      unpack(load_words(from, i), from, values);
    } else {
      load_each(from, i, values);
    }
  }
  /// The same of a row that is not written while this kernel is there, by it or, where it may begin early, by the
  /// launch before (early_start.cuh): such loads may pass stores.
  template <typename T>
  __device__ void load_fixed(const T* from, int i, float (&values)[kGroup]) const {
    if constexpr (kWide) {
      unpack(__ldg(words_of(from)), from, values);
    } else {
      load_each(from, i, values);
    }
  }
  /// Stores them where `real`, rounded where T is, and returns what was stored.
  template <typename T>
  __device__ Words<T> store(bool real, T* to, int i, const float (&values)[kGroup]) const {
    const Words<T> words = packed(values, to);
    if constexpr (kWide) {
      if (real) store_words(words_of(to), words);
    } else {
#pragma unroll
      for (int e = 0; e < kGroup; ++e) {
        if (real && i + e < k) ::store(to + e, values[e]);
      }
    }
    return words;
  }

 private:
  template <typename T>
  __device__ void load_each(const T* from, int i, float (&values)[kGroup]) const {
#pragma unroll
    for (int e = 0; e < kGroup; ++e) values[e] = i + e < k ? ::load(from + e) : 0.0F;
  }
};

}  // namespace tinylora::cuda
