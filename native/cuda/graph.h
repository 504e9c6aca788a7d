// A run of launches that the device repeats in one call. The driver records what is queued on the stream while the
// graph is captured, with the very addresses and numbers; nothing runs meanwhile.
#pragma once

#include <functional>
#include <memory>

#include "cuda/device.h"

namespace tinylora::cuda {

class Graph {
 public:
  /// Of launches that have just run: the scratch memory that they take is there.
  explicit Graph(std::shared_ptr<Device> device)
      : device_(std::move(device)), scratch_losses_(device_->scratch_losses()) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Whether scratch memory may be gone, which no capture may take: the launches must run once more first.
  bool lost_scratch() const { return scratch_losses_ != device_->scratch_losses(); }
  /// Captured, and every address in it is still what it was.
  bool valid() const { return executable_ != nullptr && scratch_version_ == device_->scratch_version(); }
  /// False where the driver does not allow it; then nothing has run. What else `record` throws is passed on.
  bool capture(const std::function<void()>& record);
  void launch();

 private:
  void clear() noexcept;

  std::shared_ptr<Device> device_;
  GraphExecutable executable_ = nullptr;
  int scratch_version_ = 0;
  int scratch_losses_;
  bool refused_ = false;
};

}  // namespace tinylora::cuda
