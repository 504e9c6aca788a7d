// Tensor formats widened to float: the bits of gguf-py's dequantize (test/golden/make_quant.py).
#include <bit>
#include <cmath>

#include "../golden/quant/blocks.h"
#include "engine/dequantize.h"
#include "suites.h"

namespace tinylora::test {
namespace {

void widens_to_the_bits_of_gguf_py(const QuantSample& sample) {
  const TensorFormat* format = find_tensor_format(sample.type);
  expect(format != nullptr, sample.type, " is not known");
  const auto count = static_cast<int>(sample.bits.size());
  expect(sample.bytes.size() == static_cast<std::size_t>(count / format->block * format->block_bytes), sample.type,
         ": expected another number of bytes");
  // From an odd address: nothing promises that a tensor is aligned in its file.
  std::vector<std::uint8_t> bytes(1);
  bytes.insert(bytes.end(), sample.bytes.begin(), sample.bytes.end());
  std::vector<float> values(sample.bits.size());
  format->widen(bytes.data() + 1, count, values.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    expect(std::bit_cast<std::uint32_t>(values[i]) == sample.bits[i], sample.type, ": number ", i, ": expected ",
           std::bit_cast<float>(sample.bits[i]), ", found ", values[i]);
  }
}

void every_half_float_is_exact() {
  const TensorFormat* format = find_tensor_format("F16");
  for (std::uint32_t half = 0; half < 0x10000; ++half) {
    const std::uint8_t bytes[] = {static_cast<std::uint8_t>(half), static_cast<std::uint8_t>(half >> 8)};
    float value = 0;
    format->widen(bytes, 1, &value);
    const auto exponent = static_cast<int>((half >> 10) & 31), mantissa = static_cast<int>(half & 1023);
    const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
    if (exponent == 31) {
      expect(mantissa == 0 ? value == sign / 0.0F : value != value, "half ", half, ": found ", value);
    } else {
      const float want = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-24F
                                       : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
      expect(std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(sign * want), "half ", half,
             ": expected ", sign * want, ", found ", value);
    }
  }
}

}  // namespace

void add_engine_dequantize_tests(Tests& tests) {
  for (const QuantSample& sample : quant_samples()) {
    tests.add(std::string("dequantize: bits of gguf-py [") + sample.type + "]",
              [&sample] { widens_to_the_bits_of_gguf_py(sample); });
  }
  tests.add("dequantize: every half float is exact", every_half_float_is_exact);
}

}  // namespace tinylora::test
