// Products with a frozen weight and the low-rank update that they carry, forward and backward.
// Letters, "act" and the order of sums: ops.h.
#pragma once

#include <cstdint>

namespace tinylora {

class Weight;  // a frozen matrix in the backend's own layout (backend.h)

struct LinearArgs;
struct LinearBackwardArgs;

/// The products that read what an op writes, told to that op so that it can make their z in the same pass. They stay as
/// they are until `linear` runs them, but for LinearArgs::left. The op that writes a gradient is told in the same way
/// of the LinearBackwardArgs that read it. A backend may take no notice.
struct Readers {
  LinearArgs* first = nullptr;
  int count = 0;
};

/// The low-rank update that a product carries; rank 0 means none. Row m uses R[adapter[m]]; adapter -1 is the base
/// model.
struct LoraArgs {
  int rank = 0;                           // r, at most 16
  const float* a = nullptr;               // [r, in]
  const float* b = nullptr;               // [r, out]: B transposed
  const float* r = nullptr;               // [adapters, r, r]
  const std::int32_t* adapter = nullptr;  // [M]
  int adapters = 0;
  const void* a_prepared = nullptr;  // a as Backend::prepare_factor leaves it, or none: the backend makes its own
  const void* b_prepared = nullptr;  // b
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
  const float* left = nullptr;      // [M, r] z R_k^T: set where the op that wrote x made it, and z; else none
};

/// Runs of rows whose dR are wanted one by one, besides those of the adapters: part p has the rows rows[p] ..
/// rows[p + 1] - 1 of the batch, at least one, all of one adapter that is not -1.
struct GradientParts {
  int count = 0;
  const std::int32_t* rows = nullptr;  // [count + 1]
  double* d_r = nullptr;               // [count, r, r] +=
};

/// s = dy B, dx (or dx +=, when `add`) dy W + (s R_k) A, dR[k] += sum over rows of adapter k of s^T z, in an order
/// fixed by the places of those rows in the batch; dR of a part in one fixed by their places in the part.
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
  const float* left = nullptr;  // [M, r] s R_k: set where the op that wrote dy made it, and added to dR; else none
};

}  // namespace tinylora
