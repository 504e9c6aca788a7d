#pragma once

#include <napi.h>

namespace tinylora::binding {

/// A promise of one tensor's numbers, on a thread of its own.
Napi::Value read_tensor(const Napi::CallbackInfo& info);

}  // namespace tinylora::binding
