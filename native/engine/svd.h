// Truncated SVD of a module's weight: W ~ U diag(S) V^T, signs fixed.
#pragma once

#include <atomic>
#include <vector>

#include "core/thread_pool.h"
#include "ops/backend.h"

namespace tinylora {

struct Svd {
  std::vector<float> u;   // [out, r]
  std::vector<float> s;   // [r], descending
  std::vector<float> vt;  // [r, in]
};

/// Subspace iteration with oversampling in float, from a fixed start, to the accuracy stated in svd.cpp. The entry of
/// largest magnitude in each right vector is positive (ties: the first). The same bits for any number of threads.
Svd truncated_svd(int out, int in, const RowReader& rows, int rank, ThreadPool& pool, const std::atomic<bool>& abort);

}  // namespace tinylora
