// Llama 2 and 3, SmolLM2 and what else is built like them: no biases, no norms of heads.
#include "engine/models/family.h"

namespace tinylora {

const Family llama{.name = "llama", .qkv_bias = false, .qk_norm = false};

}  // namespace tinylora
