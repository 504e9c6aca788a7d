// The JavaScript class behind NativeEngine (lib/native/addon.ts). Only `loadEngine` makes one.
#pragma once

#include <napi.h>

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "binding/async.h"
#include "binding/engine_core.h"

namespace tinylora::binding {

class Engine : public Napi::ObjectWrap<Engine> {
 public:
  static Napi::Function define(Napi::Env env);
  /// loadEngine(spec, onProgress)
  static Napi::Value load(const Napi::CallbackInfo& info);

  explicit Engine(const Napi::CallbackInfo& info);
  ~Engine() override;

 private:
  /// Requests whose last event JavaScript has not seen yet, by id. Shared with the tasks that deliver events, which may
  /// outlive the engine; used on the JavaScript thread only.
  struct Request {
    Key key;        // of its callback
    int remaining;  // completions that have not finished
  };
  using Requests = std::map<std::int64_t, Request>;

  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value compute_svd(const Napi::CallbackInfo& info);
  void set_basis(const Napi::CallbackInfo& info);
  Napi::Value set_vector(const Napi::CallbackInfo& info);
  Napi::Value set_vectors(const Napi::CallbackInfo& info);
  Napi::Value change_vector(const Napi::CallbackInfo& info);
  void submit(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value backward(const Napi::CallbackInfo& info);
  Napi::Value gradient(const Napi::CallbackInfo& info);
  void zero_gradients(const Napi::CallbackInfo& info);
  Napi::Value version(const Napi::CallbackInfo& info);
  Napi::Value train_basis(const Napi::CallbackInfo& info);
  Napi::Value train_weights(const Napi::CallbackInfo& info);
  Napi::Value update_parameters(const Napi::CallbackInfo& info);
  Napi::Value read_parameter(const Napi::CallbackInfo& info);
  void write_parameter(const Napi::CallbackInfo& info);
  void save_parameters(const Napi::CallbackInfo& info);
  void restore_parameters(const Napi::CallbackInfo& info);
  void abort(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  /// Fails with ERR_DISPOSED once the engine is disposed of. To be called after the properties of an object are read,
  /// since a getter of it may dispose of the engine.
  EngineCore& core() const;
  /// `core`; fails with ERR_ARGUMENT while sequences are being sampled, whose weights must not change meanwhile.
  EngineCore& idle_core(const char* method) const;
  /// Runs a job that changes weights or adapters. The caller has checked that only cancelled requests may still be
  /// using them; these are ended first.
  void change(const std::function<void()>& job);
  Napi::Value run(const Napi::CallbackInfo& info, const Napi::Function& callback,
                  const std::function<Worker::Job(Key)>& make_job);
  /// Delivers events to the callbacks of their requests.
  static void post_events(Worker& worker, const std::shared_ptr<Requests>& requests, std::vector<SampleEvent> events);

  std::shared_ptr<Worker> worker_;
  std::shared_ptr<EngineCore> core_;  // none once disposed
  std::shared_ptr<Requests> requests_;
};

/// What the addon keeps for one JavaScript environment.
struct Environment {
  Napi::FunctionReference engine_class;
  // How `load` hands a loaded engine to the constructor of the class, which takes no arguments.
  std::shared_ptr<Worker> worker;
  std::shared_ptr<EngineCore> core;
};

}  // namespace tinylora::binding
