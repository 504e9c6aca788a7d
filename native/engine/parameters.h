// What is trained besides v: A and B of the adapter's basis (LoRA), or weights of the model (full fine-tuning). Each
// tensor has an fp32 master, its gradient and the optimiser's two moments on the backend. The model reads the masters
// of norm gains, biases, A and B themselves; its matrices are packed anew from their masters after every update.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine/adapter.h"
#include "engine/gradients.h"
#include "engine/model_shape.h"
#include "engine/update_options.h"

namespace tinylora {

class Parameters {
 public:
  struct Tensor {
    std::string name;
    int rows = 0, columns = 1;
    bool vector = false;
    std::size_t count() const { return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns); }
  };
  enum Part { master, gradient, first_moment, second_moment, parts };

  Parameters(Model& model, Adapters& adapters);

  // Each of these three replaces what is trained, with moments and gradients of zero.

  /// Nothing but v is trained.
  void clear();
  /// Trains A [r, in] and B transposed [r, out] of every module of the present basis.
  void train_basis();
  /// Trains these weights of the model, by Hugging Face's names; their masters are read from `sources`.
  void train_weights(const std::vector<std::string>& names, const std::vector<TensorSource>& sources);

  std::vector<Tensor> tensors() const;
  /// Where the backward pass adds gradients; its first_module takes the adapted modules into account too.
  ModelGradient gradients() const;
  /// Counts the changes of what is trained: what was sized for another choice is stale.
  int version() const { return version_; }

  void zero_gradients();
  /// Euclidean norm over all tensors; NaN or infinity where a gradient is.
  double gradient_norm() const;
  /// Fails with ERR_NUMERIC, nothing changed, where the gradient's norm is not finite. Returns that norm.
  double update(const UpdateOptions& options);

  std::vector<float> read(int tensor, Part part) const;
  /// A master that is written is what the model computes with from then on.
  void write(int tensor, Part part, const std::vector<float>& values);

  /// Keeps a copy of masters and moments, in place of the last one; `restore` goes back to it. After an error there is
  /// none.
  void save();
  void restore();

 private:
  static constexpr Part kKept[] = {master, first_moment, second_moment};
  struct Entry {
    Tensor tensor;
    std::shared_ptr<void> memory[parts];
    Weight* weight = nullptr;  // packed from the master
    std::size_t bytes() const { return tensor.count() * sizeof(float); }
    float* data(Part part) const { return static_cast<float*>(memory[part].get()); }
  };

  using Saved = std::array<std::vector<float>, parts>;

  Entry make_entry(const Tensor& tensor, std::shared_ptr<void> values) const;
  std::shared_ptr<void> read_source(const TensorShape& shape, const std::vector<TensorSource>& sources) const;
  void replace(std::vector<Entry> entries, ModelGradient gradients, bool basis);
  const Entry& entry(int tensor) const;
  /// Makes the model compute with the present master.
  void publish(const Entry& entry);
  /// Gives new versions to weights that are about to change: kept passes and recordings of the old ones are stale, also
  /// where an error leaves some of them unchanged.
  void changed();

  Model* model_;
  Adapters* adapters_;
  std::vector<Entry> entries_;
  std::vector<Saved> saved_;  // of each entry; empty where nothing is saved
  ModelGradient gradients_;
  bool basis_ = false;  // A and B are trained
  int version_ = 0;
};

}  // namespace tinylora
