// Each planted mistake is caught, by the right check; the kernel without it runs clean.
#include <utility>

#include "driver/api.h"
#include "tests/check.h"

using namespace cudasim::test;

TEST("a write past the end of an allocation") {
  const Buffer x(100 * 4);
  run("out_of_bounds", {4, 32}, x.address(), 100, 1);
  caught(launch("out_of_bounds", {4, 32}, x.address(), 100, 0), CUDA_ERROR_ILLEGAL_ADDRESS,
         "past the end of an allocation of 400 bytes");
}

TEST("a report names kernel, block, thread and source line") {
  const Buffer x(100 * 4);
  const CUresult result = launch("out_of_bounds", {4, 32}, x.address(), 100, 0);
  caught(result, CUDA_ERROR_ILLEGAL_ADDRESS, "kernel out_of_bounds, block (3, 0, 0), thread (4, 0, 0): st.global");
  caught(result, CUDA_ERROR_ILLEGAL_ADDRESS, "mistakes.cu:");
}

TEST("an error stays until the context is reset") {
  const Buffer x(100 * 4);
  launch("out_of_bounds", {4, 32}, x.address(), 100, 0);
  run("out_of_bounds", {4, 32}, x.address(), 100, 1);
}

TEST("a write past the end of shared memory") {
  const Buffer x(32 * 4);
  run("shared_out_of_bounds", {1, 32}, x.address(), 1);
  caught(launch("shared_out_of_bounds", {1, 32}, x.address(), 0), CUDA_ERROR_ILLEGAL_ADDRESS, "shared access");
}

TEST("a use after free") {
  CUdeviceptr old;
  {
    const Buffer x(400);
    old = x.address();
  }
  caught(launch("out_of_bounds", {1, 32}, old, 100, 1), CUDA_ERROR_ILLEGAL_ADDRESS, "0 bytes into a freed allocation");
}

TEST("a misaligned read") {
  const Buffer x(std::vector<int>(64, 7)), out(32 * 4);
  run("misaligned", {1, 32}, x.address(), out.address(), 1);
  caught(launch("misaligned", {1, 32}, x.address(), out.address(), 0), CUDA_ERROR_MISALIGNED_ADDRESS,
         "no multiple of 4");
}

TEST("a read of device memory never written") {
  const Buffer x(32 * 4), written(std::vector<float>(32)), out(32 * 4);
  run("unwritten_global", {1, 32}, written.address(), out.address());
  caught(launch("unwritten_global", {1, 32}, x.address(), out.address()), CUDA_ERROR_LAUNCH_FAILED, "never written");
}

TEST("a read of shared memory never written") {
  const Buffer out(32 * 4);
  run("unwritten_shared", {1, 32}, out.address(), 1);
  caught(launch("unwritten_shared", {1, 32}, out.address(), 0), CUDA_ERROR_LAUNCH_FAILED, "shared memory read");
}

TEST("a read of a register never written") {
  const Buffer out(4);
  run("unwritten_register", {1, 1}, out.address(), 1);
  caught(launch("unwritten_register", {1, 1}, out.address(), 0), CUDA_ERROR_LAUNCH_FAILED, "register read");
}

TEST("a race between warps") {
  const Buffer out(128 * 4);
  run("block_race", {1, 128}, out.address(), 1);
  caught(launch("block_race", {1, 128}, out.address(), 0), CUDA_ERROR_LAUNCH_FAILED, "race: write to shared address");
}

TEST("a race within a warp") {
  const Buffer out(32 * 4);
  run("warp_race", {1, 32}, out.address(), 1);
  caught(launch("warp_race", {1, 32}, out.address(), 0), CUDA_ERROR_LAUNCH_FAILED, "race: read of shared address");
}

TEST("a race between warps of a block in global memory, where warps are followed") {
  const Buffer x(std::vector<float>(64)), out(64 * 4);
  const auto raced = [&](bool followed, int fix) {
    cudasimSetFollowing(followed);
    const CUresult result = launch("block_race_in_global", {1, 64}, x.address(), out.address(), fix);
    cudasimSetFollowing(false);
    return result;
  };
  check(raced(true, 1) == CUDA_SUCCESS, "refused behind a barrier");
  check(raced(false, 0) == CUDA_SUCCESS, "refused though it is not followed");
  caught(raced(true, 0), CUDA_ERROR_LAUNCH_FAILED, "another warp wrote in this launch");
}

TEST("a barrier in a branch") {
  const Buffer out(32 * 4);
  run("barrier_in_branch", {1, 32}, out.address(), 1);
  caught(launch("barrier_in_branch", {1, 32}, out.address(), 0), CUDA_ERROR_LAUNCH_FAILED,
         "not all of its lanes reach");
}

TEST("a deadlock, with the place of every warp") {
  const Buffer out(64 * 4);
  run("deadlock", {1, 64}, out.address(), 1);
  const CUresult result = launch("deadlock", {1, 64}, out.address(), 0);
  caught(result, CUDA_ERROR_LAUNCH_FAILED, "deadlock");
  caught(result, CUDA_ERROR_LAUNCH_FAILED, "warp 1 waits at bar");
}

TEST("a shuffle that not all of its members reach") {
  const Buffer out(32 * 4);
  run("shuffle_mask", {1, 32}, out.address(), 1);
  caught(launch("shuffle_mask", {1, 32}, out.address(), 0), CUDA_ERROR_LAUNCH_FAILED, "lanes");
}

TEST("a trap") {
  run("trapped", {1, 32}, 1);
  caught(launch("trapped", {1, 32}, 0), CUDA_ERROR_ASSERT, "trap");
}

TEST("launches that a driver refuses") {
  const Buffer x(400);
  check(launch("out_of_bounds", {0, 32}, x.address(), 100, 1) == CUDA_ERROR_INVALID_VALUE, "an empty grid");
  check(launch("out_of_bounds", {1, 2048}, x.address(), 100, 1) == CUDA_ERROR_INVALID_VALUE, "2048 threads");
  check(launch("out_of_bounds", {1, 32, 64 << 10}, x.address(), 100, 1) == CUDA_ERROR_INVALID_VALUE,
        "64 KiB of shared memory");
}

TEST("a block that reads what others left without fences on both sides of the count") {
  constexpr unsigned kBlocks = 5, kThreads = 64;
  const Buffer parts(std::vector<float>(kBlocks * kThreads)), out(kThreads * 4);
  const auto launched = [&](int before, int after) {
    const Buffer arrived(std::vector<unsigned>(1));
    return launch("last_block", {kBlocks, kThreads}, parts.address(), arrived.address(), out.address(), before, after);
  };
  check(launched(2, 2) == CUDA_SUCCESS && out.read<float>()[kThreads - 1] == kBlocks, "with both");
  for (const auto& [before, after] : {std::pair{0, 2}, {2, 0}, {1, 2}, {2, 1}}) {
    caught(launched(before, after), CUDA_ERROR_LAUNCH_FAILED, "another warp wrote in this launch");
  }
  check(launched(2, 2) == CUDA_SUCCESS, "what a launch wrote is there for the next");
}

TEST("a block that reads what others write") {
  const Buffer x(std::vector<float>(64 * 32)), out(64 * 32 * 4);
  run("other_blocks", {64, 32}, x.address(), out.address(), 1);
  caught(launch("other_blocks", {64, 32}, x.address(), out.address(), 0), CUDA_ERROR_LAUNCH_FAILED,
         "another block wrote in this launch");
}

TEST("a read through the read-only path of what the launch writes") {
  const Buffer x(std::vector<float>(32)), out(32 * 4);
  run("read_only", {1, 32}, x.address(), out.address(), 1);
  caught(launch("read_only", {1, 32}, x.address(), out.address(), 0), CUDA_ERROR_LAUNCH_FAILED, "read-only path");
}

TEST("pairs in shared memory that asks for the alignment of words") {
  const Buffer out(32 * 4);
  run("words_in_pairs", {1, 32}, out.address(), 1);
  caught(launch("words_in_pairs", {1, 32}, out.address(), 0), CUDA_ERROR_MISALIGNED_ADDRESS, "no multiple of 8");
}
