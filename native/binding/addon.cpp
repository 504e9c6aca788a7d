// What tinylora.node exports: lib/native/addon.ts, Addon.
#include <napi.h>

#include "binding/engine.h"
#include "binding/machine.h"
#include "binding/measure.h"
#include "binding/projection.h"
#include "binding/read_tensor.h"

namespace tinylora::binding {
namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment;  // deleted with the JavaScript environment
  env.SetInstanceData(environment);
  environment->engine_class = Napi::Persistent(Engine::define(env));
  exports.Set("version", TINYLORA_VERSION);
  exports.Set("machine", Napi::Function::New<machine>(env, "machine"));
  exports.Set("loadEngine", Napi::Function::New<Engine::load>(env, "loadEngine"));
  exports.Set("readTensor", Napi::Function::New<read_tensor>(env, "readTensor"));
  exports.Set("projection", Napi::Function::New<projection>(env, "projection"));
  exports.Set("benchProduct", Napi::Function::New<bench_product>(env, "benchProduct"));
  exports.Set("benchLimits", Napi::Function::New<bench_limits>(env, "benchLimits"));
  return exports;
}

}  // namespace
}  // namespace tinylora::binding

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) { return tinylora::binding::init(env, exports); }

NODE_API_MODULE(tinylora, init_addon)
