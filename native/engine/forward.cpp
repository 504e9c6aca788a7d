// The layers, one after the other:
//   x_mid = x + o_proj(attention(rope(q_proj n), rope(k_proj n), v_proj n)),  n = norm(x)
//   x'    = x_mid + down_proj(silu(gate_proj n) * up_proj n),                 n = norm(x_mid)
#include "engine/forward.h"

#include <array>
#include <span>

#include "core/error.h"
#include "engine/activations.h"
#include "engine/sampled_activations.h"

namespace tinylora {
namespace {

/// What the functions of this file share.
struct Pass {
  const Model& model;
  const Adapters& adapters;
  const DeviceBatch& batch;
  const KvCache& cache;
  Activations& activations;

  Backend& backend() const { return *model.backend; }
  const ModelConfig& config() const { return model.config; }
  int rows() const { return batch.layout().rows; }
};

LinearArgs linear_args(const Pass& pass, int layer, int type, const void* x) {
  const auto index = static_cast<std::size_t>(layer);
  const Linear& linear = pass.model.layers[index].linear[type];
  return {.rows = pass.rows(),
          .x = x,
          .weight = linear.weight.get(),
          .bias = floats(linear.bias),
          .lora = pass.adapters.lora(layer * module_types + type, pass.batch.adapter()),
          .z = pass.activations.layers[index].z[static_cast<std::size_t>(type)]};
}

LinearArgs float_product(const Pass& pass, int layer, int type, const void* x, float* y,
                         const float* residual = nullptr) {
  LinearArgs args = linear_args(pass, layer, type, x);
  args.y = y;
  args.y_float = true;
  args.residual = residual;
  return args;
}

LinearArgs act_product(const Pass& pass, int layer, int type, const void* x, void* y) {
  LinearArgs args = linear_args(pass, layer, type, x);
  args.y = y;
  return args;
}

void norm(const Pass& pass, const std::shared_ptr<void>& gain, const float* x, float* inv_rms,
          std::span<LinearArgs> readers) {
  pass.backend().rms_norm({.rows = pass.rows(),
                           .width = pass.config().hidden,
                           .epsilon = pass.config().rms_norm_epsilon,
                           .x = x,
                           .gain = floats(gain),
                           .y = pass.activations.forward.normed,
                           .inv_rms = inv_rms,
                           .readers = {readers.data(), static_cast<int>(readers.size())}});
}

/// x_mid.
void attention_block(const Pass& pass, int index) {
  const ModelConfig& config = pass.config();
  const Layer& layer = pass.model.layers[static_cast<std::size_t>(index)];
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const ForwardScratch& scratch = pass.activations.forward;
  std::array qkv{float_product(pass, index, q_proj, scratch.normed, kept.q_raw),
                 float_product(pass, index, k_proj, scratch.normed, kept.k_raw),
                 float_product(pass, index, v_proj, scratch.normed, scratch.v_raw)};
  norm(pass, layer.input_norm, kept.x, kept.inv_rms, qkv);
  pass.backend().linear(qkv);
  pass.backend().rope_store({.layout = &pass.batch.layout(),
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
                             .v = scratch.v_raw,
                             .q_out = kept.q,
                             .pages = pass.cache.layer(index)});
  LinearArgs o = float_product(pass, index, o_proj, kept.attention, kept.x_mid, kept.x);
  pass.backend().attention({.layout = &pass.batch.layout(),
                            .heads = config.heads,
                            .kv_heads = config.kv_heads,
                            .head_dim = config.head_dim,
                            .q = kept.q,
                            .pages = pass.cache.layer(index),
                            .out = kept.attention,
                            .lse = kept.lse,
                            .readers = {&o, 1}});
  pass.backend().linear(o);
}

/// The product that gives x', with its input computed.
LinearArgs before_down_proj(const Pass& pass, int index, float* x_next) {
  const Layer& layer = pass.model.layers[static_cast<std::size_t>(index)];
  const LayerActivations& kept = pass.activations.layers[static_cast<std::size_t>(index)];
  const ForwardScratch& scratch = pass.activations.forward;
  std::array gate_up{act_product(pass, index, gate_proj, scratch.normed, kept.gate),
                     act_product(pass, index, up_proj, scratch.normed, kept.up)};
  norm(pass, layer.post_norm, kept.x_mid, kept.mid_inv_rms, gate_up);
  pass.backend().linear(gate_up);
  LinearArgs down = float_product(pass, index, down_proj, scratch.h, x_next, kept.x_mid);
  pass.backend().swiglu({.rows = pass.rows(),
                         .width = pass.config().intermediate,
                         .gate = kept.gate,
                         .up = kept.up,
                         .h = scratch.h,
                         .readers = {&down, 1}});
  return down;
}

}  // namespace

const float* run_layers(const Model& model, const Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                        Activations& activations, const std::atomic<bool>& abort, const SampledActivations* keep) {
  const Pass pass{model, adapters, batch, cache, activations};
  check(pass.rows() <= activations.rows, "ERR_ARGUMENT", "forward: expected at most ", activations.rows,
        " rows, found ", pass.rows());
  pass.backend().embed({.rows = pass.rows(),
                        .tokens = batch.tokens(),
                        .table = model.embedding.get(),
                        .x = activations.layers.front().x});
  for (int layer = 0; layer < model.config.layers; ++layer) {
    check(!abort, "ERR_ABORTED", "forward: aborted before layer ", layer);
    const bool last = layer + 1 == model.config.layers;
    float* x_next = last ? activations.x_last : activations.layers[static_cast<std::size_t>(layer) + 1].x;
    attention_block(pass, layer);
    pass.backend().linear(before_down_proj(pass, layer, x_next));
    if (keep) keep->keep_layer(batch, activations, layer);
  }
  if (keep) keep->keep_last(batch, activations);
  return activations.x_last;
}

void run_layer_again(const Model& model, const Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                     Activations& activations, int layer) {
  const Pass pass{model, adapters, batch, cache, activations};
  attention_block(pass, layer);
  before_down_proj(pass, layer, nullptr);
}

}  // namespace tinylora
