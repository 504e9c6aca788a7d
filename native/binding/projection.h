#pragma once

#include <napi.h>

namespace tinylora::binding {

/// The fixed random matrices of one module.
Napi::Value projection(const Napi::CallbackInfo& info);

}  // namespace tinylora::binding
