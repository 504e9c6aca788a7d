// A thread whose stack has a size of its own. Kernels keep tiles and heads on theirs, some 200 KiB; what a system gives
// a thread by itself may be half a MiB (macOS) or 128 KiB (musl).
#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>

namespace tinylora {

inline constexpr std::size_t kThreadStack = std::size_t{8} << 20;  // bytes, as glibc has it

class Thread {
 public:
  Thread() = default;
  /// Runs `body`, which must not throw. Throws std::system_error where the system starts no more threads.
  explicit Thread(std::function<void()> body);
  Thread(Thread&& other) noexcept;
  Thread& operator=(Thread&& other) noexcept;
  /// Waits for the thread.
  ~Thread();

  bool joinable() const { return joinable_; }
  void join();

 private:
  pthread_t handle_{};
  bool joinable_ = false;
};

}  // namespace tinylora
