// The formats in which model files keep numbers, and their widening to float.
#pragma once

#include <cstdint>
#include <string>

namespace tinylora {

/// Numbers come in blocks of `block` that take `block_bytes`; `widen` turns `count` numbers (a multiple of block) into
/// float. The bits are those of gguf-py's `dequantize`, for every format.
struct TensorFormat {
  const char* name;
  int block;
  int block_bytes;
  void (*widen)(const std::uint8_t* bytes, int count, float* values);
};

/// nullptr for a name that is not known.
const TensorFormat* find_tensor_format(const std::string& name);
/// "F32, F16, ...", for messages.
std::string tensor_format_names();

}  // namespace tinylora
