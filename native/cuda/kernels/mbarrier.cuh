// sm_90: barriers in shared memory that count arrivals and bytes, and the tile copies (TMA) that arrive at them.
//
// A phase of a barrier ends when `arrivals` arrivals have come and as many bytes as were expected; waits name the
// parity of the phase. The first phase has parity 0, so a wait for parity 1 passes at once on a fresh barrier.
#pragma once

#include <cstdint>

#include "mma.cuh"
#include "tensor_map.h"

namespace tinylora::cuda {

__device__ inline void init_barrier(std::uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
/// Makes the initialisation known to copies, which go another way to memory (the async proxy).
__device__ inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory"); }

__device__ inline void arrive(std::uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
}
/// At the barrier in the same place of another block of the cluster, or of this one. It orders nothing but within the
/// block: whoever waits may write what copies and products have read, and reads nothing. `.release.cluster` would have
/// every arrival wait for a fence of the whole device.
__device__ inline void arrive_in_block(std::uint64_t* barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}
/// All threads of the cluster.
__device__ inline void meet_cluster() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;\n" ::: "memory");
}
__device__ inline void arrive_expecting(std::uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
__device__ inline void wait_phase(std::uint64_t* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra over;\n"
      "bra again;\n"
      "over:\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

/// Copies the box of `map` that begins at element (column, row) to shared memory; zeros outside the tensor. Its bytes
/// arrive at `barrier`.
__device__ inline void copy_tile(void* to, const TensorMap& map, int column, int row, std::uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];\n" ::"r"(
          shared_address(to)),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}
/// The same to the same place in every block of the cluster whose bit in `blocks` is set, arriving at the barrier of
/// each.
__device__ inline void copy_tile_to_cluster(void* to, const TensorMap& map, int column, int row, std::uint64_t* barrier,
                                            int blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3}], [%4], %5;\n" ::"r"(shared_address(to)),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(static_cast<std::uint16_t>(blocks))
      : "memory");
}

/// Registers of a thread of this warpgroup, a multiple of 8: what one gives up another can take.
template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

}  // namespace tinylora::cuda
