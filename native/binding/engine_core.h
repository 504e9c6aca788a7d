// The parts of an engine, without JavaScript. They are used on the worker's thread; on the JavaScript thread only the
// members that say "on any thread".
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "binding/specs.h"

namespace tinylora::binding {

class EngineCore {
 public:
  /// Loads the model. Throws ERR_ABORTED once `abort` is set.
  EngineCore(EngineSpec spec, const Progress& progress, const std::atomic<bool>& abort);

  std::vector<Svd> compute_svd(int rank, const std::vector<int>& modules, const Progress& progress,
                               const std::atomic<bool>& abort);
  ScoreResult forward(const ScoreBatch& batch, const std::atomic<bool>& abort);
  std::vector<double> backward(const std::vector<float>& d_logprobs, const std::vector<std::int32_t>& parts,
                               const std::atomic<bool>& abort);

  // On any thread:
  const ModelConfig& config() const { return model_->config; }
  std::string device_name() const { return backend_->name(); }
  const std::string& fingerprint() const { return model_->fingerprint; }
  std::size_t weight_bytes() const { return model_->weight_bytes; }
  std::size_t activation_bytes() const { return pass_bytes_ + sampler_->activation_bytes(); }
  Sampler& sampler() { return *sampler_; }

  Adapters& adapters() { return *adapters_; }
  Parameters& parameters() { return *parameters_; }
  /// After it nothing but v is trained.
  void set_basis(const Basis& basis);
  void train_weights(const std::vector<std::string>& names) { parameters_->train_weights(names, spec_.tensors); }
  void zero_gradients();

 private:
  EngineSpec spec_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Adapters> adapters_;
  std::unique_ptr<Parameters> parameters_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<Trainer> trainer_;
  std::atomic<std::size_t> pass_bytes_ = 0;
};

/// Most memory that this process has held, in bytes.
std::size_t peak_rss();

}  // namespace tinylora::binding
