// C++ exceptions as JavaScript errors with a `code` (lib/native/addon.ts, NativeError). A Failure carries one from the
// worker's thread to the JavaScript thread.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

namespace tinylora::binding {

struct Failure {
  std::string code;
  std::string message;
};

/// Of the exception being handled.
Failure current_failure();

Napi::Error to_js(Napi::Env env, const Failure& failure);

/// Runs the body of a call from JavaScript: what it throws reaches the caller as a NativeError.
template <typename Body>
auto guarded(Napi::Env env, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (const Napi::Error&) {
    throw;  // thrown by the caller's own code: a getter, a proxy
  } catch (...) {
    throw to_js(env, current_failure());
  }
}

/// The same for a call that returns a promise: what the body throws rejects it.
template <typename Body>
Napi::Value promised(Napi::Env env, Body&& body) {
  const auto rejected = [env](const Napi::Error& error) -> Napi::Value {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error.Value());
    return deferred.Promise();
  };
  try {
    return std::forward<Body>(body)();
  } catch (const Napi::Error& error) {
    return rejected(error);
  } catch (...) {
    return rejected(to_js(env, current_failure()));
  }
}

}  // namespace tinylora::binding
