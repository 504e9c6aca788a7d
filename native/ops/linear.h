// Products with a weight matrix and the low-rank update that they carry, forward and backward.
// Letters, "act" and the order of sums: ops.h.
#pragma once

#include <cstdint>

namespace tinylora {

class Weight;  // a matrix in the backend's own layout (backend.h)

struct LinearArgs;
struct LinearBackwardArgs;

/// The products that will read what an op writes. An op that is given them may compute their z in the same pass over
/// its output, which it reports by setting LinearArgs::left; nothing else of them may change before `linear` runs them.
/// In the backward pass the op that writes a gradient is given the LinearBackwardArgs that will read it, for s in the
/// same way. A backend may ignore them.
struct Readers {
  LinearArgs* first = nullptr;
  int count = 0;
};

/// The low-rank update that a product carries; rank 0 means none. Row m uses R[adapter[m]]; adapter -1 is the base
/// model.
inline constexpr int kMaxRank = 16;
struct LoraArgs {
  int rank = 0;                           // r, at most kMaxRank
  const float* a = nullptr;               // [r, in]
  const float* b = nullptr;               // [r, out]: B transposed
  const float* r = nullptr;               // [adapters, r, r]
  const std::int32_t* adapter = nullptr;  // [M]
  int adapters = 0;
  const void* a_prepared = nullptr;  // what Backend::prepare_factor made of a; none: the backend makes it when needed
  const void* b_prepared = nullptr;  // the same of b
};

/// y = residual + x W^T + bias + (z R_k^T) B^T, z = x A^T. The update is added to the accumulator in float, before any
/// rounding. A row with adapter -1, or with R_k = 0, gets exactly the base model's bits.
struct LinearArgs {
  int rows;
  const void* x;                // [M, in] act
  const Weight* weight;         // [out, in]
  const float* bias = nullptr;  // [out] or none
  LoraArgs lora;
  float* z = nullptr;  // [M, r] out, when rank > 0
  void* y = nullptr;   // [M, out] act, or float when y_float
  bool y_float = false;
  const float* residual = nullptr;  // [M, out] or none; may be y (float y only)
  const float* left = nullptr;      // [M, r] z R_k^T, left by the op that wrote x when it computed z too; else none
};

/// Runs of rows ("parts") whose dR are wanted separately, besides dR of each adapter. Part p is the rows rows[p] to
/// rows[p + 1] - 1 of the batch, at least one; all of them have the same adapter, which is not -1.
struct GradientParts {
  int count = 0;
  const std::int32_t* rows = nullptr;  // [count + 1]
  double* d_r = nullptr;               // [count, r, r] +=
};

/// s = dy B;  dx = dy W + (s R_k) A, or dx += with `add`;  dR[k] += sum over the rows of adapter k of s^T z.
/// The order of that sum is fixed by the places of the rows in the batch; for a part, by their places in the part.
struct LinearBackwardArgs {
  int rows;
  const void* dy;        // [M, out] act
  const Weight* weight;  // [out, in]
  LoraArgs lora;
  const float* z = nullptr;  // [M, r] from the forward pass
  double* d_r = nullptr;     // [adapters, r, r] +=
  GradientParts parts = {};
  float* dx = nullptr;  // [M, in]
  bool add = false;
  // [M, r] s R_k, left by the op that wrote dy when it computed s, which it then has added to dR already; else none.
  const float* left = nullptr;
};

}  // namespace tinylora
