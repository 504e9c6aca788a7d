// What weights are trained with: their gradients, the norm of these, and the optimisers. Gradients are float and add up
// (+=) over rows ascending; a row's place in the batch matters to their last bits, the number of threads does not.
// Letters, "act" and the order of sums: ops.h.
#pragma once

#include <cstdint>

#include "ops/attention.h"
#include "ops/head.h"
#include "ops/linear.h"

namespace tinylora {

/// dW += dy^T x, d_bias += sum over rows of dy.
struct WeightGradientArgs {
  int rows;
  int out;
  int in;
  const void* dy;           // [M, out] act
  const void* x;            // [M, in] act
  float* d_weight;          // [out, in] += or none
  float* d_bias = nullptr;  // [out] += or none
};

/// The gradients of A and B of LinearArgs: with s = dy B,
///   dA += (s R_k)^T x,  dB^T += (z R_k^T)^T dy;  rows with adapter -1 have no part.
struct LoraGradientArgs {
  int rows;
  int in;
  int out;
  const void* x;   // [M, in] act
  const void* dy;  // [M, out] act
  LoraArgs lora;
  const float* z;  // [M, r] from the forward pass
  float* d_a;      // [r, in] +=
  float* d_b;      // [r, out] +=
};

/// d_gain += sum over rows of dy * x * inv_rms.
struct GainGradientArgs {
  int rows;
  int width;
  const float* x;        // [M, C]
  const float* inv_rms;  // [M]
  const float* dy;       // [M, C]
  float* d_gain;         // [C] +=
};

/// The gains of the query and key norms inside rope_store: their gradients from what rope_store_backward reads.
struct HeadGainGradientArgs {
  const RopeStoreBackwardArgs* back;  // with q_gain and k_gain
  float* d_q_gain;                    // [D] += or none
  float* d_k_gain;                    // [D] += or none
};

/// dW += g^T x, g as in head_backward. A backend may round g to act.
struct HeadGradientArgs {
  const HeadBackwardArgs* back;  // dx is not written
  float* d_weight;               // [V, C] +=
};

/// sum = sum x^2 in double: chunks of 4096 numbers, then their sums, each in order.
struct SumSquaresArgs {
  std::int64_t count;
  const float* x;
  double* sum;  // [1]
};

/// One step of AdamW (Loshchilov and Hutter 2019), g = gradient * scale:
///   first = beta1 first + (1 - beta1) g,  second = beta2 second + (1 - beta2) g^2,
///   w = w (1 - rate decay) - rate (first / correction1) / (sqrt(second / correction2) + epsilon)
struct AdamwArgs {
  std::int64_t count;
  float rate, decay, scale;
  float beta1, beta2, epsilon;
  float correction1, correction2;  // 1 - beta^updates
  const float* gradient;
  float* first;
  float* second;
  float* weight;
};

/// buffer = momentum buffer + g,  w = w (1 - rate decay) - rate buffer;  g = gradient * scale.
struct SgdArgs {
  std::int64_t count;
  float rate, decay, scale, momentum;
  const float* gradient;
  float* buffer;
  float* weight;
};

}  // namespace tinylora
