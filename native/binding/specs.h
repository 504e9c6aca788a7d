// The plain objects of lib/native/addon.ts, read into the structs of the engine and written back.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "binding/arguments.h"
#include "cpu/features.h"
#include "cuda/device.h"
#include "engine/adapter.h"
#include "engine/model.h"
#include "engine/parameters.h"
#include "engine/sampler.h"
#include "engine/svd.h"
#include "engine/trainer.h"

namespace tinylora::binding {

enum class DeviceKind { cpu, cuda, reference };

struct DeviceChoice {
  DeviceKind kind = DeviceKind::cpu;
  int ordinal = cuda::kFirstUsable;  // of cuda
  std::string driver;                // of cuda: the file to open in place of the machine's own
};

struct EngineSpec {
  ModelConfig config;
  std::vector<TensorSource> tensors;
  DType dtype = DType::f32;
  DeviceChoice device;
  int threads = 1;
  std::optional<CpuPath> path;
  int max_sequences = 0;
  int cache_tokens = 0;
  TokenBytes token_bytes;
};

inline constexpr int kMaxThreads = 1024;

EngineSpec read_engine_spec(const Argument& spec);
TensorSource read_tensor_source(const Argument& source);
/// "cpu", "cuda", "cuda:N", "cudasim" with `driver`, or "reference".
DeviceChoice read_device(const Argument& spec);
DType read_dtype(const Argument& dtype);
CpuPath read_path(const Argument& path);

Basis read_basis(const Argument& basis);
UpdateOptions read_update(const Argument& options);
Parameters::Part read_part(const Argument& part);
ScoreBatch read_score_batch(const Argument& batch);
SampleRequest read_sample_request(const Argument& request);

Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values);
Napi::Float64Array to_js(Napi::Env env, const std::vector<double>& values);
Napi::Int32Array to_js(Napi::Env env, const std::vector<std::int32_t>& values);
Napi::Object to_js(Napi::Env env, const SampleEvent& event);
Napi::Object to_js(Napi::Env env, int module, const Svd& svd);
Napi::Object to_js(Napi::Env env, const ScoreResult& result);
Napi::Array to_js(Napi::Env env, const std::vector<Parameters::Tensor>& tensors);
/// LinearModule objects of every module.
Napi::Array modules_to_js(Napi::Env env, const ModelConfig& config);

}  // namespace tinylora::binding
