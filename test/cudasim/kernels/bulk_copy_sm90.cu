// mbarriers and bulk copies (TMA). Those with `fix` have one mistake where it is 0, the rings as they are named.
#include "async_proxy.cuh"

struct alignas(64) Map {
  uint64_t opaque[16];
};

__device__ void init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared(barrier)), "r"(arrivals) : "memory");
}
__device__ void publish() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ void arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared(barrier)) : "memory");
}
__device__ void expect(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared(barrier)), "r"(bytes) : "memory");
}
__device__ void wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra over;\nbra again;\n"
      "over:\n}" ::"r"(shared(barrier)),
      "r"(parity)
      : "memory");
}
__device__ void load(void* to, const Map& map, int x, int y, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared(to)),
      "l"(&map), "r"(x), "r"(y), "r"(shared(barrier))
      : "memory");
}
__device__ void store(const Map& map, int x, int y, const void* from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map), "r"(x),
               "r"(y), "r"(shared(from))
               : "memory");
}
__device__ void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
__device__ void wait_for_stores() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

/// A box of 64 bytes x 8 rows as TMA lays it down, and the same box stored elsewhere by TMA.
extern "C" __global__ void tile_there_and_back(const __grid_constant__ Map in, const __grid_constant__ Map out, int x,
                                               int y, uint32_t* memory, int words) {
  extern __shared__ __align__(1024) uint32_t tile[];
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    init(&full, 1);
    publish();
    expect(&full, 4 * words);
    load(tile, in, x, y, &full);
    wait(&full, 0);
    for (int i = 0; i < words; ++i) memory[i] = tile[i];
    store(out, x, y, tile);
    commit_stores();
    wait_for_stores();
  }
}

/// A box of three dimensions.
extern "C" __global__ void box_of_three(const __grid_constant__ Map in, int x, int y, int z, uint32_t* memory,
                                        int words) {
  extern __shared__ __align__(1024) uint32_t tile[];
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    init(&full, 1);
    publish();
    expect(&full, 4 * words);
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
        "[%5];" ::"r"(shared(tile)),
        "l"(&in), "r"(x), "r"(y), "r"(z), "r"(shared(&full))
        : "memory");
    wait(&full, 0);
    for (int i = 0; i < words; ++i) memory[i] = tile[i];
  }
}

/// Every warp hands a number to the next, phase by phase: arrivals with a state, waits for it, bytes said by hand.
extern "C" __global__ void barrier_states(int* out, int phases) {
  __shared__ uint64_t barrier;
  __shared__ int value[2];
  const int warp = threadIdx.x / 32;
  if (threadIdx.x == 0) init(&barrier, 64), value[0] = 0;
  __syncthreads();
  for (int phase = 0; phase < phases; ++phase) {
    if (threadIdx.x % 32 == 0 && phase % 2 == warp) value[(phase + 1) % 2] = value[phase % 2] + 1;
    if (threadIdx.x == 0) {
      asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], 24;" ::"r"(shared(&barrier)) : "memory");
      asm volatile("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%0], 24;" ::"r"(shared(&barrier)) : "memory");
    }
    uint64_t state;
    asm volatile("mbarrier.arrive.shared::cta.b64 %0, [%1];" : "=l"(state) : "r"(shared(&barrier)) : "memory");
    int over = 0;
    while (over == 0) {
      asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.shared::cta.b64 p, [%1], %2;\nselp.b32 %0, 1, 0, p;\n}"
                   : "=r"(over)
                   : "r"(shared(&barrier)), "l"(state)
                   : "memory");
    }
  }
  out[threadIdx.x] = value[phases % 2];
}

/// 1 KiB by a bulk copy, negated in place, stored by a bulk copy.
extern "C" __global__ void bulk_line(const uint32_t* from, uint32_t* to, int fix) {
  __shared__ __align__(128) uint32_t line[256];
  __shared__ uint64_t full;
  const int i = threadIdx.x;
  if (i == 0) {
    init(&full, 1);
    publish();
    expect(&full, 1024);
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared(line)),
        "l"(from), "r"(1024), "r"(shared(&full))
        : "memory");
  }
  __syncthreads();
  wait(&full, 0);
  line[i] = ~line[i];
  if (fix) proxy_fence();
  __syncthreads();
  if (i == 0) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared(line)), "r"(1024)
                 : "memory");
    commit_stores();
    wait_for_stores();
  }
}

enum Slip { kNone, kParity, kTooManyBytes, kTooFewBytes, kExtraArrival, kNoPublish, kEarlyRelease, kSecondStage };

/// A producer warp fills two stages of 1 KiB in turn, the other warp adds them up.
template <Slip kSlip>
__device__ void ring(const Map& map, float* out, int steps) {
  __shared__ __align__(1024) float stage[2][256];
  __shared__ uint64_t full[2], empty[2];
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) init(full + i, 1), init(empty + i, 32);
    if (kSlip != kNoPublish) publish();
  }
  __syncthreads();
  if (threadIdx.x == 32) {
    for (int step = 0; step < steps; ++step) {
      wait(empty + step % 2, (step / 2 & 1) ^ 1);
      expect(full + step % 2, kSlip == kTooManyBytes ? 1040 : kSlip == kTooFewBytes ? 1008 : 1024);
      load(stage[step % 2], map, 0, 8 * step, full + step % 2);
    }
  } else if (threadIdx.x < 32) {
    float sum = 0;
    for (int step = 0; step < steps; ++step) {
      const int parity = step / 2 & 1;
      wait(full + (kSlip == kSecondStage ? 0 : step % 2), kSlip == kParity ? parity ^ 1 : parity);
      if (kSlip == kEarlyRelease) arrive(empty + step % 2);
      for (int i = threadIdx.x; i < 256; i += 32) sum += stage[step % 2][i];
      if (kSlip != kEarlyRelease) arrive(empty + step % 2);
      if (kSlip == kExtraArrival && threadIdx.x == 0) arrive(empty + step % 2);
    }
    out[threadIdx.x] = sum;
  }
}

#define RING(name, slip)                                                                                          \
  extern "C" __global__ void __launch_bounds__(64) name(const __grid_constant__ Map map, float* out, int steps) { \
    ring<slip>(map, out, steps);                                                                                  \
  }
RING(ring_right, kNone)
RING(ring_wrong_parity, kParity)
RING(ring_too_many_bytes, kTooManyBytes)
RING(ring_too_few_bytes, kTooFewBytes)
RING(ring_extra_arrival, kExtraArrival)
RING(ring_no_publish, kNoPublish)
RING(ring_early_release, kEarlyRelease)
RING(ring_other_stage, kSecondStage)

/// A cluster barrier, mapa and elect in a cluster of one block.
extern "C" __global__ void cluster_of_one(int* out) {
  __shared__ int value;
  if (threadIdx.x == 0) value = 7;
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  uint32_t at;
  asm volatile("mapa.shared::cluster.u32 %0, %1, 0;" : "=r"(at) : "r"(shared(&value)));
  int elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xFFFFFFFF;\nselp.b32 %0, 1, 0, p;\n}" : "=r"(elected));
  int read;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(read) : "r"(at) : "memory");
  out[threadIdx.x] = read + 10 * elected;
}
