// What a device has to offer so that the engine can run on it: memory, weights in its own layout, and the table of ops.
//
// Ops run in the order they are called; a backend may run them later, but `download` and `synchronize` wait for all of
// them. An op may throw Error; the contents of its outputs are then undefined, everything else stays usable.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/thread_pool.h"
#include "ops/gram_matrix.h"
#include "ops/ops.h"

namespace tinylora {

/// A matrix [out, in] in the memory layout that the backend's products read. Only `repack` changes it.
class Weight {
 public:
  Weight(int rows, int columns, DType type) : out(rows), in(columns), dtype(type) {}
  virtual ~Weight() = default;
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;

  const int out;
  const int in;
  const DType dtype;
};

/// Fills row [in] with row `index` of the matrix, in float. Called once for each row, in any order, from several
/// threads at once.
using RowReader = std::function<void(int index, float* row)>;

class Backend {
 public:
  virtual ~Backend() = default;

  /// "reference", "cpu (avx512-bf16, 2 threads)", ...
  virtual std::string name() const = 0;
  /// The dtype of every "act" buffer.
  virtual DType dtype() const = 0;

  // Memory. Allocations are aligned to 64 bytes at least and hold zeros.
  virtual std::shared_ptr<void> allocate(std::size_t bytes) = 0;
  virtual void upload(void* device, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* device, std::size_t bytes) = 0;
  virtual void zero(void* device, std::size_t bytes) = 0;
  virtual void synchronize() {}

  /// Runs `record`, which calls ops on fixed addresses. A backend that records what it queues may repeat the recording
  /// instead of calling `record` once more. `recording` is the backend's and starts empty; the caller keeps it for the
  /// next call, and resets it when an argument of one of the ops changes.
  virtual void replay(std::shared_ptr<void>& /*recording*/, const std::function<void()>& record) { record(); }
  /// Whether `replay` repeats recordings: then it pays to pad batches of similar size to one size.
  virtual bool replays() const { return false; }

  /// Rows of a pass that take hardly longer than one, since all wait for the same weights.
  virtual int cheap_rows() const { return 1; }

  /// Rounds to dtype() and packs.
  virtual std::unique_ptr<Weight> pack(int out, int in, const RowReader& read_row) = 0;

  /// The matrix for the products that its SVD needs, in float whatever dtype() is. `pool` reads the rows and does the
  /// part of the work that runs on the host; it must outlive the result. Throws ERR_MEMORY where a device has no room
  /// for the matrix.
  virtual std::unique_ptr<GramMatrix> gram_matrix(int out, int in, const RowReader& read_row, ThreadPool& pool) = 0;

  /// Size of what `prepare_factor` makes of a factor a or b [rank, width] of a low-rank update (LoraArgs); 0 where the
  /// backend's products read the floats and need nothing else.
  virtual std::size_t prepared_bytes(int /*rank*/, int /*width*/) const { return 0; }
  /// Writes it, from the factor's present numbers: to be called again when they change.
  virtual void prepare_factor(const float* /*factor*/, int /*rank*/, int /*width*/, void* /*prepared*/) {}

  // The op table; the headers that ops/ops.h names have the arguments.
  virtual void embed(const EmbedArgs&) = 0;
  virtual void rms_norm(const RmsNormArgs&) = 0;
  virtual void rms_norm_backward(const RmsNormBackwardArgs&) = 0;
  /// Several products of the same x, rows and adapter (q, k and v; gate and up) in one pass over x. Each has the bits
  /// that it has when it is computed alone.
  virtual void linear(std::span<const LinearArgs> products) = 0;
  virtual void linear_backward(const LinearBackwardArgs&) = 0;
  virtual void rope_store(const RopeStoreArgs&) = 0;
  virtual void rope_store_backward(const RopeStoreBackwardArgs&) = 0;
  virtual void attention(const AttentionArgs&) = 0;
  virtual void attention_backward(const AttentionBackwardArgs&) = 0;
  virtual void swiglu(const SwigluArgs&) = 0;
  virtual void swiglu_backward(const SwigluBackwardArgs&) = 0;
  virtual void cast(const CastArgs&) = 0;
  virtual void gather_rows(const GatherRowsArgs&) = 0;
  virtual void copy_rows(const CopyRowsArgs&) = 0;
  virtual void scatter_add_rows(const ScatterAddRowsArgs&) = 0;
  virtual void head(const HeadArgs&) = 0;
  virtual void head_backward(const HeadBackwardArgs&) = 0;
  virtual void head_sample(const HeadSampleArgs&) = 0;
  virtual void weight_gradient(const WeightGradientArgs&) = 0;
  virtual void lora_gradient(const LoraGradientArgs&) = 0;
  virtual void gain_gradient(const GainGradientArgs&) = 0;
  virtual void head_gain_gradient(const HeadGainGradientArgs&) = 0;
  virtual void head_gradient(const HeadGradientArgs&) = 0;
  virtual void sum_squares(const SumSquaresArgs&) = 0;
  virtual void adamw(const AdamwArgs&) = 0;
  virtual void sgd(const SgdArgs&) = 0;
  /// Packs `values` [out, in] of the backend's memory into a weight that this backend packed before.
  virtual void repack(Weight&, const float* values) = 0;

  void linear(const LinearArgs& product) { linear(std::span(&product, 1)); }
};

/// A copy of `values` in new memory of the backend.
template <typename T>
std::shared_ptr<void> uploaded(Backend& backend, const std::vector<T>& values) {
  std::shared_ptr<void> memory = backend.allocate(values.size() * sizeof(T));
  backend.upload(memory.get(), values.data(), values.size() * sizeof(T));
  return memory;
}

/// Plain C++, one thread, every op written as its formula.
std::unique_ptr<Backend> make_reference_backend(DType dtype);

}  // namespace tinylora
