#include "engine/activations.h"

#include <algorithm>

#include "engine/forward.h"
#include "engine/layer_arrays.h"
#include "engine/model_shape.h"

namespace tinylora {
namespace {

/// The table of all buffers: with a counting arena it measures, with a real one it lays out.
class Plan {
 public:
  Plan(const Model& model, const Adapters& adapters, Activations& activations, Arena arena)
      : size_(model),
        rows_(static_cast<std::size_t>(activations.rows)),
        slots_(static_cast<std::size_t>(activations.pages) * kPageSize),
        rank_(activations.pages > 0 ? adapters.rank() : kMaxRank),
        head_norms_(keeps_raw(model)),
        activations_(activations),
        arena_(arena) {
    activations_.layers.resize(static_cast<std::size_t>(model.config.layers));
    lay_out();
  }

  std::size_t bytes() const { return arena_.used(); }

 private:
  bool keeps() const { return activations_.pages > 0; }
  /// Whether layers share x_mid, apart from x.
  bool shares() const { return activations_.gradient_checkpointing || activations_.sampled; }

  void lay_out() {
    LayerActivations shared{};
    arena_.take(shared.x, rows_ * size_.hidden);
    shared.x_mid = shared.x;
    if (!keeps() || activations_.first_kept > 0 || shares()) take_layer(shared);
    take_raw(shared);
    float* shared_x_mid = shared.x;
    if (shares()) arena_.take(shared_x_mid, rows_ * size_.hidden);
    float* other_x = shared.x;
    if (activations_.sampled) arena_.take(other_x, rows_ * size_.hidden);
    for (std::size_t layer = 0; layer < activations_.layers.size(); ++layer) {
      LayerActivations& own = activations_.layers[layer];
      own = shared;
      if (activations_.sampled) {
        own.x_mid = shared_x_mid;
        if (layer % 2 != 0) own.x = other_x;
        continue;
      }
      if (!keeps() || static_cast<int>(layer) < activations_.first_kept) continue;
      if (static_cast<int>(layer) > activations_.first_kept) arena_.take(own.x, rows_ * size_.hidden);
      if (shares()) {
        own.x_mid = shared_x_mid;
        take_z(own);
        continue;
      }
      arena_.take(own.x_mid, rows_ * size_.hidden);
      take_layer(own);
      if (head_norms_) take_raw(own);
    }
    activations_.x_last = activations_.layers.size() % 2 == 0 ? shared.x : other_x;
    const bool any_kept = keeps() && activations_.first_kept < static_cast<int>(activations_.layers.size());
    if (any_kept && !activations_.sampled) arena_.take(activations_.x_last, rows_ * size_.hidden);

    // The scratch memory of the forward pass and that of the backward pass are the same.
    Arena forward = arena_;
    Arena backward = arena_;
    take_forward(forward);
    if (any_kept) take_backward(backward);
    arena_ = forward.used() > backward.used() ? forward : backward;
  }

  /// For the visits of layer_arrays.h.
  auto take() {
    return [this](auto*& buffer, std::size_t row_bytes) { arena_.take(buffer, rows_ * row_bytes); };
  }
  void take_layer(LayerActivations& layer) {
    for_inner_arrays(layer, size_, take());
    take_z(layer);
  }
  void take_z(LayerActivations& layer) { for_z_arrays(layer, rank_, take()); }
  void take_raw(LayerActivations& layer) { for_raw_arrays(layer, size_, take()); }

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
  std::size_t rows_, slots_;
  int rank_;
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

ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, bool sampled) {
  ActivationsPtr activations(new Activations);
  activations->rows = rows;
  activations->sampled = sampled;
  return allocated(model, adapters, std::move(activations));
}

ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, const Keeping& keeping) {
  ActivationsPtr activations(new Activations);
  activations->rows = rows;
  activations->pages = keeping.pages;
  activations->basis_version = adapters.basis_version();
  activations->first_kept = std::max(0, keeping.first_module) / module_types;
  activations->gradient_checkpointing = keeping.gradient_checkpointing;
  activations->sampled = keeping.sampled;
  return allocated(model, adapters, std::move(activations));
}

}  // namespace tinylora
