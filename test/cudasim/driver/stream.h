// Streams, events and graphs. A stream does nothing before it must: what it was given waits until the host waits for
// it, or another stream does whose own work is waited for. So work that nothing orders comes in the wrong order, and
// memory of the host is read as late as a driver may.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "driver/cuda.h"

namespace cudasim {

/** Something that a stream does. */
using Work = std::function<CUresult()>;

struct Graph {
  std::vector<Work> work;
  bool broken = false;  // by a call that a capture does not allow
};

/** CUstreamCaptureMode: whose calls that wait or take memory end a capture. */
enum class CaptureMode : int { anyThread = 0, itsThread = 1, none = 2 };

struct Stream {
  bool blocking = true;              // ordered with the default stream
  std::deque<Work> queued{};         // given, not yet done
  uint64_t done = 0;                 // works that were
  CUresult failure = CUDA_SUCCESS;   // the first that returned an error since the last wait
  std::unique_ptr<Graph> capture{};  // records instead
  CaptureMode mode = CaptureMode::anyThread;
  std::thread::id capturer{};

  uint64_t given() const { return done + queued.size(); }
};

struct Event {
  bool timed = true;
  bool recorded = false;
  std::chrono::steady_clock::time_point time{};
  // It has happened when the stream has done so many works; no stream: at once.
  std::shared_ptr<Stream> stream{};
  uint64_t after = 0;

  bool happened() const { return stream == nullptr || stream->done >= after; }
};

}  // namespace cudasim
