#include "binding/async.h"

#include <future>
#include <system_error>

#include "core/error.h"

namespace tinylora::binding {

std::shared_ptr<Worker> Worker::start(Napi::Env env) {
  std::shared_ptr<Worker> worker(new Worker(env));
  const Napi::String name = Napi::String::New(env, "tinylora");
  const auto deliver = [](napi_env js, napi_value, void* context, void*) {
    if (js != nullptr) static_cast<Worker*>(context)->deliver(js);
  };
  const napi_status made = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                                           worker.get(), deliver, &worker->back_);
  check(made == napi_ok, "ERR_MEMORY", "cannot make the thread-safe function that returns results to JavaScript");
  worker->hold_process(false);
  // After the thread-safe function's own hook, so that it runs before it: hooks run last in, first out.
  worker->hooked_ = napi_add_env_cleanup_hook(env, on_cleanup, worker.get()) == napi_ok;
  try {
    worker->thread_ = Thread([raw = worker.get()] { raw->loop(); });
  } catch (const std::system_error& error) {
    fail("ERR_DEVICE", "the system starts no more threads (", error.what(), ')');
  }
  return worker;
}

Worker::Worker(Napi::Env env) : env_(env) {}

Worker::~Worker() {
  stop();
  close();
  if (hooked_) napi_remove_env_cleanup_hook(env_, on_cleanup, this);
}

void Worker::on_cleanup(void* raw) {
  const auto worker = static_cast<Worker*>(raw)->shared_from_this();
  worker->hooked_ = false;
  worker->stop();
  worker->close();
  worker->waiting_.clear();
}

void Worker::close() {
  if (back_ != nullptr) napi_release_threadsafe_function(back_, napi_tsfn_abort);
  back_ = nullptr;
  const std::lock_guard lock(outbox_mutex_);
  outbox_.clear();
}

void Worker::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  abort();
  changed_.notify_all();
  thread_.join();
  for (const Queued& job : jobs_) job.drop();
  jobs_.clear();
  background_ = {};
}

Napi::Promise Worker::run(Napi::Env env, const Napi::Object& owner, const Napi::Function& callback,
                          const std::function<Job(Key)>& make_job, bool brief) {
  auto waiting = std::make_unique<Waiting>();
  waiting->deferred = Napi::Promise::Deferred::New(env);
  if (!callback.IsEmpty()) waiting->callback = Napi::Persistent(callback);
  if (!owner.IsEmpty()) waiting->owner = Napi::Persistent(owner);
  const auto aborted = std::make_shared<std::atomic<bool>>(false);
  waiting->abort = aborted;
  const Napi::Promise promise = waiting->deferred->Promise();
  const Key key = wait(std::move(waiting));
  try {
    const auto work = [this, key, job = make_job(key)](const std::atomic<bool>& abort) {
      try {
        check(!abort, "ERR_ABORTED", "aborted before it began");
        settle(key, job(abort));
      } catch (...) {
        settle(key, current_failure());
      }
    };
    const auto drop = [this, key] { settle(key, Failure{"ERR_ABORTED", "the engine was disposed"}); };
    push({work, drop, aborted, brief});
  } catch (...) {
    forget(key);  // nobody would settle the promise
    throw;
  }
  return promise;
}

void Worker::call(const std::function<void()>& job) {
  // Shared with the thread: `set_value` may still be returning there when `get` has returned here.
  const auto done = std::make_shared<std::promise<void>>();
  const auto work = [done, &job](const std::atomic<bool>&) {
    try {
      job();
      done->set_value();
    } catch (...) {
      done->set_exception(std::current_exception());
    }
  };
  push({work, [] {}, std::make_shared<std::atomic<bool>>(false)});
  done->get_future().get();
}

Key Worker::listen(const Napi::Function& callback, const Napi::Object& owner) {
  auto waiting = std::make_unique<Waiting>();
  waiting->callback = Napi::Persistent(callback);
  waiting->owner = Napi::Persistent(owner);
  return wait(std::move(waiting));
}

Key Worker::wait(std::unique_ptr<Waiting> waiting) {
  waiting->self = shared_from_this();
  if (waiting_.empty()) hold_process(true);
  waiting_.emplace(next_key_, std::move(waiting));
  return next_key_++;
}

void Worker::forget(Key key) {
  const auto self = shared_from_this();
  waiting_.erase(key);
  if (waiting_.empty()) hold_process(false);
}

void Worker::hold_process(bool hold) {
  if (back_ == nullptr) return;
  if (hold) {
    napi_ref_threadsafe_function(env_, back_);
  } else {
    napi_unref_threadsafe_function(env_, back_);
  }
}

void Worker::set_background(Background background) {
  const std::lock_guard lock(mutex_);
  background_ = std::move(background);
}

void Worker::wake() {
  { const std::lock_guard lock(mutex_); }  // the thread is not between its look and its sleep
  changed_.notify_all();
}

void Worker::push(Queued job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
}

void Worker::abort() {
  const std::lock_guard lock(mutex_);
  for (const Queued& job : jobs_) *job.abort = true;
  if (running_abort_ != nullptr) *running_abort_ = true;
}

void Worker::abort(Key key) {
  const auto found = waiting_.find(key);
  if (found != waiting_.end() && found->second->abort != nullptr) *found->second->abort = true;
}

/// Jobs and steps of the background take turns; brief jobs leave theirs to the next.
void Worker::loop() {
  const auto wanted = [this] { return background_.wanted && background_.wanted(); };
  while (true) {
    std::optional<Queued> job;
    std::function<void(const std::atomic<bool>&)> step;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !jobs_.empty() || wanted(); });
      if (stopping_) return;
      if (!jobs_.empty()) {
        job = std::move(jobs_.front());
        jobs_.pop_front();
        running_abort_ = job->abort;
      }
      if (wanted() && !(job && job->brief)) step = background_.step;
    }
    if (job) job->work(*job->abort);
    job.reset();
    {
      const std::lock_guard lock(mutex_);
      running_abort_ = nullptr;
    }
    if (step && !stopping_) step(stopping_);
  }
}

void Worker::post(std::function<void(Napi::Env, Worker&)> task) {
  const std::lock_guard lock(outbox_mutex_);
  outbox_.push_back(std::move(task));
  if (outbox_.size() == 1 && back_ != nullptr) napi_call_threadsafe_function(back_, nullptr, napi_tsfn_nonblocking);
}

void Worker::progress(Key key, std::int64_t done, std::int64_t total) { tell(key, {done, total}); }

void Worker::ask(Key key) { tell(key, {}); }

void Worker::tell(Key key, std::vector<std::int64_t> numbers) {
  post([key, told = std::move(numbers)](Napi::Env env, Worker& worker) {
    const bool refused = worker.callback(env, key, [&] {
      std::vector<napi_value> values;
      for (const std::int64_t number : told) values.push_back(Napi::Number::New(env, static_cast<double>(number)));
      return values;
    });
    if (refused) worker.abort(key);
  });
}

void Worker::settle(Key key, MakeValue value) {
  post([key, make = std::move(value)](Napi::Env env, Worker& worker) {
    const auto found = worker.waiting_.find(key);
    if (found == worker.waiting_.end()) return;
    const Napi::Promise::Deferred deferred = *found->second->deferred;
    try {
      deferred.Resolve(make(env));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());  // thrown by JavaScript: no memory for a typed array, a setter of a prototype
    } catch (...) {
      deferred.Reject(to_js(env, current_failure()).Value());
    }
    worker.forget(key);
  });
}

void Worker::settle(Key key, Failure failure) {
  post([key, failed = std::move(failure)](Napi::Env env, Worker& worker) {
    const auto found = worker.waiting_.find(key);
    if (found == worker.waiting_.end()) return;
    found->second->deferred->Reject(to_js(env, failed).Value());
    worker.forget(key);
  });
}

void Worker::deliver(Napi::Env env) {
  const auto self = shared_from_this();
  std::vector<std::function<void(Napi::Env, Worker&)>> tasks;
  {
    const std::lock_guard lock(outbox_mutex_);
    tasks.swap(outbox_);
  }
  for (const auto& task : tasks) {
    const Napi::HandleScope scope(env);
    try {
      task(env, *this);
    } catch (const Napi::Error&) {
      // The environment is ending: nobody is left to tell.
    }
  }
}

bool Worker::callback(Napi::Env env, Key key, const std::function<std::vector<napi_value>()>& arguments) {
  if (!waiting_.contains(key)) return false;
  std::vector<napi_value> values;
  try {
    values = arguments();
  } catch (const Napi::Error& error) {  // as in `settle`; the other events of the batch are still to be delivered
    napi_fatal_exception(env, error.Value());
    return false;
  }
  const auto found = waiting_.find(key);
  if (found == waiting_.end() || found->second->callback.IsEmpty()) return false;
  const napi_value function = found->second->callback.Value();
  napi_value result;
  const napi_status status = napi_call_function(env, env.Undefined(), function, values.size(), values.data(), &result);
  if (status == napi_pending_exception) {
    napi_value thrown;
    if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
    return false;
  }
  if (status != napi_ok) return false;
  const Napi::Value returned(env, result);
  return returned.IsBoolean() && !returned.As<Napi::Boolean>().Value();
}

}  // namespace tinylora::binding
