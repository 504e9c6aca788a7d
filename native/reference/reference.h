// The plain backend: every op of ops/ops.h written as its formula, one row at a time, on one thread. The tests compare
// the fast backends with it, and it is the place to read what an op does before its fast version.
//
// Sums are taken in double, in index order (`dot`: in eight lanes), and rounded once when stored. That is more accurate
// than the float that ops.h asks for, so that a difference from a fast backend is that backend's own rounding. A row is
// computed from that row alone, so row invariance holds by construction.
//
// Keys and values lie in a page as [K, kPageSize, D].
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "ops/backend.h"

namespace tinylora::reference {

/// Offset of row `row` in a row-major array.
inline std::size_t at(std::size_t row, int width) { return row * static_cast<std::size_t>(width); }

/// The matrix row by row, in float after rounding to the dtype.
class PlainWeight final : public Weight {
 public:
  PlainWeight(int rows, int columns, DType type) : Weight(rows, columns, type), values(at(rows, columns)) {}

  const float* row(int index) const { return values.data() + at(index, in); }

  std::vector<float> values;  // [out, in]
};

const PlainWeight& plain(const Weight* weight);

/// What an "act" buffer holds, read and written as float.
class ActIn {
 public:
  ActIn(DType dtype, const void* data) : dtype_(dtype), data_(data) {}
  float operator[](std::size_t index) const {
    if (dtype_ == DType::f32) return static_cast<const float*>(data_)[index];
    if (dtype_ == DType::bf16) return to_float(static_cast<const Bf16*>(data_)[index]);
    return to_float(static_cast<const F16*>(data_)[index]);
  }
  /// Elements first .. first + count - 1.
  std::vector<float> read(std::size_t first, int count) const;

 private:
  DType dtype_;
  const void* data_;
};

class ActOut {
 public:
  ActOut(DType dtype, void* data) : dtype_(dtype), data_(data) {}
  void set(std::size_t index, double value) const {
    const auto rounded = static_cast<float>(value);
    if (dtype_ == DType::f32) {
      static_cast<float*>(data_)[index] = rounded;
    } else if (dtype_ == DType::bf16) {
      static_cast<Bf16*>(data_)[index] = to_bf16(rounded);
    } else {
      static_cast<F16*>(data_)[index] = to_f16(rounded);
    }
  }

 private:
  DType dtype_;
  void* data_;
};

/// Sum of a[i] b[i] in double: lane l of eight over i % 8 = l, then the lanes in order.
double dot(const float* a, const float* b, int count);

/// Offset of (slot, kv head) in a layer's keys or values.
inline std::size_t page_at(int slot, int kv_head, int kv_heads, int head_dim) {
  return at(at(slot / kPageSize, kv_heads) + kv_head, kPageSize * head_dim) + at(slot % kPageSize, head_dim);
}

/// 1 / sqrt(mean(x^2) + epsilon).
float inverse_rms(const float* x, int width, float epsilon);
/// dx[i] = inv_rms * (g - x * inv_rms^2 * mean(g * x)), g = dy * gain.
std::vector<double> norm_gradient(const float* x, const float* gain, float inv_rms, const double* dy, int width);

/// The transpose of rope's rotation of one head, in place.
void rotate_back(std::vector<double>& dy, const float* cos, const float* sin);

/// l = x W^T * inv_temperature of one row, [V].
std::vector<double> row_logits(const std::vector<float>& x, const PlainWeight& weight, float inv_temperature);
double log_sum_exp(const std::vector<double>& values);
/// In nats, of softmax(logits).
float entropy(const std::vector<double>& logits, double lse);

std::unique_ptr<GramMatrix> gram_matrix(int out, int in, const RowReader& read_row);

void embed(const EmbedArgs&);
void rms_norm(DType, const RmsNormArgs&);
void rms_norm_backward(const RmsNormBackwardArgs&);
void linear(DType, const LinearArgs&);
void linear_backward(DType, const LinearBackwardArgs&);
void rope_store(DType, const RopeStoreArgs&);
void rope_store_backward(DType, const RopeStoreBackwardArgs&);
void attention(DType, const AttentionArgs&);
void attention_backward(DType, const AttentionBackwardArgs&);
void swiglu(DType, const SwigluArgs&);
void swiglu_backward(DType, const SwigluBackwardArgs&);
void cast(DType, const CastArgs&);
void gather_rows(const GatherRowsArgs&);
void copy_rows(const CopyRowsArgs&);
void scatter_add_rows(const ScatterAddRowsArgs&);
void head(DType, const HeadArgs&);
void head_backward(DType, const HeadBackwardArgs&);
void head_sample(DType, const HeadSampleArgs&);
void weight_gradient(DType, const WeightGradientArgs&);
void lora_gradient(DType, const LoraGradientArgs&);
void gain_gradient(const GainGradientArgs&);
void head_gain_gradient(const HeadGainGradientArgs&);
void head_gradient(DType, const HeadGradientArgs&);
void sum_squares(const SumSquaresArgs&);
void adamw(const AdamwArgs&);
void sgd(const SgdArgs&);

}  // namespace tinylora::reference
