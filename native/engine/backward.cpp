// The layers of forward.cpp from the last to the first one that is adapted. d_x is the gradient of the residual stream,
// in float; what goes into a product is rounded to the engine's dtype first. Nothing below the first adapted module is
// run.
#include "core/error.h"
#include "engine/activations.h"
#include "engine/forward.h"

namespace tinylora {
namespace {

struct Pass {
  const Model& model;
  Adapters& adapters;
  const DeviceBatch& batch;
  const KvCache& cache;
  Activations& activations;
  float* d_x;

  Backend& backend() const { return *model.backend; }
  const ModelConfig& config() const { return model.config; }
  int rows() const { return batch.layout().rows; }
};

const float* floats(const std::shared_ptr<void>& memory) { return static_cast<const float*>(memory.get()); }

void linear_backward(const Pass& pass, int layer, int type, const void* dy, float* dx, bool add) {
  const auto index = static_cast<std::size_t>(layer);
  const int module = layer * module_types + type;
  pass.backend().linear_backward({.rows = pass.rows(),
                                  .dy = dy,
                                  .weight = pass.model.layers[index].linear[type].weight.get(),
                                  .lora = pass.adapters.lora(module, pass.batch.adapter()),
                                  .z = pass.activations.layers[index].z[static_cast<std::size_t>(type)],
                                  .d_r = pass.adapters.d_r(module),
                                  .dx = dx,
                                  .add = add});
}

/// dy = d_x in the engine's dtype: the gradient of what the last product of a block added to the residual stream.
const void* rounded_d_x(const Pass& pass) {
  void* dy = pass.activations.backward.dy;
  pass.backend().cast({.count = static_cast<std::int64_t>(pass.rows()) * pass.config().hidden, .x = pass.d_x, .y = dy});
  return dy;
}

void norm_backward(const Pass& pass, const std::shared_ptr<void>& gain, const float* x, const float* inv_rms) {
  pass.backend().rms_norm_backward({.rows = pass.rows(),
                                    .width = pass.config().hidden,
                                    .x = x,
                                    .gain = floats(gain),
                                    .inv_rms = inv_rms,
                                    .dy = pass.activations.backward.d_norm,
                                    .dx = pass.d_x});
}

/// `first`: the first type of module of this layer that needs a gradient; negative where an earlier layer does.
void mlp_backward(const Pass& pass, int index, int first) {
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const BackwardScratch& scratch = pass.activations.backward;
  linear_backward(pass, index, down_proj, rounded_d_x(pass), scratch.dh, false);
  if (first >= down_proj) return;
  pass.backend().swiglu_backward({.rows = pass.rows(),
                                  .width = pass.config().intermediate,
                                  .gate = kept.gate,
                                  .up = kept.up,
                                  .dh = scratch.dh,
                                  .d_gate = scratch.d_gate,
                                  .d_up = scratch.d_up});
  linear_backward(pass, index, gate_proj, scratch.d_gate, scratch.d_norm, false);
  linear_backward(pass, index, up_proj, scratch.d_up, scratch.d_norm, true);
  if (first >= gate_proj) return;
  norm_backward(pass, pass.model.layers[static_cast<std::size_t>(index)].post_norm, kept.x_mid, kept.mid_inv_rms);
}

void rope_backward(const Pass& pass, int index) {
  const ModelConfig& config = pass.config();
  const Layer& layer = pass.model.layers[static_cast<std::size_t>(index)];
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const BackwardScratch& scratch = pass.activations.backward;
  pass.backend().rope_store_backward({.layout = &pass.batch.layout(),
                                      .heads = config.heads,
                                      .kv_heads = config.kv_heads,
                                      .head_dim = config.head_dim,
                                      .cos = floats(pass.model.rope_cos),
                                      .sin = floats(pass.model.rope_sin),
                                      .q_gain = floats(layer.q_norm),
                                      .k_gain = floats(layer.k_norm),
                                      .epsilon = config.rms_norm_epsilon,
                                      .q = kept.q_raw,
                                      .k = kept.k_raw,
                                      .dq_out = scratch.dq_out,
                                      .d_keys = scratch.d_keys,
                                      .d_values = scratch.d_values,
                                      .dq = scratch.dq,
                                      .dk = scratch.dk,
                                      .dv = scratch.dv});
}

void attention_backward(const Pass& pass, int index, int first) {
  const ModelConfig& config = pass.config();
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const BackwardScratch& scratch = pass.activations.backward;
  linear_backward(pass, index, o_proj, rounded_d_x(pass), scratch.d_out, false);
  if (first >= o_proj) return;
  pass.backend().attention_backward({.layout = &pass.batch.layout(),
                                     .heads = config.heads,
                                     .kv_heads = config.kv_heads,
                                     .head_dim = config.head_dim,
                                     .q = kept.q,
                                     .pages = pass.cache.layer(index),
                                     .out = kept.attention,
                                     .lse = kept.lse,
                                     .d_out = scratch.d_out,
                                     .dq_out = scratch.dq_out,
                                     .d_keys = scratch.d_keys,
                                     .d_values = scratch.d_values});
  rope_backward(pass, index);
  linear_backward(pass, index, q_proj, scratch.dq, scratch.d_norm, false);
  linear_backward(pass, index, k_proj, scratch.dk, scratch.d_norm, true);
  linear_backward(pass, index, v_proj, scratch.dv, scratch.d_norm, true);
  if (first >= q_proj) return;
  norm_backward(pass, pass.model.layers[static_cast<std::size_t>(index)].input_norm, kept.x, kept.inv_rms);
}

}  // namespace

void run_layers_backward(const Model& model, Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                         Activations& activations, float* d_x, const std::atomic<bool>& abort) {
  check(activations.basis_version == adapters.basis_version(), "ERR_ARGUMENT",
        "backward: expected the adapter basis of the forward pass, found another one");
  const Pass pass{model, adapters, batch, cache, activations, d_x};
  const int first_module = adapters.first_module();
  for (int layer = model.config.layers - 1; layer * module_types + down_proj >= first_module; --layer) {
    check(!abort, "ERR_ABORTED", "backward: aborted before layer ", layer);
    const int first = first_module - layer * module_types;
    mlp_backward(pass, layer, first);
    if (first < gate_proj) attention_backward(pass, layer, first);
  }
}

}  // namespace tinylora
