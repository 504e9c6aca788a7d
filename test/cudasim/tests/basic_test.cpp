// Arithmetic, divergence, reductions and warp operations against the host; modules and forms that are not known.
#include <bit>
#include <cmath>
#include <map>

#include "driver/api.h"
#include "tests/check.h"

using namespace cudasim::test;

namespace {

std::vector<int> integers(size_t count, uint32_t seed) {
  std::vector<int> made(count);
  for (int& value : made) {
    seed = seed * 1664525 + 1013904223;
    value = static_cast<int>(seed) >> (seed % 24);
  }
  return made;
}

}  // namespace

TEST("integer arithmetic") {
  const auto a = integers(200, 5), b = integers(200, 9);
  const Buffer da(a), db(b), out(200 * 16 * 4);
  run("integers", {4, 64}, da.address(), db.address(), out.address(), 200);
  const auto got = out.read<int>();
  for (size_t i = 0; i < a.size(); ++i) {
    const auto ua = static_cast<uint32_t>(a[i]), ub = static_cast<uint32_t>(b[i]);
    const int64_t wide = int64_t{a[i]} * b[i];
    uint32_t reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= (ua >> bit & 1) << (31 - bit);
    const uint32_t lowest = ua == 0 ? 0 : static_cast<uint32_t>(std::countr_zero(ua)) + 1;
    const uint32_t expected[16] = {
        ua + ub,
        ua * ub,
        static_cast<uint32_t>(a[i] / (b[i] | 1)),
        static_cast<uint32_t>(a[i] % (b[i] | 1)),
        static_cast<uint32_t>(wide >> 32),
        static_cast<uint32_t>(uint64_t{ua} * ub >> 32),
        static_cast<uint32_t>(std::popcount(ua)) + 100 * static_cast<uint32_t>(std::countl_zero(ua)) + 10000 * lowest,
        reversed,
        (ua & 0xFFFF) | ub << 16,
        static_cast<uint32_t>(a[i] >> (ub & 31)),
        static_cast<uint32_t>((uint64_t{ub} << 32 | ua) << (ub & 31) >> 32),
        static_cast<uint32_t>(wide >> 17),
        static_cast<uint32_t>(std::min(a[i], b[i])) ^ std::max(ua, ub),
        static_cast<uint32_t>(static_cast<int8_t>(ua) + static_cast<uint8_t>(ub) + static_cast<int16_t>(ua)),
        (a[i] < 0 ? 0 - ua : ua) + ((ua & ub) | ~ua),
        static_cast<uint32_t>(uint64_t{ua} * ub / (ub | 3))};
    for (size_t k = 0; k < 16; ++k) {
      check(static_cast<uint32_t>(got[16 * i + k]) == expected[k],
            "result " + std::to_string(k) + " of " + std::to_string(a[i]) + ", " + std::to_string(b[i]));
    }
  }
}

TEST("exp, sin, cos, log, tanh, division and conversions") {
  auto x = numbers(190, 3);
  x[0] = 0, x[1] = 1e5f, x[2] = -87.3f, x[3] = 3e8f, x[4] = -1e-30f;  // beyond the fast path of sin, too
  const Buffer dx(x), out(x.size() * 12 * 4);
  run("functions", {6, 32}, dx.address(), out.address(), static_cast<int>(x.size()));
  const auto got = out.read<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    const float f = x[i];
    const double nearest = std::clamp(std::nearbyint(v), -2147483648.0, 2147483647.0);
    const double down = std::clamp(std::floor(v), -2147483648.0, 2147483647.0);
    const double expected[12] = {
        std::exp(v),
        std::sin(v),
        std::cos(v),
        std::log(static_cast<double>(std::fabs(f) + 1e-3f)),
        std::tanh(v),
        1 / std::sqrt(std::fabs(v) + 1),
        v / 3.7f,
        std::sqrt(std::fabs(v)),
        0,
        0,
        static_cast<double>(static_cast<int32_t>(static_cast<int64_t>(nearest) + 2 * static_cast<int64_t>(down))),
        std::sin(v) + v * 1e-9};
    for (size_t k = 0; k < 12; ++k) {
      if (k == 8 || k == 9) {
        const double step = k == 8 ? 1.0 / 256 : 1.0 / 2048;
        const bool fits = k == 8 || std::fabs(v) < 65504;
        check(!fits || std::fabs(got[12 * i + k] - v) <= std::fabs(v) * step + 1e-7, "narrowing " + std::to_string(f));
      } else {
        const double error = std::fabs(got[12 * i + k] - expected[k]);
        check(error <= 5e-7 * std::fabs(expected[k]) + 1e-7 || got[12 * i + k] == static_cast<float>(expected[k]),
              "function " + std::to_string(k) + " of " + std::to_string(f) + ": " + std::to_string(got[12 * i + k]) +
                  ", expected " + std::to_string(expected[k]));
      }
    }
  }
}

TEST("ex2: .ftz gives zeros below 2^-126, approximations are off where it is asked for") {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i) x[i] = static_cast<float>(i - 140);
  x[30] = 0, x[31] = -0.3f;
  const Buffer in(x), kept(32 * 4), flushed(32 * 4);
  const auto powers = [&] {
    run("powers", {1, 32}, in.address(), kept.address(), flushed.address());
    return kept.read<float>();
  };
  const auto exact = powers();
  for (int i = 0; i < 30; ++i) {
    check(exact[i] == std::ldexp(1.0f, i - 140), "2^" + std::to_string(i - 140));
    check(flushed.read<float>()[i] == (i < 14 ? 0 : exact[i]), "flushed, 2^" + std::to_string(i - 140));
  }
  cudasimSetRounding(true);
  const auto rounded = powers();
  cudasimSetRounding(false);
  check(rounded[30] == 1, "2^0 is not 1");
  check(rounded[31] != exact[31], "an approximation is exact");
  check(std::fabs(rounded[31] - exact[31]) <= exact[31] * 0x1p-22f, "an approximation is too far off");
}

TEST("lanes that loop and branch each their own way") {
  std::vector<int> start(300);
  for (int i = 0; i < 300; ++i) start[i] = i + 1;
  const Buffer in(start), out(300 * 4);
  run("diverge", {3, 128}, in.address(), out.address(), 300);
  const auto got = out.read<int>();
  for (int i = 0; i < 300; ++i) {
    unsigned value = start[i];
    int count = 0;
    while (value != 1) {
      value = value % 2 == 0 ? value / 2 : 3 * value + 1;
      if (++count == 1000) break;
    }
    switch (count % 5) {
      case 0:
        count += 10;
        break;
      case 1:
        count *= 3;
        break;
      case 2:
        count -= 7;
        break;
      case 3:
        count ^= 21;
        break;
      default:
        count = -count;
    }
    check(got[i] == count, "lane " + std::to_string(i));
  }
}

TEST("a reduction over shuffles and shared memory") {
  std::vector<float> x(5000, 1.0f);
  const Buffer in(x), out(3 * 4);
  run("reduce", {3, 256}, in.address(), out.address(), 5000);
  const auto got = out.read<float>();
  check(got[0] + got[1] + got[2] == 5000, "sum " + std::to_string(got[0] + got[1] + got[2]));
}

TEST("votes, matches, reductions, atomics and a counting barrier") {
  const auto x = integers(128, 77);
  const Buffer in(x), out(128 * 16), histogram(std::vector<int>(8));
  run("together", {2, 64}, in.address(), out.address(), histogram.address());
  const auto got = out.read<int>(), counts = histogram.read<int>();
  for (int i = 0; i < 128; ++i) {
    uint32_t ballot = 0, match = 0, sum = 0, odd = 0;
    for (int j = i / 32 * 32; j < i / 32 * 32 + 32; ++j) {
      ballot |= static_cast<uint32_t>(x[j] > 0) << (j % 32);
      match |= static_cast<uint32_t>((x[j] & 3) == (x[i] & 3)) << (j % 32);
      sum += static_cast<uint32_t>(x[j] & 255);
    }
    for (int j = i / 64 * 64; j < i / 64 * 64 + 64; ++j) odd += x[j] & 1;
    check(static_cast<uint32_t>(got[4 * i]) == ballot, "ballot");
    check(static_cast<uint32_t>(got[4 * i + 1]) == match, "match");
    check(static_cast<uint32_t>(got[4 * i + 2]) == sum, "redux");
    check(static_cast<uint32_t>(got[4 * i + 3]) == odd, "counting barrier");
  }
  std::map<int, int> expected;
  for (const int value : x) ++expected[value & 7];
  for (int i = 0; i < 8; ++i) check(counts[i] == expected[i], "histogram");
}

TEST("the last block to arrive sees what all the others wrote") {
  constexpr int kBlocks = 200, kPart = 40;
  const std::vector<float> x = numbers(kBlocks * kPart, 11);
  float want = 0;
  for (int block = 0; block < kBlocks; ++block) {
    float part = 0;
    for (int i = 0; i < kPart; ++i) part += x[block * kPart + i];
    want += part;
  }
  const Buffer in(x), arrived(std::vector<unsigned>(1));
  for (int round = 0; round < 20; ++round) {
    const Buffer parts(kBlocks * 4), sum(4);
    run("last_block_adds", {kBlocks, 64}, in.address(), parts.address(), arrived.address(), sum.address(), kPart);
    check(sum.read<float>()[0] == want, "another sum");
    check(arrived.read<unsigned>()[0] == 0, "a block that was not counted");
  }
}

TEST("machine code is refused as a device without it would") {
  const unsigned char elf[64] = {0x7F, 'E', 'L', 'F'};
  CUmodule module;
  check(cuModuleLoadData(&module, elf) == CUDA_ERROR_NO_BINARY_FOR_GPU, "ELF");
}

TEST("a form that is not known is named with its line") {
  const char* text =
      ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k() {\n .reg .b32 %r<2>;\n frobnicate.b32 %r0, "
      "%r1;\n ret;\n}\n";
  check(std::string(cudasimMissingForms(text)) == "PTX line 6: unknown form frobnicate.b32\n",
        cudasimMissingForms(text));
}
