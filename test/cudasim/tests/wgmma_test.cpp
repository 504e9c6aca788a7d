// wgmma against the published layouts (PTX manual: matrix descriptor, canonical layouts, fragments), and what goes
// wrong around it.
#include <bit>

#include "tests/tensor_map.h"

using namespace cudasim::test;

namespace {

uint16_t bf16(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }

constexpr uint32_t kChunk = 8;  // T of the manual: elements of 16 bytes

/** An operand in one of the canonical layouts, which the manual gives as CuTe layouts of elements:
 *    K-major   none ((8,m),(T,2)):((1T,SBO),(1,LBO))       swizzled ((8,m),(T,2k)):((wT,SBO),(1,T))
 *    MN-major  none ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO))   swizzled ((T,w,m),(8,k)):((1,T,LBO),(wT,SBO))
 * with w = 2, 4, 8 for 32, 64, 128 bytes, and then Swizzle<log2 w, 4, 3> of the bytes. */
struct Layout {
  uint32_t w;  // 1: no swizzle
  bool mnMajor;
  uint32_t leading, stride;  // bytes

  uint32_t byteOf(uint32_t row, uint32_t k) const {
    const uint32_t sbo = stride / 2, lbo = leading / 2, t = kChunk;
    uint32_t element;
    if (!mnMajor) {
      element = row % 8 * w * t + row / 8 * sbo + k % t + k / t * (w == 1 ? lbo : t);
    } else if (w == 1) {
      element = row % t + row / t * sbo + k % 8 * t + k / 8 * lbo;
    } else {
      element = row % t + row / t % w * t + row / (t * w) * lbo + k % 8 * w * t + k / 8 * sbo;
    }
    const uint32_t byte = 2 * element;
    return byte ^ (byte >> 7 & (w - 1)) << 4;
  }
  uint64_t descriptor(uint32_t at) const {
    const uint64_t mode = w == 1 ? 0 : w == 8 ? 1 : w == 4 ? 2 : 3;
    return uint64_t{at >> 4} | uint64_t{leading >> 4} << 16 | uint64_t{stride >> 4} << 32 | mode << 62;
  }
};

constexpr uint32_t kRows = 64, kColumns = 16, kDepth = 16, kBytesA = 16 << 10, kBytes = 32 << 10;

float a(uint32_t row, uint32_t k) { return static_cast<float>(static_cast<int>(row * 7 + k * 3) % 16 - 8); }
float b(uint32_t column, uint32_t k) { return static_cast<float>(static_cast<int>(column * 5 + k * 11) % 16 - 8); }

double product(uint32_t row, uint32_t column) {
  double sum = 0;
  for (uint32_t k = 0; k < kDepth; ++k) sum += double{a(row, k)} * b(column, k);
  return sum;
}

/** Sums by lane: value i is row 16 warp + g + 8 (i / 2 % 2), column 8 (i / 4) + 2t + i % 2. */
size_t wrongSums(const std::vector<float>& sums, double sign = 1) {
  size_t wrong = 0;
  for (uint32_t thread = 0; thread < 128; ++thread) {
    const uint32_t g = thread % 32 / 4, t = thread % 4;
    for (uint32_t i = 0; i < 8; ++i) {
      const uint32_t row = 16 * (thread / 32) + g + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * t + i % 2;
      wrong += sums[8 * thread + i] != static_cast<float>(sign * product(row, column));
    }
  }
  return wrong;
}

std::vector<uint16_t> lay(const Layout& layoutA, const Layout& layoutB) {
  std::vector<uint16_t> memory(kBytes / 2);
  for (uint32_t k = 0; k < kDepth; ++k) {
    for (uint32_t row = 0; row < kRows; ++row) memory[layoutA.byteOf(row, k) / 2] = bf16(a(row, k));
    for (uint32_t column = 0; column < kColumns; ++column) {
      memory[(kBytesA + layoutB.byteOf(column, k)) / 2] = bf16(b(column, k));
    }
  }
  return memory;
}

CUresult multiply(const Layout& layoutA, const Layout& layoutB, const Layout& saidOfB, std::vector<float>& sums,
                  uint32_t shift = 0) {
  const Buffer memory(lay(layoutA, layoutB)), out(128 * 8 * 4);
  const std::string name = std::string("product_") + (layoutA.mnMajor ? "m" : "k") + (layoutB.mnMajor ? "m" : "k");
  const CUresult result = launch(name, {1, 128, kBytes}, memory.address(), static_cast<int>(kBytes / 16),
                                 layoutA.descriptor(0), saidOfB.descriptor(kBytesA + shift), out.address());
  if (result == CUDA_SUCCESS) sums = out.read<float>();
  return result;
}

/** Strides that leave gaps, so that each is told from the other. */
std::vector<Layout> layouts(bool mnMajor) {
  std::vector<Layout> made;
  for (const uint32_t w : {1u, 2u, 4u, 8u}) {
    made.push_back({w, mnMajor, w == 1 ? 128u : 4096u, w == 1 ? 512u : 128 * w});
  }
  return made;
}

}  // namespace

TEST("wgmma: every canonical layout of A and B, K-major and MN-major") {
  for (const bool majorA : {false, true}) {
    for (const bool majorB : {false, true}) {
      for (const Layout& layoutA : layouts(majorA)) {
        for (const Layout& layoutB : layouts(majorB)) {
          std::vector<float> sums;
          check(multiply(layoutA, layoutB, layoutB, sums) == CUDA_SUCCESS, "failed");
          check(wrongSums(sums) == 0, "A " + std::to_string(16 * layoutA.w) + (majorA ? " MN" : " K") + ", B " +
                                          std::to_string(16 * layoutB.w) + (majorB ? " MN" : " K"));
        }
      }
    }
  }
}

TEST("wgmma: A from registers, negated") {
  const Layout layoutB = layouts(false)[3];
  std::vector<uint16_t> fragments(128 * 8);
  for (uint32_t thread = 0; thread < 128; ++thread) {
    for (uint32_t i = 0; i < 8; ++i) {  // as A of mma.m16n8k16
      const uint32_t row = 16 * (thread / 32) + thread % 32 / 4 + 8 * (i / 2 % 2),
                     k = 2 * (thread % 4) + i % 2 + 8 * (i / 4);
      fragments[8 * thread + i] = bf16(a(row, k));
    }
  }
  const Buffer registers(fragments), memory(lay(layouts(false)[3], layoutB)), out(128 * 8 * 4);
  run("product_registers", {1, 128, kBytes}, registers.address(), memory.address(), static_cast<int>(kBytes / 16),
      layoutB.descriptor(kBytesA), out.address());
  check(wrongSums(out.read<float>(), -1) == 0, "wrong sums");
}

TEST("wgmma: f16, and scale-d 0 where the sums were never written") {
  const Buffer out(128 * 8 * 4);
  run("ones_half", {1, 128}, out.address());
  for (const float sum : out.read<float>()) check(sum == 16, "sum " + std::to_string(sum));
}

TEST("wgmma is counted as so many mma.m16n8k16") {
  const Buffer out(128 * 8 * 4);
  cudasimCountersReset();
  run("ones_right", {1, 128}, out.address());
  check(counter("ones_right", "mma") == 64 * 16 * 16 / 2048, std::to_string(counter("ones_right", "mma")));
  for (const float sum : out.read<float>()) check(sum == 16, "sum " + std::to_string(sum));
}

TEST("planted: B swizzled otherwise than its descriptor says") {
  const Layout right = layouts(false)[3];
  Layout said = right;
  said.w = 4;
  std::vector<float> sums;
  check(multiply(right, right, said, sums) == CUDA_SUCCESS, "failed");
  check(wrongSums(sums) > 128, "the sums are still right");
}

TEST("planted: a descriptor in the middle of its swizzle pattern") {
  const Layout layout = layouts(false)[3];
  std::vector<float> sums;
  caught(multiply(layout, layout, layout, sums, 128), CUDA_ERROR_MISALIGNED_ADDRESS, "a multiple of 1024");
}

TEST("planted: sums read before wgmma.wait_group") {
  const Buffer out(128 * 8 * 4);
  caught(launch("ones_no_wait", {1, 128}, out.address()), CUDA_ERROR_LAUNCH_FAILED, "before wgmma.wait_group");
}

TEST("planted: wgmma.fence missing") {
  const Buffer out(128 * 8 * 4);
  caught(launch("ones_no_fence", {1, 128}, out.address()), CUDA_ERROR_LAUNCH_FAILED, "no wgmma.fence");
}

TEST("planted: operands that threads wrote, without fence.proxy.async") {
  const Buffer out(128 * 8 * 4);
  caught(launch("ones_no_proxy_fence", {1, 128}, out.address()), CUDA_ERROR_LAUNCH_FAILED,
         "no fence.proxy.async since");
}

TEST("planted: an operand overwritten while a wgmma is under way") {
  const Buffer out(128 * 8 * 4);
  caught(launch("ones_overwrites", {1, 128}, out.address()), CUDA_ERROR_LAUNCH_FAILED, "may still read it");
}

TEST("registers of a warpgroup go to others") {
  const Buffer out(384 * 4);
  run("registers_right", {1, 384}, out.address());
  for (const int there : out.read<int>()) check(there == 1, "a thread did not come to the end");
}

TEST("planted: more registers taken than given up") {
  const Buffer out(384 * 4);
  caught(launch("registers_too_many", {1, 384}, out.address()), CUDA_ERROR_LAUNCH_FAILED, "deadlock");
  check(std::string(cudasimLastReport()).find("setmaxnreg.inc") != std::string::npos, "not said where");
}

TEST("planted: registers given up that a thread has not") {
  const Buffer out(384 * 4);
  caught(launch("registers_grown", {1, 384}, out.address()), CUDA_ERROR_ILLEGAL_INSTRUCTION, "setmaxnreg.dec to 176");
}

TEST("stmatrix.x4: every element, plain and transposed") {
  std::vector<uint16_t> registers(256);
  for (uint16_t i = 0; i < 256; ++i) registers[i] = i;
  const Buffer in(registers), plain(512), transposed(512);
  run("stmatrix_x4", {1, 32}, in.address(), plain.address(), transposed.address());
  const auto p = plain.read<uint16_t>(), t = transposed.read<uint16_t>();
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < 4; ++m) {
      for (int h = 0; h < 2; ++h) {
        const int value = 2 * (4 * lane + m) + h, g = lane / 4, e = 2 * (lane % 4) + h;
        check(p[64 * m + 8 * g + e] == value, "plain, lane " + std::to_string(lane));
        check(t[64 * m + 8 * e + g] == value, "transposed, lane " + std::to_string(lane));
      }
    }
  }
}
