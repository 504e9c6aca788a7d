// What is trained besides v: A and B of the adapter's basis (LoRA), or weights of the model (full fine-tuning). Each
// tensor has an fp32 master, its gradient and the optimiser's moments on the backend. Norm gains, biases, A and B are
// used as the masters are; matrices of the model are packed anew from them after every update.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/adapter.h"
#include "engine/gradients.h"
#include "engine/model_shape.h"

namespace tinylora {

struct UpdateOptions {  // lib/native/addon.ts
  bool adamw = true;    // else sgd
  double rate = 0;
  double decay = 0;     // of matrices: norm gains and biases keep their size
  double max_norm = 0;  // the gradient is scaled down to it; 0: never
  double momentum = 0;
  double beta1 = 0, beta2 = 0, epsilon = 0;
  std::int64_t updates = 1;  // with this one
};

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

  /// Nothing but v.
  void clear();
  /// A [r, in] and B transposed [r, out] of every module of the present basis.
  void train_basis();
  /// Weights of the model by Hugging Face's names, masters read from `sources`.
  void train_weights(const std::vector<std::string>& names, const std::vector<TensorSource>& sources);

  std::vector<Tensor> tensors() const;
  /// Where the way back of the layers and of the head adds; also says how far back it goes for v.
  ModelGradient gradients() const;
  /// Counts the choices of what is trained: what was sized for another one is stale.
  int version() const { return version_; }

  void zero_gradients();
  /// Euclidean norm over all tensors; NaN or infinity where a gradient is.
  double gradient_norm() const;
  /// Fails with ERR_NUMERIC, nothing changed, where the gradient's norm is not finite. Returns that norm.
  double update(const UpdateOptions& options);

  std::vector<float> read(int tensor, Part part) const;
  /// Of a master: the model uses it at once.
  void write(int tensor, Part part, const std::vector<float>& values);

  /// Keeps masters and moments aside; `restore` goes back to them.
  void save();
  void restore();

 private:
  static constexpr Part kKept[] = {master, first_moment, second_moment};
  struct Entry {
    Tensor tensor;
    std::shared_ptr<void> memory[parts];
    std::vector<float> saved[parts];
    Weight* weight = nullptr;  // packed from the master
    std::size_t bytes() const { return tensor.count() * sizeof(float); }
    float* data(Part part) const { return static_cast<float*>(memory[part].get()); }
  };

  Entry make_entry(const Tensor& tensor, std::shared_ptr<void> values) const;
  std::shared_ptr<void> read_source(const TensorShape& shape, const std::vector<TensorSource>& sources) const;
  void replace(std::vector<Entry> entries, ModelGradient gradients, bool basis);
  const Entry& entry(int tensor) const;
  void publish(const Entry& entry);
  /// What was sampled or kept before is another model's.
  void changed();

  Model* model_;
  Adapters* adapters_;
  std::vector<Entry> entries_;
  ModelGradient gradients_;
  bool basis_ = false;  // A and B are trained
  int version_ = 0;
};

}  // namespace tinylora
