// Block layouts are those of ggml (ggml-common.h), little-endian, without padding:
//   Q4_0   d               16 bytes of nibbles                      d * (q - 8)
//   Q4_1   d m             16 bytes of nibbles                      d * q + m
//   Q5_0   d     32 high bits, 16 bytes of nibbles                  d * (q - 16)
//   Q5_1   d m   32 high bits, 16 bytes of nibbles                  d * q + m
//   Q8_0   d               32 signed bytes                          q * d
//   Q4_K   d dmin  12 bytes of scales, 128 of nibbles               (d * scale) * q - (dmin * min), 8 groups of 32
//   Q5_K   d dmin  12 bytes of scales, 32 of high bits, 128 nibbles likewise
//   Q6_K   128 of nibbles, 64 of high pairs, 16 signed scales, d    (d * scale) * (q - 32), 16 groups of 16
// d, m and dmin are half floats. In the formats of 32, number i is the low nibble of byte i, number i + 16 the high
// one. Every product and sum is rounded to float on its own: no fused multiply-add, or the bits would differ from
// gguf-py's.
#include "engine/dequantize.h"

#include <array>
#include <cstring>

#include "core/dtype.h"

namespace tinylora {
namespace {

constexpr int kSmall = 32;  // numbers in a block of the formats without _K
constexpr int kLarge = 256;

template <typename T>
T load(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

float half_at(const std::uint8_t* bytes) { return to_float(load<F16>(bytes)); }

void widen_f32(const std::uint8_t* bytes, int count, float* values) {
  std::memcpy(values, bytes, static_cast<std::size_t>(count) * 4);
}

void widen_f16(const std::uint8_t* bytes, int count, float* values) {
  for (int i = 0; i < count; ++i) values[i] = half_at(bytes + 2 * i);
}

void widen_bf16(const std::uint8_t* bytes, int count, float* values) {
  for (int i = 0; i < count; ++i) values[i] = to_float(load<Bf16>(bytes + 2 * i));
}

void widen_q4_0(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kSmall, block += 18, values += kSmall) {
    const float d = half_at(block);
    for (int i = 0; i < 16; ++i) {
      values[i] = d * static_cast<float>((block[2 + i] & 15) - 8);
      values[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
    }
  }
}

void widen_q4_1(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kSmall, block += 20, values += kSmall) {
    const float d = half_at(block);
    const float m = half_at(block + 2);
    for (int i = 0; i < 16; ++i) {
      values[i] = d * static_cast<float>(block[4 + i] & 15) + m;
      values[i + 16] = d * static_cast<float>(block[4 + i] >> 4) + m;
    }
  }
}

/// Number i of a Q5_0 or Q5_1 block.
int five_bits(const std::uint8_t* nibbles, std::uint32_t high, int i) {
  const int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
  return low | static_cast<int>((high >> i) & 1U) << 4;
}

void widen_q5_0(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kSmall, block += 22, values += kSmall) {
    const float d = half_at(block);
    const auto high = load<std::uint32_t>(block + 2);
    for (int i = 0; i < kSmall; ++i) values[i] = d * static_cast<float>(five_bits(block + 6, high, i) - 16);
  }
}

void widen_q5_1(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kSmall, block += 24, values += kSmall) {
    const float d = half_at(block);
    const float m = half_at(block + 2);
    const auto high = load<std::uint32_t>(block + 4);
    for (int i = 0; i < kSmall; ++i) values[i] = d * static_cast<float>(five_bits(block + 8, high, i)) + m;
  }
}

void widen_q8_0(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kSmall, block += 34, values += kSmall) {
    const float d = half_at(block);
    for (int i = 0; i < kSmall; ++i) values[i] = static_cast<float>(static_cast<std::int8_t>(block[2 + i])) * d;
  }
}

/// The eight 6-bit scales and minima of a Q4_K or Q5_K block, packed in 12 bytes.
struct GroupScales {
  std::array<float, 8> scale, minimum;
};
GroupScales group_scales(const std::uint8_t* block) {
  const float d = half_at(block);
  const float dmin = half_at(block + 2);
  const std::uint8_t* packed = block + 4;
  GroupScales groups;
  for (std::size_t i = 0; i < 4; ++i) {
    groups.scale[i] = d * static_cast<float>(packed[i] & 63);
    groups.minimum[i] = dmin * static_cast<float>(packed[i + 4] & 63);
    groups.scale[i + 4] = d * static_cast<float>((packed[i + 8] & 15) | ((packed[i] >> 2) & 48));
    groups.minimum[i + 4] = dmin * static_cast<float>((packed[i + 8] >> 4) | ((packed[i + 4] >> 2) & 48));
  }
  return groups;
}

void widen_q4_k(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kLarge, block += 144, values += kLarge) {
    const GroupScales groups = group_scales(block);
    for (std::size_t group = 0; group < 8; ++group) {
      const std::uint8_t* nibbles = block + 16 + group / 2 * 32;  // two groups share 32 bytes
      const int shift = group % 2 == 0 ? 0 : 4;
      for (std::size_t i = 0; i < 32; ++i) {
        const auto q = static_cast<float>((nibbles[i] >> shift) & 15);
        values[group * 32 + i] = groups.scale[group] * q - groups.minimum[group];
      }
    }
  }
}

void widen_q5_k(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kLarge, block += 176, values += kLarge) {
    const GroupScales groups = group_scales(block);
    const std::uint8_t* high = block + 16;  // bit `group` of byte i belongs to number i of that group
    for (std::size_t group = 0; group < 8; ++group) {
      const std::uint8_t* nibbles = block + 48 + group / 2 * 32;
      const int shift = group % 2 == 0 ? 0 : 4;
      for (std::size_t i = 0; i < 32; ++i) {
        const int q = ((nibbles[i] >> shift) & 15) | ((high[i] >> group) & 1) << 4;
        values[group * 32 + i] = groups.scale[group] * static_cast<float>(q) - groups.minimum[group];
      }
    }
  }
}

void widen_q6_k(const std::uint8_t* block, int count, float* values) {
  for (; count > 0; count -= kLarge, block += 210, values += kLarge) {
    const std::uint8_t* nibbles = block;
    const std::uint8_t* high = block + 128;
    const std::uint8_t* scales = block + 192;
    const float d = half_at(block + 208);
    for (std::size_t run = 0; run < 8; ++run) {  // 32 numbers: runs 0-3 and 4-7 share 64 bytes of nibbles each
      const std::uint8_t* low = nibbles + run / 4 * 64 + run % 2 * 32;
      const int low_shift = run % 4 < 2 ? 0 : 4;
      const std::uint8_t* pairs = high + run / 4 * 32;
      const auto pair_shift = static_cast<int>(run % 4) * 2;
      for (std::size_t i = 0; i < 32; ++i) {
        const int q = (((low[i] >> low_shift) & 15) | ((pairs[i] >> pair_shift) & 3) << 4) - 32;
        const float scale = d * static_cast<float>(static_cast<std::int8_t>(scales[run * 2 + i / 16]));
        values[run * 32 + i] = scale * static_cast<float>(q);
      }
    }
  }
}

constexpr std::array<TensorFormat, 11> kFormats{{
    {"F32", 1, 4, widen_f32},
    {"F16", 1, 2, widen_f16},
    {"BF16", 1, 2, widen_bf16},
    {"Q4_0", kSmall, 18, widen_q4_0},
    {"Q4_1", kSmall, 20, widen_q4_1},
    {"Q5_0", kSmall, 22, widen_q5_0},
    {"Q5_1", kSmall, 24, widen_q5_1},
    {"Q8_0", kSmall, 34, widen_q8_0},
    {"Q4_K", kLarge, 144, widen_q4_k},
    {"Q5_K", kLarge, 176, widen_q5_k},
    {"Q6_K", kLarge, 210, widen_q6_k},
}};

}  // namespace

const TensorFormat* find_tensor_format(const std::string& name) {
  for (const TensorFormat& format : kFormats) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

std::string tensor_format_names() {
  std::string names;
  for (const TensorFormat& format : kFormats) names += (names.empty() ? "" : ", ") + std::string(format.name);
  return names;
}

}  // namespace tinylora
