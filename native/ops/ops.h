// The operations the model is written in: the arguments of each, its formula, what accumulates.
//
// Dimension letters, used in every comment of the native code:
//   M rows (tokens of a batch)   C hidden    H query heads   K kv heads   D head_dim   F intermediate   V vocabulary
//   r rank of the update         u numbers in one v          k adapter of a row        n tokens scored by the head
//   W [out, in] frozen weight; its update is B R_k A with A [r, in], B [out, r], R_k = sum_i v_i P_i [r, r]
//
// "act" marks a buffer in the engine's dtype (float or bf16); everything else is float or int32. All pointers are
// memory of the backend. All sums are taken in float, in an order fixed by the shapes of the model, never by M, by the
// place of a row in the batch, or by the number of threads (docs/method.md, row invariance). Forward results are
// bitwise row invariant; backward results are bitwise independent of the number of threads.
#pragma once

#include <cstdint>

namespace tinylora {

class Weight;  // a frozen matrix in the backend's own layout (backend.h)

/// Keys and values are kept in pages of this many consecutive positions, the first page from position 0. Attention
/// walks them in this order, one softmax rescale a page.
inline constexpr int kPageSize = 32;

struct LinearArgs;
struct LinearBackwardArgs;

/// The products that read what an op writes, told to that op so that it can make their z in the same pass. They stay as
/// they are until `linear` runs them, but for LinearArgs::left. The op that writes a gradient is told in the same way
/// of the LinearBackwardArgs that read it. A backend may take no notice.
struct Readers {
  LinearArgs* first = nullptr;
  int count = 0;
};

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

/// Where the rows of a batch stand, shared by every layer. A slot is page * kPageSize + offset in the KV cache.
/// The last tokens of a prompt that do not fill a page are stored into the first own page of each of its completions
/// too, so a row may be stored several times; a page full of prompt is shared by the page tables of the whole group.
struct SequenceLayout {
  int rows = 0;
  const std::int32_t* position = nullptr;    // [M] of each row in its sequence, from 0
  int stores = 0;                            // number of (row, slot) pairs
  const std::int32_t* store_row = nullptr;   // [stores], ascending
  const std::int32_t* store_slot = nullptr;  // [stores]
  int spans = 0;                             // runs of rows of one sequence at consecutive positions
  const std::int32_t* span_row = nullptr;    // [spans] first row of each
  const std::int32_t* span_rows = nullptr;   // [spans] number of rows
  int max_pages = 0;                         // width of the page table
  const std::int32_t* page_table = nullptr;  // [spans, max_pages]: page that holds positions 32 j .. 32 j + 31
  int max_position = 0;                      // largest position among the rows
  // [spans] or none: of a span, how many leading pages it has in common with the span before, all of them before the
  // page of either's first row. 0 for span 0. A hint: it changes what is read how often, and no result.
  const std::int32_t* span_shared = nullptr;
  int most_shared = 0;   // largest of span_shared
  int decode_spans = 0;  // so many spans come first that are one row each, span i row i; 0 is always right
};

/// One layer's keys and values, in the backend's own order within a page.
struct KvPages {
  int pages = 0;
  void* keys = nullptr;    // [pages, K, kPageSize, D] act
  void* values = nullptr;  // [pages, K, kPageSize, D] act
};

/// Query / key norm (Qwen3, when the gains are given), rotary embedding, and the store of keys and values.
/// Rotation of pair (i, i + D/2) by angle position * frequency[i], in float; scale multiplies cos and sin.
///   q_out = rope(norm(q)), pages[slot] = (rope(norm(k)), v) for every store.
struct RopeStoreArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const float* cos;               // [max_position + 1, D / 2]
  const float* sin;               // [max_position + 1, D / 2]
  const float* q_gain = nullptr;  // [D] or none
  const float* k_gain = nullptr;  // [D] or none
  float epsilon = 0;
  const float* q;  // [M, H, D]
  const float* k;  // [M, K, D]
  const float* v;  // [M, K, D]
  void* q_out;     // [M, H, D] act
  KvPages pages;
};

/// The way back: dq from dq_out, dk and dv from the gradients of all slots a row was stored in (stores ascending).
struct RopeStoreBackwardArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const float* cos;
  const float* sin;
  const float* q_gain = nullptr;
  const float* k_gain = nullptr;
  float epsilon = 0;
  const float* q;                         // [M, H, D] before norm and rotation; needed only with gains
  const float* k;                         // [M, K, D] likewise
  const float* dq_out;                    // [M, H, D]
  const float* d_keys;                    // [slots, K, D]
  const float* d_values;                  // [slots, K, D]
  void* dq;                               // [M, H, D] act
  void* dk;                               // [M, K, D] act
  void* dv;                               // [M, K, D] act
  LinearBackwardArgs* readers = nullptr;  // three, of dq, dk and dv, or none
};

/// out = softmax(q k^T / sqrt(D)) v over positions 0 .. position[m] of the row's own sequence, page by page from
/// position 0 with a running maximum. Head h reads kv head h / (H / K).
struct AttentionArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const void* q;  // [M, H, D] act, from rope_store
  KvPages pages;
  void* out;             // [M, H, D] act
  float* lse = nullptr;  // [M, H] log-sum-exp of the scaled scores; kept for the backward pass
  Readers readers = {};  // of out, at most one
};

/// Writes dq_out [M, H, D], d_keys and d_values [slots, K, D] of every slot of every page in the layout's page tables.
/// A page shared by several spans sums their contributions, spans ascending.
struct AttentionBackwardArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const void* q;  // [M, H, D] act
  KvPages pages;
  const void* out;     // [M, H, D] act
  const float* lse;    // [M, H]
  const float* d_out;  // [M, H, D]
  float* dq_out;       // [M, H, D]
  float* d_keys;       // [pages * kPageSize, K, D]
  float* d_values;     // [pages * kPageSize, K, D]
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

/// y[rows[i]] += x[i], i ascending; rows may repeat. The way back of gather_rows.
struct ScatterAddRowsArgs {
  int count;
  int width;
  const std::int32_t* rows;  // [count]
  const float* x;            // [count, C]
  float* y;                  // [M, C] +=
};

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
};

/// dx = g W, g = d_logp * inv_temperature * (1[target] - softmax(l)). A backend may round g to act, as it does the
/// input of every product.
struct HeadBackwardArgs {
  int rows;
  const void* x;                 // [n, C] act
  const Weight* weight;          // [V, C]
  const std::int32_t* target;    // [n]
  const float* inv_temperature;  // [n]
  const float* lse;              // [n]
  const float* d_logp;           // [n]
  float* dx;                     // [n, C]
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

// What weights are trained with. Gradients are float and add up (+=) over rows ascending; a row's place in the batch
// matters to their last bits, the number of threads does not.

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
