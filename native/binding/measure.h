// The calls of the addon that need no engine: the machine, measurements, projections.
#pragma once

#include <napi.h>

namespace tinylora::binding {

Napi::Value machine(const Napi::CallbackInfo& info);
Napi::Value projection(const Napi::CallbackInfo& info);
Napi::Value bench_product(const Napi::CallbackInfo& info);
Napi::Value bench_limits(const Napi::CallbackInfo& info);

}  // namespace tinylora::binding
