// The stand-in's count of tensor work.
#pragma once

#include <cstdint>
#include <optional>

namespace tinylora::test {

/// What the stand-in counted of a kernel since the last call, in mma.m16n8k16; none on a real device.
std::optional<std::int64_t> tensor_work(const char* kernel);

}  // namespace tinylora::test
