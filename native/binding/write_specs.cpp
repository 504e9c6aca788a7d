#include <cstring>

#include "binding/errors.h"
#include "binding/specs.h"
#include "engine/model_shape.h"

namespace tinylora::binding {
namespace {

template <typename T>
Napi::TypedArrayOf<T> copied(Napi::Env env, const std::vector<T>& values) {
  auto array = Napi::TypedArrayOf<T>::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(T));
  return array;
}

}  // namespace

Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values) { return copied(env, values); }
Napi::Float64Array to_js(Napi::Env env, const std::vector<double>& values) { return copied(env, values); }
Napi::Int32Array to_js(Napi::Env env, const std::vector<std::int32_t>& values) { return copied(env, values); }

Napi::Object to_js(Napi::Env env, const SampleEvent& event) {
  Napi::Object object = Napi::Object::New(env);
  const bool finished = event.type == SampleEvent::finished;
  const bool failed = event.type == SampleEvent::failed;
  object.Set("type", finished ? "finished" : failed ? "failed" : "tokens");
  object.Set("id", static_cast<double>(event.id));
  if (failed) {
    object.Set("error", to_js(env, Failure{event.code, event.reason}).Value());
    return object;
  }
  object.Set("completion", event.completion);
  object.Set("tokens", to_js(env, event.token_ids));
  object.Set("logprobs", to_js(env, event.logprobs));
  if (finished) {
    object.Set("entropies", to_js(env, event.entropies));
    object.Set("reason", event.reason);
    object.Set("version", event.version);
  }
  return object;
}

Napi::Object to_js(Napi::Env env, int module, const Svd& svd) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("module", module);
  object.Set("u", to_js(env, svd.u));
  object.Set("s", to_js(env, svd.s));
  object.Set("vt", to_js(env, svd.vt));
  object.Set("angle", svd.angle);
  return object;
}

Napi::Object to_js(Napi::Env env, const ScoreResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("logprobs", to_js(env, result.logprobs));
  object.Set("entropies", to_js(env, result.entropies));
  object.Set("sampled", result.sampled);
  return object;
}

Napi::Array modules_to_js(Napi::Env env, const ModelConfig& config) {
  const int count = config.layers * module_types;
  Napi::Array modules = Napi::Array::New(env, static_cast<std::size_t>(count));
  for (int index = 0; index < count; ++index) {
    const int layer = index / module_types;
    const LinearShape shape = linear_shape(config, index % module_types);
    const std::string path = shape.name;  // "self_attn.q_proj"
    Napi::Object module = Napi::Object::New(env);
    module.Set("index", index);
    module.Set("name", "model.layers." + std::to_string(layer) + "." + path);
    module.Set("layer", layer);
    module.Set("type", path.substr(path.find('.') + 1));
    module.Set("in", shape.in);
    module.Set("out", shape.out);
    modules.Set(static_cast<std::uint32_t>(index), module);
  }
  return modules;
}

Napi::Array to_js(Napi::Env env, const std::vector<Parameters::Tensor>& tensors) {
  Napi::Array array = Napi::Array::New(env, tensors.size());
  for (std::uint32_t i = 0; i < tensors.size(); ++i) {
    Napi::Object tensor = Napi::Object::New(env);
    tensor.Set("name", tensors[i].name);
    Napi::Array shape = Napi::Array::New(env);
    shape.Set(0U, tensors[i].rows);
    if (!tensors[i].vector) shape.Set(1U, tensors[i].columns);
    tensor.Set("shape", shape);
    array.Set(i, tensor);
  }
  return array;
}

}  // namespace tinylora::binding
