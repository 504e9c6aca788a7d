// One tensor of a model file as floats, without an engine.
#pragma once

#include <atomic>
#include <vector>

#include "engine/model.h"

namespace tinylora {

/// The numbers of a matrix or a vector, widened, rows in the order of Hugging Face's files. Fails as TensorRows does,
/// with ERR_MODEL where the source has more than two dimensions or too many numbers, with ERR_ABORTED.
std::vector<float> read_tensor(const TensorSource& source, const std::atomic<bool>& abort);

}  // namespace tinylora
