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
  double angle = 0;       // 0 where it converged; else how far, in radians, the least known right vector may be off
};

/// Block Lanczos in double over W in float, from a fixed start, to the accuracy stated in svd.cpp; where a thousand
/// passes over W do not reach it, `angle` tells what they reached. The entry of largest magnitude in each right vector
/// is positive (ties: the first). The same bits on every backend, of any dtype, and for any number of threads. The part
/// of the work that runs on the host uses `pool`. Fails with ERR_NUMERIC where W is not finite, with ERR_ABORTED once
/// `abort` is set, with ERR_MEMORY where the device has no room for W.
Svd truncated_svd(Backend& backend, int out, int in, const RowReader& rows, int rank, ThreadPool& pool,
                  const std::atomic<bool>& abort);

}  // namespace tinylora
