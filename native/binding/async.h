// The one helper behind everything asynchronous: a thread that runs the jobs of an engine in the order in which they
// were queued, and the return of their results to JavaScript.
//
// Threads and lifetimes. JavaScript values (promises, callbacks, the objects that must outlive a job) are kept in a
// table that only the JavaScript thread touches; the worker's thread knows their keys. Results return through one
// thread-safe function, several at a time. While something is unfinished, the worker keeps the process and itself
// alive. When the environment ends (exit, end of a worker thread), a cleanup hook stops the thread and clears the
// table.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "binding/errors.h"
#include "core/thread.h"

namespace tinylora::binding {

/// Makes the JavaScript value of a result, on the JavaScript thread.
using MakeValue = std::function<Napi::Value(Napi::Env)>;
using Key = std::uint64_t;

class Worker : public std::enable_shared_from_this<Worker> {
 public:
  /// What the thread does between jobs while `wanted`. Both are called on the worker's thread.
  struct Background {
    std::function<bool()> wanted;
    std::function<void(const std::atomic<bool>& abort)> step;
  };
  using Job = std::function<MakeValue(const std::atomic<bool>& abort)>;

  static std::shared_ptr<Worker> start(Napi::Env env);
  ~Worker();

  // On the JavaScript thread:

  /// A promise of the job's value. `make_job` gets the key to give to `progress`, which calls `callback`. `owner` is
  /// kept alive until the promise is settled. After a `brief` job the next one follows without a step of the background
  /// between them.
  Napi::Promise run(Napi::Env env, const Napi::Object& owner, const Napi::Function& callback,
                    const std::function<Job(Key)>& make_job, bool brief = false);
  /// Queues the job, blocks until it has run, and rethrows what it throws.
  void call(const std::function<void()>& job);
  /// Keeps a callback for `callback(key)`, and `owner` alive, until `forget`.
  Key listen(const Napi::Function& callback, const Napi::Object& owner);
  void forget(Key key);
  void set_background(Background background);
  /// To be called after a change that may have made `wanted` true.
  void wake();
  /// All queued jobs and the running one end with ERR_ABORTED as soon as they notice.
  void abort();
  /// Aborts, waits for the thread to end, rejects what is left. Neither `run` nor `call` may follow.
  void stop();
  /// Calls the callback that was kept under `key`, if there still is one; returns whether it returned false. An
  /// exception that it throws becomes an uncaught exception of the process.
  bool callback(Napi::Env env, Key key, const std::function<std::vector<napi_value>()>& arguments);

  // On any thread:

  /// Runs `task` on the JavaScript thread; it is dropped if the environment ends first.
  void post(std::function<void(Napi::Env, Worker&)> task);
  /// Calls the callback of the running job `key` with (done, total); where it returns false, that job is aborted.
  void progress(Key key, std::int64_t done, std::int64_t total);
  /// The same without numbers.
  void ask(Key key);

 private:
  explicit Worker(Napi::Env env);

  struct Queued {
    std::function<void(const std::atomic<bool>& abort)> work;
    std::function<void()> drop;  // called in place of `work` when the worker stops first
    std::shared_ptr<std::atomic<bool>> abort;
    bool brief = false;
  };
  /// Something that JavaScript waits for: a promise to settle, or a callback to call.
  struct Waiting {
    std::optional<Napi::Promise::Deferred> deferred;
    Napi::FunctionReference callback;
    Napi::ObjectReference owner;
    std::shared_ptr<std::atomic<bool>> abort;  // of the job; none for what only listens
    std::shared_ptr<Worker> self;
  };

  Key wait(std::unique_ptr<Waiting> waiting);
  void tell(Key key, std::vector<std::int64_t> numbers);
  /// Only the job of this key, when it is not finished.
  void abort(Key key);
  void push(Queued job);
  void loop();
  void settle(Key key, MakeValue value);
  void settle(Key key, Failure failure);
  void deliver(Napi::Env env);
  void hold_process(bool hold);
  void close();
  static void on_cleanup(void* worker);

  napi_env env_;
  napi_threadsafe_function back_ = nullptr;  // makes the JavaScript thread empty the outbox
  bool hooked_ = false;
  Key next_key_ = 1;
  std::map<Key, std::unique_ptr<Waiting>> waiting_;  // JavaScript thread only

  std::mutex outbox_mutex_;
  std::vector<std::function<void(Napi::Env, Worker&)>> outbox_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Queued> jobs_;
  std::shared_ptr<std::atomic<bool>> running_abort_;
  Background background_;
  std::atomic<bool> stopping_ = false;
  Thread thread_;
};

}  // namespace tinylora::binding
