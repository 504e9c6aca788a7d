#include "engine/activations.h"

#include <algorithm>

#include "engine/forward.h"
#include "engine/model_shape.h"
#include "engine/models/family.h"

namespace tinylora {
namespace {

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

/// The table of all buffers: with a counting arena it measures, with a real one it lays out.
class Plan {
 public:
  Plan(const Model& model, const Adapters& adapters, Activations& activations, Arena arena)
      : size_(model),
        rows_(static_cast<std::size_t>(activations.rows)),
        slots_(static_cast<std::size_t>(activations.pages) * kPageSize),
        z_(RowBytes::floats(kMaxRank)),
        head_norms_(find_family(model.config.family)->qk_norm),
        activations_(activations),
        arena_(arena) {
    if (keeps()) z_ = RowBytes::floats(adapters.rank());
    activations_.layers.resize(static_cast<std::size_t>(model.config.layers));
    lay_out();
  }

  std::size_t bytes() const { return arena_.used(); }

 private:
  bool keeps() const { return activations_.pages > 0; }

  void lay_out() {
    LayerActivations shared{};
    arena_.take(shared.x, rows_ * size_.hidden);
    shared.x_mid = shared.x;
    const bool checkpoints = activations_.gradient_checkpointing;
    if (!keeps() || activations_.first_kept > 0 || checkpoints) take_layer(shared);
    take_raw(shared);
    float* shared_x_mid = nullptr;
    if (checkpoints) arena_.take(shared_x_mid, rows_ * size_.hidden);
    for (std::size_t layer = 0; layer < activations_.layers.size(); ++layer) {
      LayerActivations& own = activations_.layers[layer];
      own = shared;
      if (!keeps() || static_cast<int>(layer) < activations_.first_kept) continue;
      if (static_cast<int>(layer) > activations_.first_kept) arena_.take(own.x, rows_ * size_.hidden);
      if (checkpoints) {
        own.x_mid = shared_x_mid;
        take_z(own);
        continue;
      }
      arena_.take(own.x_mid, rows_ * size_.hidden);
      take_layer(own);
      if (head_norms_) take_raw(own);
    }
    activations_.x_last = shared.x;
    const bool any_kept = keeps() && activations_.first_kept < static_cast<int>(activations_.layers.size());
    if (any_kept) arena_.take(activations_.x_last, rows_ * size_.hidden);

    // The scratch memory of the forward pass and that of the backward pass are the same.
    Arena forward = arena_;
    Arena backward = arena_;
    take_forward(forward);
    if (any_kept) take_backward(backward);
    arena_ = forward.used() > backward.used() ? forward : backward;
  }

  void take_layer(LayerActivations& layer) {
    arena_.take(layer.inv_rms, rows_ * sizeof(float));
    arena_.take(layer.q, rows_ * size_.act(size_.query));
    arena_.take(layer.attention, rows_ * size_.act(size_.query));
    arena_.take(layer.lse, rows_ * size_.heads);
    arena_.take(layer.mid_inv_rms, rows_ * sizeof(float));
    arena_.take(layer.gate, rows_ * size_.act(size_.intermediate));
    arena_.take(layer.up, rows_ * size_.act(size_.intermediate));
    take_z(layer);
  }

  void take_z(LayerActivations& layer) {
    for (float*& z : layer.z) arena_.take(z, rows_ * z_);
  }

  void take_raw(LayerActivations& layer) {
    arena_.take(layer.q_raw, rows_ * size_.query);
    arena_.take(layer.k_raw, rows_ * size_.key);
  }

  void take_forward(Arena& arena) {
    ForwardScratch& scratch = activations_.forward;
    arena.take(scratch.normed, rows_ * size_.act(size_.hidden));
    arena.take(scratch.v_raw, rows_ * size_.key);
    arena.take(scratch.h, rows_ * size_.act(size_.intermediate));
  }

  void take_backward(Arena& arena) {
    BackwardScratch& scratch = activations_.backward;
    arena.take(scratch.dy, rows_ * size_.act(size_.hidden));
    arena.take(scratch.normed, rows_ * size_.act(size_.hidden));
    arena.take(scratch.d_norm, rows_ * size_.hidden);
    Arena mlp = arena;
    mlp.take(scratch.dh, rows_ * size_.intermediate);
    mlp.take(scratch.h, rows_ * size_.act(size_.intermediate));
    mlp.take(scratch.d_gate, rows_ * size_.act(size_.intermediate));
    mlp.take(scratch.d_up, rows_ * size_.act(size_.intermediate));
    Arena attention = arena;
    attention.take(scratch.d_out, rows_ * size_.query);
    attention.take(scratch.dq_out, rows_ * size_.query);
    attention.take(scratch.d_keys, slots_ * size_.key);
    attention.take(scratch.d_values, slots_ * size_.key);
    attention.take(scratch.dq, rows_ * size_.act(size_.query));
    attention.take(scratch.dk, rows_ * size_.act(size_.key));
    attention.take(scratch.dv, rows_ * size_.act(size_.key));
    arena = mlp.used() > attention.used() ? mlp : attention;
  }

  RowBytes size_;
  std::size_t rows_, slots_, z_;
  bool head_norms_;
  Activations& activations_;
  Arena arena_;
};

ActivationsPtr allocated(const Model& model, const Adapters& adapters, ActivationsPtr activations) {
  activations->bytes = Plan(model, adapters, *activations, Arena()).bytes();
  activations->memory = model.backend->allocate(activations->bytes);
  Plan(model, adapters, *activations, Arena(activations->memory.get()));
  return activations;
}

}  // namespace

void ActivationsDeleter::operator()(Activations* activations) const { delete activations; }

ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows) {
  ActivationsPtr activations(new Activations);
  activations->rows = rows;
  return allocated(model, adapters, std::move(activations));
}

ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, const Keeping& keeping) {
  ActivationsPtr activations(new Activations);
  activations->rows = rows;
  activations->pages = keeping.pages;
  activations->basis_version = adapters.basis_version();
  activations->first_kept = std::max(0, keeping.first_module) / module_types;
  activations->gradient_checkpointing = keeping.gradient_checkpointing;
  return allocated(model, adapters, std::move(activations));
}

}  // namespace tinylora
