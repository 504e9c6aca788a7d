// Qwen3 (dense): no biases; queries and keys are normalised head by head. Its head_dim is a number of its own, not
// hidden / heads, which the engine allows every family.
#include "engine/models/family.h"

namespace tinylora {

const Family qwen3{.name = "qwen3", .qkv_bias = false, .qk_norm = true};

}  // namespace tinylora
