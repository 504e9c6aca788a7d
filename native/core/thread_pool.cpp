#include "core/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/thread.h"

namespace tinylora {
namespace {

/// How long a thread spins before it sleeps: longer than the gap between two ops, but shorter than a time slice, so
/// that on a busy machine the processor goes to threads that have work.
constexpr auto kSpin = std::chrono::microseconds(30);

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("isb");  // Arm's `yield` does nothing on most cores; this waits for some ten cycles
#endif
}

/// Spins until done() or the time is over; true when done.
template <typename Done>
bool spin(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

/// `next` holds the number of the loop in its upper 24 bits and the next item in the lower 40; the item kClosed means
/// that no loop runs.
constexpr int kItemBits = 40;
constexpr std::uint64_t kClosed = (std::uint64_t{1} << kItemBits) - 1;
constexpr std::uint64_t loop_of(std::uint64_t next) { return next >> kItemBits; }
constexpr std::uint64_t item_of(std::uint64_t next) { return next & kClosed; }

}  // namespace

struct ThreadPool::State {
  // The running loop. Written only while `next` is closed, so a thread that takes an item from `next` finds the loop
  // that the item belongs to.
  const std::function<void(std::int64_t, int)>* body = nullptr;
  std::atomic<std::uint64_t> items{0};
  alignas(64) std::atomic<std::uint64_t> next{kClosed};
  // The caller waits until all items are done, not for the threads: a worker that is not scheduled holds nobody up.
  alignas(64) std::atomic<std::uint64_t> done{0};
  std::atomic<bool> failed{false};
  std::atomic<bool> stop{false};
  std::exception_ptr error;  // guarded by mutex

  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable finished;
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::vector<Thread> workers;

  void take_items(int thread) {
    std::uint64_t seen = next.load();
    while (true) {
      const std::uint64_t all = items.load();
      if (item_of(seen) >= all) return;
      if (!next.compare_exchange_weak(seen, seen + 1)) continue;
      if (!failed.load()) do_item(static_cast<std::int64_t>(item_of(seen)), thread);
      if (done.fetch_add(1) + 1 == all && caller_sleeps.load()) {
        const std::lock_guard lock(mutex);
        finished.notify_one();
      }
      seen = next.load();
    }
  }

  void do_item(std::int64_t item, int thread) {
    try {
      (*body)(item, thread);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      failed.store(true);  // the rest is taken, but not done
    }
  }

  void work(int thread) {
    std::uint64_t seen = 0;
    while (!stop.load()) {
      const auto news = [&] { return loop_of(next.load()) != seen || stop.load(); };
      if (!spin(news)) {
        std::unique_lock lock(mutex);
        ++sleepers;
        wake.wait(lock, news);
        --sleepers;
      }
      seen = loop_of(next.load());
      take_items(thread);
    }
  }

  ~State() {
    stop.store(true);
    {
      const std::lock_guard lock(mutex);
      wake.notify_all();
    }
    for (Thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads) {
  check(threads >= 1 && threads <= 1024, "ERR_ARGUMENT", "threads: expected 1 to 1024, found ", threads);
  state_ = std::make_unique<State>();
  try {
    for (int i = 1; i < threads; ++i) state_->workers.emplace_back([state = state_.get(), i] { state->work(i); });
  } catch (const std::system_error& error) {
    fail("ERR_DEVICE", "threads: the system starts ", this->threads(), " of ", threads, " (", error.what(),
         "): ask for fewer");
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run(std::int64_t items, const std::function<void(std::int64_t item, int thread)>& body) {
  State& state = *state_;
  if (items <= 1 || state.workers.empty()) {
    for (std::int64_t item = 0; item < items; ++item) body(item, 0);
    return;
  }
  const auto all = static_cast<std::uint64_t>(items);
  state.body = &body;
  state.items.store(all);
  state.done.store(0);
  state.failed.store(false);
  const std::uint64_t loop = (loop_of(state.next.load()) + 1) << kItemBits;
  state.next.store(loop);
  if (state.sleepers.load() > 0) {
    const std::lock_guard lock(state.mutex);
    state.wake.notify_all();
  }
  state.take_items(0);
  const auto all_done = [&] { return state.done.load() == all; };
  if (!spin(all_done)) {
    std::unique_lock lock(state.mutex);
    state.caller_sleeps.store(true);
    state.finished.wait(lock, all_done);
    state.caller_sleeps.store(false);
  }
  state.next.store(loop | kClosed);
  if (state.error) std::rethrow_exception(std::exchange(state.error, nullptr));
}

}  // namespace tinylora
