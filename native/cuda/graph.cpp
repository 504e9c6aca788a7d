#include "cuda/graph.h"

#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace tinylora {

namespace cuda {

namespace {

constexpr int kThisThread = 1;  // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may call what they like

}  // namespace

Graph::~Graph() { clear(); }

/// It may be running.
void Graph::clear() noexcept {
  if (executable_ == nullptr) return;
  const Driver& api = device_->api();
  if (api.context_set(device_->context()) == 0 && api.stream_wait(device_->stream()) == 0) {
    api.executable_free(executable_);
  }
  executable_ = nullptr;
}

bool Graph::capture(const std::function<void()>& record) {
  const Driver& api = device_->api();
  clear();
  device_->bind();
  if (refused_ || api.capture_begin(device_->stream(), kThisThread) != 0) return false;
  GraphHandle graph = nullptr;
  const auto give_up = [&] {
    if (api.capture_end(device_->stream(), &graph) == 0) api.graph_free(graph);
  };
  try {
    record();
  } catch (const Error& error) {
    give_up();
    // A driver may take a launch and not in a capture. Whatever else this is, the launch itself will tell.
    refused_ = error.code() == "ERR_DEVICE";
    if (refused_) return false;
    throw;
  } catch (...) {
    give_up();
    throw;
  }
  if (api.capture_end(device_->stream(), &graph) != 0) return false;
  const Result made = api.graph_instantiate(&executable_, graph, 0);
  api.graph_free(graph);
  if (made != 0) executable_ = nullptr;
  scratch_version_ = device_->scratch_version();
  return made == 0;
}

void Graph::launch() {
  device_->bind();
  device_->api().check(device_->api().graph_launch(executable_, device_->stream()), "launching a graph");
  device_->launched("of a graph");
}

}  // namespace cuda

/// The first run of a shape is an ordinary one: it loads kernels and takes scratch memory, which no capture may.
void CudaBackend::replay(std::shared_ptr<void>& recording, const std::function<void()>& record) {
  auto* graph = static_cast<cuda::Graph*>(recording.get());
  if (graph == nullptr || graph->lost_scratch()) {
    record();
    recording = std::make_shared<cuda::Graph>(device_);
  } else if (graph->valid() || graph->capture(record)) {
    graph->launch();
  } else {
    record();
  }
}

}  // namespace tinylora
