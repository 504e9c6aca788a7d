#include "binding/engine_core.h"

#include <sys/resource.h>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"
#include "engine/model_shape.h"

namespace tinylora::binding {
namespace {

std::unique_ptr<Backend> make_backend(const EngineSpec& spec) {
  const DeviceChoice& device = spec.device;
  if (device.kind == DeviceKind::reference) return make_reference_backend(spec.dtype);
  if (device.kind == DeviceKind::cuda) return make_cuda_backend(spec.dtype, device.ordinal, device.driver);
  return make_cpu_backend(spec.dtype, spec.threads, spec.path);
}

/// Names the module in an error about memory.
Svd module_svd(Backend& backend, const EngineSpec& spec, int module, int rank, ThreadPool& pool,
               const std::atomic<bool>& abort) {
  const LinearShape shape = linear_shape(spec.config, module % module_types);
  try {
    const RowReader rows = module_rows(spec.tensors, spec.config, module);
    return truncated_svd(backend, shape.out, shape.in, rows, rank, pool, abort);
  } catch (const Error& error) {
    if (error.code() != "ERR_MEMORY") throw;
    fail("ERR_MEMORY", "svd: layer ", module / module_types, ", ", shape.name, " [", shape.out, ", ", shape.in,
         "], whose weights lie on the device in fp32",
         spec.device.kind == DeviceKind::cuda ? " (device cpu computes the same factors)" : "", ": ", error.what());
  }
}

}  // namespace

EngineCore::EngineCore(EngineSpec spec, const Progress& progress, const std::atomic<bool>& abort)
    : spec_(std::move(spec)) {
  backend_ = make_backend(spec_);
  model_ = load_model(*backend_, spec_.config, spec_.tensors, [&](std::int64_t done, std::int64_t total) {
    check(!abort, "ERR_ABORTED", "load: aborted");
    progress(done, total);
  });
  adapters_ = std::make_unique<Adapters>(*model_);
  parameters_ = std::make_unique<Parameters>(*model_, *adapters_);
  sampler_ = std::make_unique<Sampler>(*model_, *adapters_, spec_.max_sequences, spec_.cache_tokens,
                                       std::move(spec_.token_bytes));
  trainer_ = std::make_unique<Trainer>(*model_, *adapters_, *parameters_, &sampler_->sampled());
}

std::vector<Svd> EngineCore::compute_svd(int rank, const std::vector<int>& modules, const Progress& progress,
                                         const std::atomic<bool>& abort) {
  ThreadPool pool(spec_.threads);
  std::vector<Svd> factors;
  for (const int module : modules) {
    factors.push_back(module_svd(*backend_, spec_, module, rank, pool, abort));
    progress(static_cast<std::int64_t>(factors.size()), static_cast<std::int64_t>(modules.size()));
  }
  return factors;
}

ScoreResult EngineCore::forward(const ScoreBatch& batch, const std::atomic<bool>& abort) {
  const struct Sized {
    EngineCore& core;
    ~Sized() { core.pass_bytes_ = core.trainer_->activation_bytes(); }  // a pass that fails gives its memory back
  } sized{*this};
  return trainer_->forward(batch, abort);
}

std::vector<double> EngineCore::backward(const std::vector<float>& d_logprobs, const std::vector<std::int32_t>& parts,
                                         const std::atomic<bool>& abort) {
  return trainer_->backward(d_logprobs, parts, abort);
}

void EngineCore::set_basis(const Basis& basis) {
  adapters_->set_basis(basis);
  parameters_->clear();
}

void EngineCore::zero_gradients() {
  adapters_->zero_gradients();
  parameters_->zero_gradients();
}

std::size_t peak_rss() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return static_cast<std::size_t>(usage.ru_maxrss);
#else
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace tinylora::binding
