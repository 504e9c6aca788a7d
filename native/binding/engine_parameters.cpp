// The members of Engine that train weights.
#include "binding/engine.h"
#include "core/error.h"

namespace tinylora::binding {

EngineCore& Engine::idle_core(const char* method) const {
  EngineCore& engine = core();
  check(!engine.sampler().busy(), "ERR_ARGUMENT", method, ": expected no unfinished requests");
  return engine;
}

Napi::Value Engine::version(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    EngineCore& engine = core();
    const int slot = Argument(info, 0, "slot").number_of(-1, 1 << 16);
    int version = 0;
    worker_->call([&] { version = engine.adapters().version(slot); });
    return Napi::Number::New(info.Env(), version);
  });
}

Napi::Value Engine::train_basis(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    EngineCore& engine = idle_core("trainBasis");
    std::vector<Parameters::Tensor> tensors;
    change([&] {
      engine.parameters().train_basis();
      tensors = engine.parameters().tensors();
    });
    return to_js(info.Env(), tensors);
  });
}

Napi::Value Engine::train_weights(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    std::vector<std::string> names;
    for (const Argument& name : Argument(info, 0, "names").list(1 << 20)) names.push_back(name.text());
    EngineCore& engine = idle_core("trainWeights");
    std::vector<Parameters::Tensor> tensors;
    change([&] {
      engine.train_weights(names);
      tensors = engine.parameters().tensors();
    });
    return to_js(info.Env(), tensors);
  });
}

Napi::Value Engine::update_parameters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const UpdateOptions options = read_update({info, 0, "options"});
    EngineCore& engine = idle_core("updateParameters");
    double norm = 0;
    change([&] { norm = engine.parameters().update(options); });
    return Napi::Number::New(info.Env(), norm);
  });
}

Napi::Value Engine::read_parameter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    EngineCore& engine = core();
    const int tensor = Argument(info, 0, "tensor").number_of(0, 1 << 20);
    const Parameters::Part part = read_part({info, 1, "part"});
    std::vector<float> values;
    worker_->call([&] { values = engine.parameters().read(tensor, part); });
    return to_js(info.Env(), values);
  });
}

void Engine::write_parameter(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    EngineCore& engine = idle_core("writeParameter");
    const int tensor = Argument(info, 0, "tensor").number_of(0, 1 << 20);
    const Parameters::Part part = read_part({info, 1, "part"});
    const std::vector<float> values = Argument(info, 2, "values").floats();
    change([&] { engine.parameters().write(tensor, part, values); });
  });
}

void Engine::save_parameters(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    EngineCore& engine = core();
    worker_->call([&] { engine.parameters().save(); });
  });
}

void Engine::restore_parameters(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    EngineCore& engine = idle_core("restoreParameters");
    change([&] { engine.parameters().restore(); });
  });
}

}  // namespace tinylora::binding
