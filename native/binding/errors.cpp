#include "binding/errors.h"

#include <new>
#include <stdexcept>

#include "core/error.h"

namespace tinylora::binding {

Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {"ERR_MEMORY", "out of memory"};
  } catch (const std::length_error&) {
    return {"ERR_MEMORY", "out of memory: more was asked for than can exist"};
  } catch (const std::exception& error) {
    return {"ERR_DEVICE", error.what()};
  } catch (...) {
    return {"ERR_DEVICE", "unknown failure in native code"};
  }
}

Napi::Error to_js(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", Napi::String::New(env, failure.code));
  return error;
}

}  // namespace tinylora::binding
