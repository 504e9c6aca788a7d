// The cuda backend gives the same bits whatever the order of blocks: what its tests read is hashed, and compared
// between two random orders on the stand-in (on a GPU, whose order is its own, between two runs).
#pragma once

#include <functional>
#include <memory>

#include "ops/backend.h"

namespace tinylora::test {

/// A cuda backend whose downloads are hashed.
std::unique_ptr<Backend> make_hashed_cuda_backend(DType dtype);

/// Runs `body` twice; fails where it fails, or where the second run reads other bits.
void in_two_orders(const std::function<void()>& body);

}  // namespace tinylora::test
