// Clusters of two blocks: multicast copies, arrivals at the other block's mbarriers, and what goes wrong around them.
#include <cmath>

#include "tests/tensor_map.h"

using namespace cudasim::test;

namespace {

constexpr int kSteps = 6;

struct Ring {
  std::vector<float> values = numbers(8 * kSteps * 32, 4);
  Buffer matrix{values}, out{4 * 32 * 4};
  CUresult launchWith(const std::string& kernel) const {
    const Tensor tensor{matrix.address(), 32, 8 * kSteps, 32, 4};
    return launch(kernel, {4, 64}, mapOf(tensor), out.address(), kSteps);
  }
};

}  // namespace

TEST("a cluster of two blocks, each of which loads half for both") {
  const Ring ring;
  check(ring.launchWith("cluster_ring_right") == CUDA_SUCCESS, "failed");
  const auto got = ring.out.read<float>();
  for (int lane = 0; lane < 32; ++lane) {
    float sum = 0;
    for (int i = lane; i < 8 * kSteps * 32; i += 32) sum += ring.values[i];
    for (int block = 0; block < 4; ++block) check(got[32 * block + lane] == sum, "lane " + std::to_string(lane));
  }
}

TEST("planted: no cluster barrier after the mbarriers are made") {
  caught(Ring().launchWith("cluster_ring_no_start"), CUDA_ERROR_LAUNCH_FAILED, "no mbarrier was initialised");
}

TEST("planted: no cluster barrier at the end") {
  caught(Ring().launchWith("cluster_ring_no_end"), CUDA_ERROR_LAUNCH_FAILED, "which has ended");
}

TEST("planted: a stage is given back to its own block alone") {
  caught(Ring().launchWith("cluster_ring_own_release"), CUDA_ERROR_LAUNCH_FAILED, "of another block");
}

TEST("planted: a half that only one block gets") {
  caught(Ring().launchWith("cluster_ring_own_half"), CUDA_ERROR_LAUNCH_FAILED, "512 bytes missing");
}

TEST("planted: more bytes expected than both halves have") {
  caught(Ring().launchWith("cluster_ring_extra_bytes"), CUDA_ERROR_LAUNCH_FAILED, "16 bytes missing");
}

TEST("a grid that is no multiple of its cluster is refused") {
  const Ring ring;
  const Tensor tensor{ring.matrix.address(), 32, 8 * kSteps, 32, 4};
  caught(launch("cluster_ring_right", {3, 64}, mapOf(tensor), ring.out.address(), kSteps), CUDA_ERROR_INVALID_VALUE,
         "no multiple of the cluster");
}
