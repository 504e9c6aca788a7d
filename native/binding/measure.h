// The measurements of the addon, each on a thread of its own.
#pragma once

#include <napi.h>

namespace tinylora::binding {

Napi::Value bench_product(const Napi::CallbackInfo& info);
Napi::Value bench_limits(const Napi::CallbackInfo& info);

}  // namespace tinylora::binding
