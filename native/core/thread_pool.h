// A fixed set of threads that run one loop at a time together with the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace tinylora {

/// The caller is thread 0; `threads - 1` workers spin briefly after each loop, then sleep. Two threads must not call
/// `run` at once, and a body must not call it: a pool belongs to one backend.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  /// Calls body(item, thread) once for every item in 0..items-1, and returns when all are done. Items are handed out
  /// one at a time. After the first exception of the body no more items are begun, and it is rethrown here.
  void run(std::int64_t items, const std::function<void(std::int64_t item, int thread)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tinylora
