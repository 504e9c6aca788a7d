// A tensor-core product, right and with mistakes planted; fragment layouts against the published formulas.
#include <bit>
#include <cmath>

#include "driver/api.h"
#include "tests/check.h"

using namespace cudasim::test;

namespace {

uint16_t bf16(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }
float widen(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

std::vector<uint16_t> halves(size_t count, uint32_t seed) {
  std::vector<uint16_t> made;
  for (const float value : numbers(count, seed)) made.push_back(bf16(value));
  return made;
}

struct Product {
  int rows, columns, depth;
  std::vector<uint16_t> a = halves(static_cast<size_t>(rows) * depth, 1),
                        b = halves(static_cast<size_t>(columns) * depth, 2);
  Buffer deviceA{a}, deviceB{b}, c{static_cast<size_t>(rows) * columns * 4};

  CUresult launchWith(const std::string& kernel) const {
    const Shape shape{static_cast<unsigned>(columns + 63) / 64, 128, 3 * 2 * 4096,
                      static_cast<unsigned>(rows + 63) / 64};
    return launch(kernel, shape, c.address(), deviceA.address(), deviceB.address(), rows, columns, depth);
  }
  double worst() const {
    const auto got = c.read<float>();
    double error = 0;
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < columns; ++j) {
        double sum = 0;
        for (int k = 0; k < depth; ++k) sum += double{widen(a[i * depth + k])} * widen(b[j * depth + k]);
        error = std::max(error, std::fabs(sum - got[i * columns + j]));
      }
    }
    return error;
  }
};

}  // namespace

TEST("a bf16 product with cp.async, swizzle, ldmatrix and mma") {
  const Product product{100, 136, 200};
  check(product.launchWith("gemm_right") == CUDA_SUCCESS, "failed");
  check(product.worst() < 1e-2, "error " + std::to_string(product.worst()));
}

TEST("the product's mma count and wavefronts are the least") {
  cudasimCountersReset();
  const Product product{128, 128, 128};
  check(product.launchWith("gemm_right") == CUDA_SUCCESS, "failed");
  check(counter("gemm_right", "mma") == 128 * 128 * 128 / 2048, "mma " + std::to_string(counter("gemm_right", "mma")));
  check(counter("gemm_right", "wavefronts") == counter("gemm_right", "idealWavefronts"), "bank conflicts");
}

TEST("planted: barrier removed") {
  caught(Product{128, 128, 256}.launchWith("gemm_no_barrier"), CUDA_ERROR_LAUNCH_FAILED, "race: ");
}

TEST("planted: wait for cp.async off by one") {
  caught(Product{64, 64, 256}.launchWith("gemm_wait_off_by_one"), CUDA_ERROR_LAUNCH_FAILED, "asynchronous copy");
}

TEST("planted: predicate dropped") {
  caught(Product{100, 64, 64}.launchWith("gemm_no_predicate"), CUDA_ERROR_ILLEGAL_ADDRESS, "past the end");
}

TEST("planted: swizzle dropped") {
  cudasimCountersReset();
  const Product product{64, 64, 64};
  check(product.launchWith("gemm_no_swizzle") == CUDA_SUCCESS, "failed");
  check(product.worst() < 1e-2, "wrong result");
  check(counter("gemm_no_swizzle", "wavefronts") > counter("gemm_no_swizzle", "idealWavefronts") * 3 / 2,
        "no conflicts");
}

TEST("planted: operands swapped") {
  const Product product{64, 64, 64};
  check(product.launchWith("gemm_swapped_operands") == CUDA_SUCCESS, "failed");
  check(product.worst() > 1, "the result is still right");
}

TEST("mma.m16n8k16: every element of A, B and C lies where the manual says") {
  // One element of A is 1 at a time in turn, B and C number their places: each D is then known.
  std::vector<uint32_t> b(64);
  std::vector<float> c(128);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int k = 2 * (lane % 4) + i % 2 + (i >= 2 ? 8 : 0), n = lane / 4;
      b[2 * lane + i / 2] |= static_cast<uint32_t>(bf16(static_cast<float>(8 * k + n))) << (16 * (i % 2));
      const int row = lane / 4 + (i >= 2 ? 8 : 0), column = 2 * (lane % 4) + i % 2;
      c[4 * lane + i] = static_cast<float>(1000 * (8 * row + column));
    }
  }
  const Buffer deviceB(b), deviceC(c), d(128 * 4);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 8; ++i) {
      std::vector<uint32_t> a(128);
      a[4 * lane + i / 2] = static_cast<uint32_t>(bf16(1)) << (16 * (i % 2));
      const int row = lane / 4 + (i == 2 || i == 3 || i == 6 || i == 7 ? 8 : 0),
                k = 2 * (lane % 4) + i % 2 + (i >= 4 ? 8 : 0);
      const Buffer deviceA(a);
      run("mma_bf16", {1, 32}, deviceA.address(), deviceB.address(), deviceC.address(), d.address());
      const auto got = d.read<float>();
      for (int at = 0; at < 128; ++at) {
        const int dRow = at / 4 / 4 + (at % 4 >= 2 ? 8 : 0), column = 2 * (at / 4 % 4) + at % 2;
        const float product = dRow == row ? static_cast<float>(8 * k + column) : 0;
        check(got[at] == c[at] + product, "A value " + std::to_string(i) + " of lane " + std::to_string(lane));
      }
    }
  }
}

TEST("mma: sums rounded as measured on tensor cores, where it is asked for") {
  // 1 and fifteen times 2^-24: none of them changes a 1 to which they are added one by one. With 16 products at a time
  // and two bits behind the last, all stay, and their sum is cut to 7 units.
  const auto halves = [](float value) { return uint32_t{bf16(value)} * 0x10001u; };
  std::vector<uint32_t> b(64, halves(0x1p-24f));
  for (uint32_t lane = 0; lane < 32; lane += 4) b[2 * lane] = bf16(1) | (halves(0x1p-24f) & 0xFFFF0000);
  const std::vector<float> zeros(128);
  const Buffer deviceB(b), c(zeros), d(128 * 4);
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<uint32_t> a(128, halves(sign));
    const Buffer deviceA(a);
    for (const bool asMeasured : {false, true}) {
      cudasimSetRounding(asMeasured);
      run("mma_bf16", {1, 32}, deviceA.address(), deviceB.address(), c.address(), d.address());
      cudasimSetRounding(false);
      for (const float sum : d.read<float>()) {
        check(sum == sign * (asMeasured ? 1 + 7 * 0x1p-23f : 1), "sum " + std::to_string(sum));
      }
    }
  }
}

TEST("ldmatrix.x4: every element, plain and transposed") {
  std::vector<uint16_t> matrices(256);
  for (uint16_t i = 0; i < 256; ++i) matrices[i] = i;
  const Buffer in(matrices), plain(512), transposed(512);
  run("ldmatrix_x4", {1, 32}, in.address(), plain.address(), transposed.address());
  const auto p = plain.read<uint16_t>(), t = transposed.read<uint16_t>();
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < 4; ++m) {
      for (int h = 0; h < 2; ++h) {
        const int at = 2 * (4 * lane + m) + h, g = lane / 4, e = 2 * (lane % 4) + h;
        check(p[at] == 64 * m + 8 * g + e, "plain, lane " + std::to_string(lane));
        check(t[at] == 64 * m + 8 * e + g, "transposed, lane " + std::to_string(lane));
      }
    }
  }
}
