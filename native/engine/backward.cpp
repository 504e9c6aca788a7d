// The backward pass of the layers of forward.cpp, from the last layer to the one of the first module that needs a
// gradient; nothing before that module is computed. d_x [M, C] is the gradient of the residual stream, in float; inputs
// of products are rounded to the engine's dtype. The inputs of modules whose weights are trained are computed again
// from what was kept; with gradient checkpointing that, too, is computed again, a layer at a time.
#include <array>

#include "core/error.h"
#include "engine/activations.h"
#include "engine/forward.h"
#include "engine/sampled_activations.h"

namespace tinylora {
namespace {

struct Pass {
  const Model& model;
  Adapters& adapters;
  const ModelGradient& gradient;
  const PartGradients* parts;
  const DeviceBatch& batch;
  const KvCache& cache;
  Activations& activations;
  float* d_x;

  Backend& backend() const { return *model.backend; }
  const ModelConfig& config() const { return model.config; }
  int rows() const { return batch.layout().rows; }
};

const LayerGradient& layer_gradient(const Pass& pass, int layer) {
  return pass.gradient.layers[static_cast<std::size_t>(layer)];
}

/// Whether the weights or factors of one of these modules are trained, so that the module's inputs are needed.
bool wants_inputs(const Pass& pass, int layer, int first_type, int last_type) {
  for (int type = first_type; type <= last_type; ++type) {
    const LinearGradient& own = layer_gradient(pass, layer).linear[type];
    if (own.weight || own.bias || own.a) return true;
  }
  return false;
}

void weight_gradients(const Pass& pass, int layer, int type, const void* x, const void* dy) {
  const LinearGradient& own = layer_gradient(pass, layer).linear[type];
  const Weight& weight = *pass.model.layers[static_cast<std::size_t>(layer)].linear[type].weight;
  if (own.weight || own.bias) {
    pass.backend().weight_gradient({.rows = pass.rows(),
                                    .out = weight.out,
                                    .in = weight.in,
                                    .dy = dy,
                                    .x = x,
                                    .d_weight = own.weight,
                                    .d_bias = own.bias});
  }
  if (own.a) {
    pass.backend().lora_gradient({.rows = pass.rows(),
                                  .in = weight.in,
                                  .out = weight.out,
                                  .x = x,
                                  .dy = dy,
                                  .lora = pass.adapters.lora(layer * module_types + type, pass.batch.adapter()),
                                  .z = pass.activations.layers[static_cast<std::size_t>(layer)].z[type],
                                  .d_a = own.a,
                                  .d_b = own.b});
  }
}

LinearBackwardArgs backward_args(const Pass& pass, int layer, int type, const void* dy, float* dx, bool add) {
  const auto index = static_cast<std::size_t>(layer);
  const int module = layer * module_types + type;
  return {.rows = pass.rows(),
          .dy = dy,
          .weight = pass.model.layers[index].linear[type].weight.get(),
          .lora = pass.adapters.lora(module, pass.batch.adapter()),
          .z = pass.activations.layers[index].z[static_cast<std::size_t>(type)],
          .d_r = pass.adapters.d_r(module),
          .parts = pass.parts ? pass.parts->of_module(module) : GradientParts{},
          .dx = dx,
          .add = add};
}

/// `x` is read only where the module's weights are trained.
void linear_backward(const Pass& pass, int layer, int type, const void* x, const LinearBackwardArgs& args) {
  weight_gradients(pass, layer, type, x, args.dy);
  pass.backend().linear_backward(args);
}

/// Backward of the last product of a block, whose output was added to the residual stream: dy is d_x rounded to act.
void last_linear_backward(const Pass& pass, int layer, int type, const void* x, float* dx) {
  void* dy = pass.activations.backward.dy;
  LinearBackwardArgs args = backward_args(pass, layer, type, dy, dx, false);
  pass.backend().cast({.count = static_cast<std::int64_t>(pass.rows()) * pass.config().hidden,
                       .x = pass.d_x,
                       .y = dy,
                       .reader = &args});
  linear_backward(pass, layer, type, x, args);
}

/// The output [M, C] of a norm, computed again with the bits of the forward pass.
const void* normed_again(const Pass& pass, const std::shared_ptr<void>& gain, const float* x, float* inv_rms) {
  void* y = pass.activations.backward.normed;
  pass.backend().rms_norm({.rows = pass.rows(),
                           .width = pass.config().hidden,
                           .epsilon = pass.config().rms_norm_epsilon,
                           .x = x,
                           .gain = floats(gain),
                           .y = y,
                           .inv_rms = inv_rms});
  return y;
}

void gain_gradient(const Pass& pass, const float* x, const float* inv_rms, float* d_gain) {
  if (!d_gain) return;
  pass.backend().gain_gradient({.rows = pass.rows(),
                                .width = pass.config().hidden,
                                .x = x,
                                .inv_rms = inv_rms,
                                .dy = pass.activations.backward.d_norm,
                                .d_gain = d_gain});
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

/// `first`: the first module type of this layer whose output's gradient is needed; negative where an earlier layer
/// needs one.
void mlp_backward(const Pass& pass, int index, int first) {
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const BackwardScratch& scratch = pass.activations.backward;
  const std::shared_ptr<void>& gain = pass.model.layers[static_cast<std::size_t>(index)].post_norm;
  if (wants_inputs(pass, index, down_proj, down_proj)) {
    pass.backend().swiglu(
        {.rows = pass.rows(), .width = pass.config().intermediate, .gate = kept.gate, .up = kept.up, .h = scratch.h});
  }
  last_linear_backward(pass, index, down_proj, scratch.h, scratch.dh);
  if (first >= down_proj) return;
  std::array gate_up{backward_args(pass, index, gate_proj, scratch.d_gate, scratch.d_norm, false),
                     backward_args(pass, index, up_proj, scratch.d_up, scratch.d_norm, true)};
  pass.backend().swiglu_backward({.rows = pass.rows(),
                                  .width = pass.config().intermediate,
                                  .gate = kept.gate,
                                  .up = kept.up,
                                  .dh = scratch.dh,
                                  .d_gate = scratch.d_gate,
                                  .d_up = scratch.d_up,
                                  .readers = gate_up.data()});
  const bool inputs = wants_inputs(pass, index, gate_proj, up_proj);
  const void* normed = inputs ? normed_again(pass, gain, kept.x_mid, kept.mid_inv_rms) : nullptr;
  linear_backward(pass, index, gate_proj, normed, gate_up[0]);
  linear_backward(pass, index, up_proj, normed, gate_up[1]);
  gain_gradient(pass, kept.x_mid, kept.mid_inv_rms, layer_gradient(pass, index).post_norm);
  if (first >= gate_proj) return;
  norm_backward(pass, gain, kept.x_mid, kept.mid_inv_rms);
}

void rope_backward(const Pass& pass, int index, std::array<LinearBackwardArgs, 3>& qkv) {
  const ModelConfig& config = pass.config();
  const Layer& layer = pass.model.layers[static_cast<std::size_t>(index)];
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const BackwardScratch& scratch = pass.activations.backward;
  const RopeStoreBackwardArgs args{.layout = &pass.batch.layout(),
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
                                   .dv = scratch.dv,
                                   .readers = qkv.data()};
  pass.backend().rope_store_backward(args);
  const LayerGradient& own = layer_gradient(pass, index);
  if (own.q_norm || own.k_norm) {
    pass.backend().head_gain_gradient({.back = &args, .d_q_gain = own.q_norm, .d_k_gain = own.k_norm});
  }
}

void attention_backward(const Pass& pass, int index, int first) {
  const ModelConfig& config = pass.config();
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const BackwardScratch& scratch = pass.activations.backward;
  last_linear_backward(pass, index, o_proj, kept.attention, scratch.d_out);
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
  std::array qkv{backward_args(pass, index, q_proj, scratch.dq, scratch.d_norm, false),
                 backward_args(pass, index, k_proj, scratch.dk, scratch.d_norm, true),
                 backward_args(pass, index, v_proj, scratch.dv, scratch.d_norm, true)};
  rope_backward(pass, index, qkv);
  const std::shared_ptr<void>& gain = pass.model.layers[static_cast<std::size_t>(index)].input_norm;
  const bool inputs = wants_inputs(pass, index, q_proj, v_proj);
  const void* normed = inputs ? normed_again(pass, gain, kept.x, kept.inv_rms) : nullptr;
  linear_backward(pass, index, q_proj, normed, qkv[0]);
  linear_backward(pass, index, k_proj, normed, qkv[1]);
  linear_backward(pass, index, v_proj, normed, qkv[2]);
  gain_gradient(pass, kept.x, kept.inv_rms, layer_gradient(pass, index).input_norm);
  if (first >= q_proj) return;
  norm_backward(pass, gain, kept.x, kept.inv_rms);
}

}  // namespace

void run_layers_backward(const Model& model, Adapters& adapters, const ModelGradient& gradient,
                         const PartGradients* parts, const DeviceBatch& batch, const KvCache& cache,
                         Activations& activations, const SampledRows* sampled, float* d_x,
                         const std::atomic<bool>& abort) {
  const Pass pass{model, adapters, gradient, parts, batch, cache, activations, d_x};
  const int first_module = gradient.first_module;
  const int last = model.config.layers - 1;
  for (int layer = last; layer >= 0 && layer * module_types + down_proj >= first_module; --layer) {
    check(!abort, "ERR_ABORTED", "backward: aborted before layer ", layer);
    if (sampled) sampled->bring_back(layer, activations, cache);
    // A forward pass ended with the last layer: what it left is still there.
    if (activations.gradient_checkpointing && (sampled || layer < last)) {
      run_layer_again(model, adapters, batch, cache, activations, layer);
    }
    const int first = first_module - layer * module_types;
    mlp_backward(pass, layer, first);
    if (first < gate_proj) attention_backward(pass, layer, first);
  }
  if (gradient.embedding) {
    pass.backend().scatter_add_rows({.count = pass.rows(),
                                     .width = model.config.hidden,
                                     .rows = batch.tokens(),
                                     .x = d_x,
                                     .y = gradient.embedding});
  }
}

}  // namespace tinylora
