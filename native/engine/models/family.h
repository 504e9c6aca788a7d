// What differs between the model families, one small file each. To add one: its file, its line in the table of
// family.cpp and its reading in lib/model.
#pragma once

#include <string>

namespace tinylora {

struct Family {
  const char* name;
  bool qkv_bias;  // q_proj, k_proj and v_proj add a bias
  bool qk_norm;   // RMS norm of every query and key head before the rotation
};

extern const Family llama;
extern const Family qwen2;
extern const Family qwen3;

/// nullptr for a family that is not known.
const Family* find_family(const std::string& name);
/// "llama, qwen2, ...", for messages.
std::string family_names();

}  // namespace tinylora
