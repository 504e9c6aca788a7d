// Bulk copies and mbarriers: where TMA puts a box, and what goes wrong around the barriers.
#include <numeric>

#include "tests/tensor_map.h"

using namespace cudasim::test;

namespace {

constexpr int kColumns = 40, kRows = 20;

std::vector<uint32_t> counting(size_t count) {
  std::vector<uint32_t> made(count);
  std::iota(made.begin(), made.end(), 1u);
  return made;
}

void thereAndBack(int swizzle, uint32_t boxColumns, uint32_t boxRows, int x, int y) {
  const auto matrix = counting(kColumns * kRows);
  const Buffer in(matrix), out(std::vector<uint32_t>(kColumns * kRows)), memory(4ull * boxColumns * boxRows);
  const Tensor from{in.address(), kColumns, kRows, boxColumns, boxRows, swizzle};
  Tensor to = from;
  to.address = out.address();
  const auto words = static_cast<int>(boxColumns * boxRows);
  run("tile_there_and_back", {1, 32, 4u * boxColumns * boxRows}, mapOf(from), mapOf(to), x, y, memory.address(), words);
  const auto laid = memory.read<uint32_t>(), back = out.read<uint32_t>();
  const uint32_t mask = swizzle == 0 ? 0 : (1u << swizzle) - 1;
  std::vector<uint32_t> expected(kColumns * kRows);
  for (int row = 0; row < static_cast<int>(boxRows); ++row) {
    for (int column = 0; column < static_cast<int>(boxColumns); ++column) {
      const int fromRow = y + row, fromColumn = x + column;
      const bool inside = fromRow >= 0 && fromRow < kRows && fromColumn >= 0 && fromColumn < kColumns;
      const uint32_t value = inside ? matrix[fromRow * kColumns + fromColumn] : 0;
      const uint32_t byte = 4 * (row * boxColumns + column), place = byte ^ (byte >> 7 & mask) << 4;
      check(laid[place / 4] == value, "row " + std::to_string(row) + ", column " + std::to_string(column));
      if (inside) expected[fromRow * kColumns + fromColumn] = value;
    }
  }
  check(back == expected, "what came back differs");
}

struct Ring {
  std::vector<float> values = numbers(8 * 6 * 32, 4);
  Buffer matrix{values}, out{32 * 4};
  CUresult launchWith(const std::string& kernel, int steps = 6) const {
    const Tensor tensor{matrix.address(), 32, 48, 32, 8, 3};
    return launch(kernel, {1, 64}, mapOf(tensor), out.address(), steps);
  }
};

}  // namespace

TEST("TMA: a box with each swizzle, inside and over every edge, there and back") {
  for (int swizzle = 0; swizzle < 4; ++swizzle) {
    const uint32_t columns = swizzle == 0 ? 12 : 4u << swizzle;
    for (const auto& [x, y] : {std::pair{0, 0}, {8, 3}, {-5, -3}, {30, 15}, {100, 0}}) {
      thereAndBack(swizzle, columns, 8, x, y);
    }
  }
}

TEST("TMA: a box of three dimensions, partly outside") {
  const auto values = counting(16 * 6 * 5);
  const Buffer in(values), memory(4 * 8 * 3 * 2);
  const std::array<uint64_t, 3> sizes{16, 6, 5};
  const std::array<uint64_t, 2> strides{64, 384};
  const std::array<uint32_t, 3> box{8, 3, 2}, steps{1, 1, 1};
  CUtensorMap map;
  check(cuTensorMapEncodeTiled(&map, kFloat32, 3, reinterpret_cast<void*>(in.address()), sizes.data(), strides.data(),
                               box.data(), steps.data(), 0, 0, 0, 0) == CUDA_SUCCESS,
        "the map");
  run("box_of_three", {1, 32, 192}, map, 12, 4, -1, memory.address(), 48);
  const auto got = memory.read<uint32_t>();
  for (int i = 0; i < 48; ++i) {
    const int x = 12 + i % 8, y = 4 + i / 8 % 3, z = -1 + i / 24;
    const bool inside = x < 16 && y < 6 && z >= 0;
    check(got[i] == (inside ? values[16 * (6 * z + y) + x] : 0), "element " + std::to_string(i));
  }
}

TEST("mbarriers: states, test_wait, bytes said by hand") {
  const Buffer out(64 * 4);
  run("barrier_states", {1, 64}, out.address(), 7);
  for (const int value : out.read<int>()) check(value == 7, "value " + std::to_string(value));
}

TEST("PTX for another specific architecture is refused") {
  CUmodule module;
  const char* text = ".version 8.7\n.target sm_80a\n.address_size 64\n";
  check(cuModuleLoadData(&module, text) == CUDA_ERROR_NO_BINARY_FOR_GPU, "loaded");
}

TEST("a bulk copy there, changed, and back") {
  const Buffer in(counting(256)), out(1024);
  run("bulk_line", {1, 256}, in.address(), out.address(), 1);
  const auto got = out.read<uint32_t>();
  for (uint32_t i = 0; i < 256; ++i) check(got[i] == ~(i + 1), "word " + std::to_string(i));
}

TEST("planted: a bulk store of what threads wrote, without fence.proxy.async") {
  const Buffer in(counting(256)), out(1024);
  caught(launch("bulk_line", {1, 256}, in.address(), out.address(), 0), CUDA_ERROR_LAUNCH_FAILED,
         "no fence.proxy.async since");
}

TEST("a producer and a consumer with two stages") {
  const Ring ring;
  check(ring.launchWith("ring_right") == CUDA_SUCCESS, "failed");
  const auto got = ring.out.read<float>();
  const double sum = std::accumulate(got.begin(), got.end(), 0.0);
  const double expected = std::accumulate(ring.values.begin(), ring.values.end(), 0.0);
  check(std::abs(sum - expected) < 1e-2, "sum " + std::to_string(sum));
}

TEST("planted: a wait for the wrong parity") {
  caught(Ring().launchWith("ring_wrong_parity"), CUDA_ERROR_LAUNCH_FAILED, "an asynchronous copy of thread 32");
}

TEST("planted: a wait for the barrier of the other stage") {
  caught(Ring().launchWith("ring_other_stage"), CUDA_ERROR_LAUNCH_FAILED, "an asynchronous copy of thread 32");
}

TEST("planted: expect_tx of more bytes than come is a deadlock that names barriers and warps") {
  const CUresult result = Ring().launchWith("ring_too_many_bytes");
  caught(result, CUDA_ERROR_LAUNCH_FAILED, "deadlock: no warp can go on");
  caught(result, CUDA_ERROR_LAUNCH_FAILED, "phase 0: 0 of 1 arrivals missing, 16 bytes missing");
  caught(result, CUDA_ERROR_LAUNCH_FAILED, "warp 0 at mbarrier.try_wait");
}

TEST("planted: expect_tx of fewer bytes than come") {
  caught(Ring().launchWith("ring_too_few_bytes"), CUDA_ERROR_LAUNCH_FAILED,
         "16 bytes more arrived than expect_tx said");
}

TEST("planted: one arrival too many") {
  caught(Ring().launchWith("ring_extra_arrival"), CUDA_ERROR_LAUNCH_FAILED, "too many arrivals at mbarrier");
}

TEST("planted: barriers that were never made known to the async proxy") {
  caught(Ring().launchWith("ring_no_publish"), CUDA_ERROR_LAUNCH_FAILED, "no fence.mbarrier_init");
}

TEST("planted: a stage given back before it was read") {
  caught(Ring().launchWith("ring_early_release"), CUDA_ERROR_LAUNCH_FAILED, "race: ");
}

TEST("tensor maps that a driver refuses") {
  const Buffer x(4096);
  const Tensor good{x.address(), 32, 16, 32, 8, 3};
  CUtensorMap map;
  check(encode(good, map) == CUDA_SUCCESS, "the good one");
  const auto refused = [&](Tensor bad, const std::string& why) {
    caught(encode(bad, map), CUDA_ERROR_INVALID_VALUE, why);
  };
  Tensor bad = good;
  bad.address += 8;
  refused(bad, "no multiple of 16");
  bad = good;
  bad.stride += 4;
  refused(bad, "globalStrides[0] = 132");
  bad = good;
  bad.stride = 112;
  refused(bad, "less than what it steps over");
  bad = good;
  bad.boxRows = 257;
  refused(bad, "boxDim[1] = 257");
  bad = good;
  bad.boxColumns = 34;
  refused(bad, "no multiple of 16");
  bad = good;
  bad.swizzle = 2;
  refused(bad, "the swizzle spans 64");
}

TEST("a cluster of one block: barrier, mapa, elect") {
  const Buffer out(64 * 4);
  run("cluster_of_one", {1, 64}, out.address());
  const auto got = out.read<int>();
  for (int i = 0; i < 64; ++i) check(got[i] == (i % 32 == 0 ? 17 : 7), "thread " + std::to_string(i));
}
