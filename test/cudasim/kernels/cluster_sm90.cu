// Two blocks that share what they load: a tile of two halves, of which each block loads one for both (multicast).
#include "async_proxy.cuh"

struct alignas(64) Map {
  uint64_t opaque[16];
};

enum Slip { kNone, kNoStart, kNoEnd, kOwnRelease, kOwnHalf, kExtraBytes };

__device__ void wait(uint32_t barrier, int parity) {
  asm volatile(
      "{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra over;\nbra again;\n"
      "over:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
__device__ uint32_t in_block(uint32_t address, uint32_t rank) {
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(address), "r"(rank));
  return address;
}
__device__ void meet() { asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory"); }

/// Thread 32 loads, warp 0 adds up: out[block, lane] = sum over steps of both halves, 128 words each.
template <Slip kSlip>
__device__ void ring(const Map& map, float* out, int steps) {
  __shared__ __align__(1024) float stage[2][256];
  __shared__ uint64_t full[2], empty[2];
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared(full + i)) : "memory");
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared(empty + i)), "r"(kSlip == kOwnRelease ? 1 : 2)
                   : "memory");
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (kSlip != kNoStart) meet();
  if (threadIdx.x == 32) {
    for (int step = 0; step < steps; ++step) {
      const int s = step % 2;
      wait(shared(empty + s), (step / 2 & 1) ^ 1);
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared(full + s)),
                   "r"(kSlip == kExtraBytes ? 1040 : 1024)
                   : "memory");
      const auto blocks = static_cast<uint16_t>(kSlip == kOwnHalf ? 1 << rank : 3);
      asm volatile(
          "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
          "[%1, {%2, %3}], [%4], %5;" ::"r"(shared(stage[s] + 128 * rank)),
          "l"(&map), "r"(0), "r"(8 * step + 4 * static_cast<int>(rank)), "r"(shared(full + s)), "h"(blocks)
          : "memory");
    }
  } else if (threadIdx.x < 32) {
    float sum = 0;
    for (int step = 0; step < steps; ++step) {
      const int s = step % 2;
      wait(shared(full + s), step / 2 & 1);
      for (int i = threadIdx.x; i < 256; i += 32) sum += stage[s][i];
      __syncwarp();
      if (threadIdx.x == 0) {
        for (uint32_t block = 0; block < 2; ++block) {
          if (kSlip == kOwnRelease && block != rank) continue;
          asm volatile(
              "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(in_block(shared(empty + s), block))
              : "memory");
        }
      }
    }
    out[32 * blockIdx.x + threadIdx.x] = sum;
  }
  if (kSlip != kNoEnd) meet();
}

#define RING(name, slip)                                                     \
  extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(64) \
      name(const __grid_constant__ Map map, float* out, int steps) {         \
    ring<slip>(map, out, steps);                                             \
  }
RING(cluster_ring_right, kNone)
RING(cluster_ring_no_start, kNoStart)
RING(cluster_ring_no_end, kNoEnd)
RING(cluster_ring_own_release, kOwnRelease)
RING(cluster_ring_own_half, kOwnHalf)
RING(cluster_ring_extra_bytes, kExtraBytes)
