// What is done to each row by itself: embedding, norm, SwiGLU, rounding, choosing rows.
// Letters, "act" and the order of sums: ops.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/linear.h"

namespace tinylora {

/// x[m] = table[token[m]].   x [M, C] float
struct EmbedArgs {
  int rows;
  const std::int32_t* tokens;  // [M], each in 0..V-1
  const Weight* table;         // [V, C]
  float* x;                    // [M, C]
};

/// y = x * inv_rms * gain, inv_rms = 1 / sqrt(mean(x^2) + epsilon) over the row.
struct RmsNormArgs {
  int rows;
  int width;
  float epsilon;
  const float* x;        // [M, C]
  const float* gain;     // [C]
  void* y;               // [M, C] act
  float* inv_rms;        // [M] kept for the backward pass
  Readers readers = {};  // of y
};

/// dx += inv_rms * (g - x * inv_rms^2 * mean(g * x)), g = dy * gain.
struct RmsNormBackwardArgs {
  int rows;
  int width;
  const float* x;        // [M, C]
  const float* gain;     // [C]
  const float* inv_rms;  // [M]
  const float* dy;       // [M, C] float
  float* dx;             // [M, C] +=
};

/// h = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
struct SwigluArgs {
  int rows;
  int width;
  const void* gate;      // [M, F] act
  const void* up;        // [M, F] act
  void* h;               // [M, F] act
  Readers readers = {};  // of h
};

struct SwigluBackwardArgs {
  int rows;
  int width;
  const void* gate;                       // [M, F] act
  const void* up;                         // [M, F] act
  const float* dh;                        // [M, F]
  void* d_gate;                           // [M, F] act
  void* d_up;                             // [M, F] act
  LinearBackwardArgs* readers = nullptr;  // two, of d_gate and d_up, or none
};

/// y = x rounded to act.
struct CastArgs {
  std::int64_t count;
  const float* x;
  void* y;
  LinearBackwardArgs* reader = nullptr;  // of y, or none
};

/// y[i] = x[rows[i]]: the rows that the head reads.
struct GatherRowsArgs {
  int count;
  int width;
  const std::int32_t* rows;  // [count]
  const float* x;            // [M, C]
  float* y;                  // [count, C]
};

/// to[to_rows[i]] = from[from_rows[i]] in each of several arrays. Of two rows for one place either is left.
struct CopyRowsArgs {
  struct Array {
    const void* from;
    void* to;
    std::size_t bytes;  // of a row
    std::size_t from_stride, to_stride;
  };
  int count;
  const std::int32_t* from_rows;    // [count] or none: row i
  const std::int32_t* to_rows;      // [count] or none: row i
  std::span<const Array> arrays{};  // at most kMostCopied
};
inline constexpr int kMostCopied = 18;  // what a layer leaves for its backward pass (engine/activations.h)

/// y[rows[i]] += x[i], i ascending; rows may repeat. Backward of gather_rows.
struct ScatterAddRowsArgs {
  int count;
  int width;
  const std::int32_t* rows;  // [count]
  const float* x;            // [count, C]
  float* y;                  // [M, C] +=
};

}  // namespace tinylora
