#include "core/thread.h"

#include <memory>
#include <system_error>
#include <utility>

namespace tinylora {
namespace {

void* run(void* body) {
  const std::unique_ptr<std::function<void()>> owned(static_cast<std::function<void()>*>(body));
  (*owned)();
  return nullptr;
}

void check_started(int error) {
  if (error != 0) throw std::system_error(error, std::generic_category());
}

}  // namespace

Thread::Thread(std::function<void()> body) {
  auto owned = std::make_unique<std::function<void()>>(std::move(body));
  pthread_attr_t attributes;
  check_started(pthread_attr_init(&attributes));
  int error = pthread_attr_setstacksize(&attributes, kThreadStack);
  if (error == 0) error = pthread_create(&handle_, &attributes, run, owned.get());
  pthread_attr_destroy(&attributes);
  check_started(error);
  owned.release();  // the thread's from here on
  joinable_ = true;
}

Thread::Thread(Thread&& other) noexcept { *this = std::move(other); }

Thread& Thread::operator=(Thread&& other) noexcept {
  join();
  handle_ = other.handle_;
  joinable_ = std::exchange(other.joinable_, false);
  return *this;
}

Thread::~Thread() { join(); }

void Thread::join() {
  if (std::exchange(joinable_, false)) pthread_join(handle_, nullptr);
}

}  // namespace tinylora
