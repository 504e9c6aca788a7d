// sm_90a: wgmma, the product that four warps (a warpgroup) start together and that reads its operands from shared
// memory through descriptors. PTX ISA, "Asynchronous warpgroup level matrix".
//
// Sums of m64nNk16 (warp w of the group, g = lane / 4, t = lane % 4): value i of N / 2 is row 16 w + g + 8 (i / 2 % 2),
// column 8 (i / 4) + 2t + i % 2: four neighbouring values are one C fragment of mma.m16n8k16.
#pragma once

#include <cstdint>

#include "mma.cuh"

namespace tinylora::cuda {

/// Rows (of k when K is along them, of M or N otherwise) of 128 bytes, 128-byte swizzle, eight rows a group of 1 KiB.
/// `apart`: bytes between blocks of 64 along M or N, where those run along the 128 bytes.
__device__ inline std::uint64_t tile_descriptor(const void* tile, int apart) {
  const auto field = [](std::uint32_t bytes) { return std::uint64_t{(bytes & 0x3FFFF) >> 4}; };
  return field(shared_address(tile)) | field(apart) << 16 | field(1024) << 32 | std::uint64_t{1} << 62;
}

/// Before the first product, and again after the sums were touched by anything else.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
/// Until at most kPending committed groups are under way.
template <int kPending>
__device__ inline void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}
/// The compiler must not move what it does with the sums across this.
template <int kCount>
__device__ inline void hold(float (&sum)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}

#define TINYLORA_SUM8(i)                                                                                  \
  "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3]), "+f"(sum[i + 4]), "+f"(sum[i + 5]), \
      "+f"(sum[i + 6]), "+f"(sum[i + 7])

/// The instruction of one N for both types of operands; behind `registers` the sums.
#define TINYLORA_WGMMA(n, registers, ...)                                                         \
  if constexpr (std::is_same_v<Half, __half>) {                                                   \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" n "k16.f32.f16.f16 " registers:__VA_ARGS__   \
                 : "l"(a), "l"(b), "n"(kTransposed ? 1 : 0));                                     \
  } else {                                                                                        \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 " registers:__VA_ARGS__ \
                 : "l"(a), "l"(b), "n"(kTransposed ? 1 : 0));                                     \
  }

/// sum += a b over 16 k, elements of type Half (bf16 or fp16): a [64, k] and b [N, k] by descriptors; kTransposed: b
/// lies as [k, N].
template <typename Half, bool kTransposed>
__device__ inline void multiply_add(float (&sum)[8], std::uint64_t a, std::uint64_t b) {
  TINYLORA_WGMMA("16",
                 "{%0, %1, %2, %3, %4, %5, %6, %7}, "
                 "%8, %9, 1, 1, 1, 0, %10;\n",
                 TINYLORA_SUM8(0))
}
template <typename Half, bool kTransposed>
__device__ inline void multiply_add(float (&sum)[16], std::uint64_t a, std::uint64_t b) {
  TINYLORA_WGMMA("32",
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
                 "%16, %17, 1, 1, 1, 0, %18;\n",
                 TINYLORA_SUM8(0), TINYLORA_SUM8(8))
}
template <typename Half, bool kTransposed>
__device__ inline void multiply_add(float (&sum)[32], std::uint64_t a, std::uint64_t b) {
  TINYLORA_WGMMA("64",
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
                 "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "%32, %33, 1, 1, 1, 0, %34;\n",
                 TINYLORA_SUM8(0), TINYLORA_SUM8(8), TINYLORA_SUM8(16), TINYLORA_SUM8(24))
}
template <typename Half, bool kTransposed>
__device__ inline void multiply_add(float (&sum)[64], std::uint64_t a, std::uint64_t b) {
  TINYLORA_WGMMA(
      "128",
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
      "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "
      "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, 1, 1, 1, 0, %66;\n",
      TINYLORA_SUM8(0), TINYLORA_SUM8(8), TINYLORA_SUM8(16), TINYLORA_SUM8(24), TINYLORA_SUM8(32), TINYLORA_SUM8(40),
      TINYLORA_SUM8(48), TINYLORA_SUM8(56))
}
template <typename Half, bool kTransposed>
__device__ inline void multiply_add(float (&sum)[128], std::uint64_t a, std::uint64_t b) {
  TINYLORA_WGMMA(
      "256",
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
      "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "
      "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, "
      "%85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, "
      "%105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, "
      "%122, %123, %124, %125, %126, %127}, "
      "%128, %129, 1, 1, 1, 0, %130;\n",
      TINYLORA_SUM8(0), TINYLORA_SUM8(8), TINYLORA_SUM8(16), TINYLORA_SUM8(24), TINYLORA_SUM8(32), TINYLORA_SUM8(40),
      TINYLORA_SUM8(48), TINYLORA_SUM8(56), TINYLORA_SUM8(64), TINYLORA_SUM8(72), TINYLORA_SUM8(80), TINYLORA_SUM8(88),
      TINYLORA_SUM8(96), TINYLORA_SUM8(104), TINYLORA_SUM8(112), TINYLORA_SUM8(120))
}

#undef TINYLORA_WGMMA
#undef TINYLORA_SUM8

}  // namespace tinylora::cuda
