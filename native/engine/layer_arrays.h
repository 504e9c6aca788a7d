// The arrays of LayerActivations, with the bytes of a row of each: one list for all who lay them out or copy them.
#pragma once

#include <cstddef>

#include "engine/activations.h"
#include "engine/model.h"
#include "engine/models/family.h"

namespace tinylora {

/// Bytes of one row of each kind of buffer.
struct RowBytes {
  explicit RowBytes(const Model& model)
      : hidden(floats(model.config.hidden)),
        query(floats(model.config.heads) * static_cast<std::size_t>(model.config.head_dim)),
        key(floats(model.config.kv_heads) * static_cast<std::size_t>(model.config.head_dim)),
        heads(floats(model.config.heads)),
        intermediate(floats(model.config.intermediate)),
        act_size(size_of(model.backend->dtype())) {}

  static std::size_t floats(int count) { return static_cast<std::size_t>(count) * sizeof(float); }
  /// The same buffer in the engine's dtype.
  std::size_t act(std::size_t float_bytes) const { return float_bytes / sizeof(float) * act_size; }

  std::size_t hidden, query, key, heads, intermediate, act_size;
};

/// Whether q and k are needed before their norm and rotation.
inline bool keeps_raw(const Model& model) { return find_family(model.config.family)->qk_norm; }

/// visit(pointer, bytes of a row) of what a layer leaves, but for x, x_mid, q_raw, k_raw and z.
template <typename Visit>
void for_inner_arrays(LayerActivations& layer, const RowBytes& bytes, Visit visit) {
  visit(layer.inv_rms, sizeof(float));
  visit(layer.q, bytes.act(bytes.query));
  visit(layer.attention, bytes.act(bytes.query));
  visit(layer.lse, bytes.heads);
  visit(layer.mid_inv_rms, sizeof(float));
  visit(layer.gate, bytes.act(bytes.intermediate));
  visit(layer.up, bytes.act(bytes.intermediate));
}

template <typename Visit>
void for_raw_arrays(LayerActivations& layer, const RowBytes& bytes, Visit visit) {
  visit(layer.q_raw, bytes.query);
  visit(layer.k_raw, bytes.key);
}

template <typename Visit>
void for_z_arrays(LayerActivations& layer, int rank, Visit visit) {
  for (float*& z : layer.z) visit(z, RowBytes::floats(rank));
}

/// All that the backward pass of a layer needs of its forward pass; with gradient checkpointing all that it cannot
/// compute again.
template <typename Visit>
void for_kept_arrays(LayerActivations& layer, const Model& model, int rank, bool gradient_checkpointing, Visit visit) {
  const RowBytes bytes(model);
  visit(layer.x, bytes.hidden);
  for_z_arrays(layer, rank, visit);
  if (gradient_checkpointing) return;
  visit(layer.x_mid, bytes.hidden);
  for_inner_arrays(layer, bytes, visit);
  if (keeps_raw(model)) for_raw_arrays(layer, bytes, visit);
}

}  // namespace tinylora
