// Tensor-core pieces of sm_80: asynchronous copies into swizzled shared tiles, ldmatrix, mma.sync m16n8k16.
//
// Fragments (g = lane / 4, t = lane % 4):
//   A 16 x 16  register i holds row g + 8 (i & 1), columns 2t + 8 (i >> 1) and the next
//   B 16 x 8   register i holds k = 2t + 8 i and the next, column g
//   C 16 x 8   value i is row g + 8 (i >> 1), column 2t + (i & 1)
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace tinylora::cuda {

/// Place (in 16-byte chunks) of chunk `chunk` of row `row` in a shared tile of kChunks (2, 4, 8, 16, ...) chunks a row:
/// eight rows of one column of chunks lie in eight different groups of banks, so ldmatrix has no conflicts.
template <int kChunks>
__device__ inline int swizzled(int row, int chunk) {
  constexpr int kRowsApart = kChunks >= 8 ? 1 : 8 / kChunks;  // rows that share 128 bytes
  constexpr int kMask = kChunks >= 8 ? 7 : kChunks - 1;
  return row * kChunks + (chunk ^ (row / kRowsApart & kMask));
}

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// 16 bytes from global to shared memory; zeros where not `valid` (then nothing is read).
__device__ inline void copy_async(void* to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
/// The same for 4 bytes. It has a name of its own: an overload for floats would be chosen for 16-byte copies of floats,
/// too.
__device__ inline void copy_word_async(void* to, const void* from, bool valid) {
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/// Waits until at most kPending groups of this thread are under way.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}
__device__ inline void wait_for_all_copies() { asm volatile("cp.async.wait_all;\n" ::: "memory"); }

__device__ inline void load_matrices(std::uint32_t (&r)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
__device__ inline void load_matrices(std::uint32_t (&r)[4], const void* row) { load_matrices(r, shared_address(row)); }
/// The first two of load_matrices; the addresses of lanes 16 to 31 are not used.
__device__ inline void load_two_matrices(std::uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(std::uint32_t (&r)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
__device__ inline void load_matrices_transposed(std::uint32_t (&r)[4], const void* row) {
  load_matrices_transposed(r, shared_address(row));
}

/// Where a lane's ldmatrix reads a shared tile of kChunks chunks a row that lies on 128 bytes: one register, and an xor
/// for every pair of chunks.
template <int kChunks>
struct MatrixRow {
  std::uint32_t address;

  __device__ MatrixRow(const uint4* tile, int row, int chunk)
      : address(shared_address(tile + swizzled<kChunks>(row, chunk))) {}
  /// `even` chunks further along the row.
  __device__ std::uint32_t at(int even) const {
    return (address ^ static_cast<std::uint32_t>(even & 7) * 16) + static_cast<std::uint32_t>(even & 8) * 16;
  }
};

/// c += a b, the elements of a and b of type Half (bf16 or fp16), sums in float.
template <typename Half = __nv_bfloat16>
__device__ inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (std::is_same_v<Half, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace tinylora::cuda
