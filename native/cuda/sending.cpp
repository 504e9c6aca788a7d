#include "cuda/sending.h"

namespace tinylora::cuda {

Sending::Sending(Device& device) : device_(device) {
  device_.bind();
  device_.check(device_.api_.event_record(device_.ordered_, device_.stream_), "sending");
  device_.check(device_.api_.stream_wait_event(device_.copy_stream_, device_.ordered_, 0), "sending");
}

/// An error here is one of the device: the next call of all shows it.
Sending::~Sending() {
  if (device_.api_.event_record(device_.ordered_, device_.copy_stream_) != 0) return;
  device_.api_.stream_wait_event(device_.stream_, device_.ordered_, 0);
}

void* Sending::part() {
  pinned_ = &device_.next_pinned();
  return pinned_->memory;
}

void Sending::send(void* device_memory, std::size_t bytes) {
  const auto to = reinterpret_cast<Address>(device_memory);
  device_.check(device_.api_.copy_in(to, pinned_->memory, bytes, device_.copy_stream_), "sending");
  device_.check(device_.api_.event_record(pinned_->free, device_.copy_stream_), "sending");
  pinned_->used = true;
}

}  // namespace tinylora::cuda
