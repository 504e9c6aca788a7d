#include "binding/engine.h"

#include "core/error.h"

namespace tinylora::binding {

Napi::Function Engine::define(Napi::Env env) {
  return DefineClass(env, "NativeEngine",
                     {InstanceMethod<&Engine::memory>("memory"),
                      InstanceMethod<&Engine::compute_svd>("computeSvd"),
                      InstanceMethod<&Engine::set_basis>("setBasis"),
                      InstanceMethod<&Engine::set_vector>("setVector"),
                      InstanceMethod<&Engine::set_vectors>("setVectors"),
                      InstanceMethod<&Engine::change_vector>("changeVector"),
                      InstanceMethod<&Engine::submit>("submit"),
                      InstanceMethod<&Engine::cancel>("cancel"),
                      InstanceMethod<&Engine::forward>("forward"),
                      InstanceMethod<&Engine::backward>("backward"),
                      InstanceMethod<&Engine::gradient>("gradient"),
                      InstanceMethod<&Engine::zero_gradients>("zeroGradients"),
                      InstanceMethod<&Engine::version>("version"),
                      InstanceMethod<&Engine::train_basis>("trainBasis"),
                      InstanceMethod<&Engine::train_weights>("trainWeights"),
                      InstanceMethod<&Engine::update_parameters>("updateParameters"),
                      InstanceMethod<&Engine::read_parameter>("readParameter"),
                      InstanceMethod<&Engine::write_parameter>("writeParameter"),
                      InstanceMethod<&Engine::save_parameters>("saveParameters"),
                      InstanceMethod<&Engine::restore_parameters>("restoreParameters"),
                      InstanceMethod<&Engine::abort>("abort"),
                      InstanceMethod<&Engine::dispose>("dispose")});
}

Napi::Value Engine::load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    const auto spec = std::make_shared<const EngineSpec>(read_engine_spec({info, 0, "spec"}));
    const Napi::Function on_progress = Argument(info, 1, "onProgress").function();
    const std::shared_ptr<Worker> worker = Worker::start(env);
    Worker* thread = worker.get();
    return worker->run(env, {}, on_progress, [&](Key key) {
      return [thread, key, spec](const std::atomic<bool>& abort) -> MakeValue {
        const auto progress = [&](std::int64_t done, std::int64_t total) { thread->progress(key, done, total); };
        const auto core = std::make_shared<EngineCore>(*spec, progress, abort);
        return [thread, core](Napi::Env js) -> Napi::Value {
          auto& environment = *js.GetInstanceData<Environment>();
          environment.worker = thread->shared_from_this();
          environment.core = core;
          return environment.engine_class.New({});
        };
      };
    });
  });
}

Engine::Engine(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  auto& environment = *env.GetInstanceData<Environment>();
  worker_ = std::exchange(environment.worker, nullptr);
  core_ = std::exchange(environment.core, nullptr);
  if (core_ == nullptr) throw to_js(env, Failure{"ERR_ARGUMENT", "an engine is made by loadEngine only"});
  requests_ = std::make_shared<Requests>();

  Napi::Object self = info.This().As<Napi::Object>();
  const auto constant = [&](const char* name, Napi::Value value) {
    self.DefineProperty(Napi::PropertyDescriptor::Value(name, value, napi_enumerable));
  };
  constant("device", Napi::String::New(env, core_->device_name()));
  constant("modules", modules_to_js(env, core_->config()));
  constant("fingerprint", Napi::String::New(env, core_->fingerprint()));

  worker_->set_background({
      .wanted = [engine = core_.get()] { return !engine->sampler().idle(); },
      .step =
          [engine = core_.get(), worker = worker_.get(), requests = requests_](const std::atomic<bool>& stop) {
            try {
              post_events(*worker, requests, engine->sampler().step(stop));
            } catch (...) {
              if (stop) return;  // dispose ends the requests
              const auto [code, message] = current_failure();
              post_events(*worker, requests, engine->sampler().fail_all(code, message));
            }
          },
  });
}

/// No job or request is unfinished here: what waits for it would have kept the object alive.
Engine::~Engine() {
  if (worker_ != nullptr) worker_->stop();
}

EngineCore& Engine::core() const {
  check(core_ != nullptr, "ERR_DISPOSED", "the engine was disposed");
  return *core_;
}

Napi::Value Engine::run(const Napi::CallbackInfo& info, const Napi::Function& callback,
                        const std::function<Worker::Job(Key)>& make_job) {
  return worker_->run(info.Env(), info.This().As<Napi::Object>(), callback, make_job);
}

void Engine::change(const std::function<void()>& job) {
  worker_->call([&] {
    post_events(*worker_, requests_, core_->sampler().end_cancelled());
    job();
  });
}

Napi::Value Engine::memory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    EngineCore& engine = core();
    Napi::Object sizes = Napi::Object::New(env);
    sizes.Set("weights", static_cast<double>(engine.weight_bytes()));
    sizes.Set("cache", static_cast<double>(engine.sampler().cache_bytes()));
    sizes.Set("activations", static_cast<double>(engine.activation_bytes()));
    sizes.Set("peakRss", static_cast<double>(peak_rss()));
    return sizes;
  });
}

Napi::Value Engine::compute_svd(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const int count = core().config().layers * module_types;
    const Argument spec(info, 0, "spec");
    const int rank = spec["rank"].number_of(1, kMaxRank);
    std::vector<int> modules;
    for (const Argument& module : spec["modules"].list(static_cast<std::size_t>(count))) {
      modules.push_back(module.number_of(0, count - 1));
    }
    const Napi::Function on_progress = Argument(info, 1, "onProgress").function();
    EngineCore* engine = &core();
    Worker* worker = worker_.get();
    return run(info, on_progress, [&](Key key) {
      return [=](const std::atomic<bool>& abort) -> MakeValue {
        const auto progress = [&](std::int64_t done, std::int64_t total) { worker->progress(key, done, total); };
        const auto factors = std::make_shared<std::vector<Svd>>(engine->compute_svd(rank, modules, progress, abort));
        return [=](Napi::Env env) -> Napi::Value {
          Napi::Array array = Napi::Array::New(env, factors->size());
          for (std::uint32_t i = 0; i < factors->size(); ++i) array.Set(i, to_js(env, modules[i], (*factors)[i]));
          return array;
        };
      };
    });
  });
}

void Engine::set_basis(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Basis basis = read_basis({info, 0, "basis"});
    EngineCore& engine = core();
    check(!engine.sampler().busy(), "ERR_ARGUMENT", "setBasis: expected no unfinished requests");
    change([&] { engine.set_basis(basis); });
  });
}

Napi::Value Engine::set_vector(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    EngineCore& engine = core();
    const int slot = Argument(info, 0, "slot").number_of(0, 1 << 16);
    const std::vector<float> v = Argument(info, 1, "v").floats();
    check(!engine.sampler().uses(slot), "ERR_ARGUMENT", "setVector: expected no unfinished requests of slot ", slot);
    int version = 0;
    change([&] { version = engine.adapters().set_vector(slot, v); });
    return Napi::Number::New(info.Env(), version);
  });
}

Napi::Value Engine::set_vectors(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    EngineCore& engine = core();
    const int first = Argument(info, 0, "first").number_of(0, 1 << 16);
    const std::vector<float> v = Argument(info, 1, "v").floats();
    check(!engine.sampler().busy(), "ERR_ARGUMENT", "setVectors: expected no unfinished requests");
    std::vector<std::int32_t> versions;
    change([&] { versions = engine.adapters().set_vectors(first, v); });
    return to_js(info.Env(), versions);
  });
}

/// The slot is looked at on the worker's thread, after the last look at what was submitted: a request that has come by
/// then is found, and one that comes later sees the new vector.
Napi::Value Engine::change_vector(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    EngineCore* engine = &core();
    const int slot = Argument(info, 0, "slot").number_of(0, 1 << 16);
    const auto v = std::make_shared<const std::vector<float>>(Argument(info, 1, "v").floats());
    const auto job = [=, worker = worker_.get(), requests = requests_](const std::atomic<bool>&) -> MakeValue {
      post_events(*worker, requests, engine->sampler().end_cancelled());
      check(!engine->sampler().uses(slot), "ERR_ARGUMENT", "changeVector: expected no unfinished requests of slot ",
            slot);
      const int version = engine->adapters().set_vector(slot, *v);
      return [=](Napi::Env js) -> Napi::Value { return Napi::Number::New(js, version); };
    };
    return worker_->run(
        env, info.This().As<Napi::Object>(), {}, [&](Key) { return job; }, true);
  });
}

void Engine::submit(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    SampleRequest request = read_sample_request({info, 0, "request"});
    const Napi::Function on_event = Argument(info, 1, "onEvent").function();
    EngineCore& engine = core();
    const std::int64_t id = request.id;
    const int count = request.num_generations;
    check(!requests_->contains(id), "ERR_ARGUMENT", "request ", id, ": expected an id that no unfinished request has");
    engine.sampler().submit(std::move(request));
    requests_->emplace(id, Request{worker_->listen(on_event, info.This().As<Napi::Object>()), count});
    worker_->wake();
  });
}

void Engine::cancel(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    core().sampler().cancel(Argument(info, 0, "id").integer(-kMaxSafeInteger, kMaxSafeInteger));
    worker_->wake();
  });
}

Napi::Value Engine::forward(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    auto batch = std::make_shared<const ScoreBatch>(read_score_batch({info, 0, "batch"}));
    EngineCore* engine = &core();
    return run(info, {}, [&](Key) {
      return [=](const std::atomic<bool>& abort) -> MakeValue {
        const auto result = std::make_shared<ScoreResult>(engine->forward(*batch, abort));
        return [=](Napi::Env env) -> Napi::Value { return to_js(env, *result); };
      };
    });
  });
}

Napi::Value Engine::backward(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    EngineCore* engine = &core();
    auto d_logprobs = std::make_shared<const std::vector<float>>(Argument(info, 0, "dLogprobs").floats());
    const Argument given(info, 1, "parts");
    auto parts =
        std::make_shared<const std::vector<std::int32_t>>(given.given() ? given.int32s() : std::vector<std::int32_t>());
    return run(info, {}, [&](Key) {
      return [=](const std::atomic<bool>& abort) -> MakeValue {
        const auto gradients = std::make_shared<std::vector<double>>(engine->backward(*d_logprobs, *parts, abort));
        return [=](Napi::Env env) -> Napi::Value { return to_js(env, *gradients); };
      };
    });
  });
}

Napi::Value Engine::gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    EngineCore& engine = core();
    const int slot = Argument(info, 0, "slot").number_of(0, 1 << 16);
    std::vector<double> gradient;
    worker_->call([&] { gradient = engine.adapters().gradient(slot); });
    return to_js(info.Env(), gradient);
  });
}

void Engine::zero_gradients(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    EngineCore& engine = core();
    worker_->call([&] { engine.zero_gradients(); });
  });
}

void Engine::abort(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    core();
    worker_->abort();
  });
}

void Engine::dispose(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    if (core_ == nullptr) return;
    const std::shared_ptr<EngineCore> last = std::exchange(core_, nullptr);
    worker_->stop();
    post_events(*worker_, requests_, last->sampler().end_all());
  });
}

void Engine::post_events(Worker& worker, const std::shared_ptr<Requests>& requests, std::vector<SampleEvent> events) {
  if (events.empty()) return;
  worker.post([requests, events = std::move(events)](Napi::Env env, Worker& back) {
    for (const SampleEvent& event : events) {
      const auto found = requests->find(event.id);
      if (found == requests->end()) continue;
      const Key key = found->second.key;
      if (event.type == SampleEvent::finished) --found->second.remaining;
      const bool last = event.type == SampleEvent::failed || found->second.remaining == 0;
      if (last) requests->erase(found);  // before the callback: it may submit the id again
      back.callback(env, key, [&]() -> std::vector<napi_value> { return {to_js(env, event)}; });
      if (last) back.forget(key);
    }
  });
}

}  // namespace tinylora::binding
