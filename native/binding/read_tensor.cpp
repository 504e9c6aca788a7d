#include "binding/read_tensor.h"

#include "binding/async.h"
#include "binding/specs.h"
#include "engine/read_tensor.h"

namespace tinylora::binding {

Napi::Value read_tensor(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const TensorSource source = read_tensor_source(Argument(info, 0, "source"));
    const auto read = [source](const std::atomic<bool>& abort) -> MakeValue {
      return
          [values = tinylora::read_tensor(source, abort)](Napi::Env env) -> Napi::Value { return to_js(env, values); };
    };
    return Worker::start(info.Env())->run(info.Env(), {}, {}, [&](Key) { return read; });
  });
}

}  // namespace tinylora::binding
