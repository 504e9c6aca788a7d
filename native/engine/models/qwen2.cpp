// Qwen2 and Qwen2.5: Llama with biases on queries, keys and values.
#include "engine/models/family.h"

namespace tinylora {

const Family qwen2{.name = "qwen2", .qkv_bias = true, .qk_norm = false};

}  // namespace tinylora
