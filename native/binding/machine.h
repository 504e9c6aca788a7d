#pragma once

#include <napi.h>

namespace tinylora::binding {

/// The processor, and what can be named as a device.
Napi::Value machine(const Napi::CallbackInfo& info);

}  // namespace tinylora::binding
