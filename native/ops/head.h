// The vocabulary head, in chunks of the vocabulary: log-probabilities, their gradient, and the draw of tokens.
// Letters, "act" and the order of sums: ops.h.
#pragma once

#include <cstdint>

#include "ops/linear.h"

namespace tinylora {

/// The vocabulary head, in chunks of the vocabulary: the logits of a batch are never kept.
/// l = x W^T * inv_temperature; lse = log sum exp l; logp = l[target] - lse; entropy = lse - sum softmax(l) l.
struct HeadArgs {
  int rows;                      // n
  const void* x;                 // [n, C] act, after the last norm
  const Weight* weight;          // [V, C]
  const std::int32_t* target;    // [n]
  const float* inv_temperature;  // [n]
  float* logp;                   // [n]
  float* entropy;                // [n]
  float* lse;                    // [n] kept for the backward pass
  float* dx = nullptr;           // [n, C] or none: that of head_backward, if it follows. A backend may begin it here
};

/// dx = g W, g = d_logp * inv_temperature * (1[target] - softmax(l)). A backend may round g, or softmax(l), to act, as
/// it does the input of every product.
struct HeadBackwardArgs {
  int rows;
  const void* x;                 // [n, C] act
  const Weight* weight;          // [V, C]
  const std::int32_t* target;    // [n]
  const float* inv_temperature;  // [n]
  const float* lse;              // [n]
  const float* d_logp;           // [n]
  float* dx;                     // [n, C] as head left it
};

/// How one row is sampled. temperature 0 is greedy (then logp is that of temperature 1).
/// Order as in transformers: temperature, then top_k, top_p, min_p; the survivors are renormalised for the draw only.
struct SampleRow {
  float temperature = 1;
  std::int32_t top_k = 0;  // 0: all
  float top_p = 1;
  float min_p = 0;
  std::uint64_t seed = 0;  // with sequence and position the key of the draw: Philox4x32-10
  std::uint64_t sequence = 0;
  std::uint32_t position = 0;  // of the token that is drawn

  bool is_cut() const { return temperature > 0 && (top_k > 0 || top_p < 1 || min_p > 0); }
};

/// One token a row. logp is the log-probability of the token under the whole distribution at the row's temperature,
/// with the very bits that the head op gives for the same row and target. A row whose logits are not finite has no
/// token: -1, and logp NaN.
struct HeadSampleArgs {
  int rows;
  const void* x;         // [n, C] act
  const Weight* weight;  // [V, C]
  const SampleRow* how;  // [n]
  int cut;               // rows that top_k, top_p or min_p cut (is_cut), at most
  std::int32_t* token;   // [n]
  float* logp;           // [n]
  float* entropy;        // [n], with the bits of the head op, as logp
};

}  // namespace tinylora
