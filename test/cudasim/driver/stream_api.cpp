// Streams run their work when it is given to them; events note the time; a capturing stream records a graph.
#include "driver/device.h"

using namespace cudasim;

namespace {

Event* find(Device& device, CUevent handle) {
  const auto found = device.events.find(reinterpret_cast<Event*>(handle));
  return found == device.events.end() ? nullptr : found->second.get();
}

Graph* find(Device& device, void* handle) {
  const auto found = device.graphs.find(static_cast<Graph*>(handle));
  return found == device.graphs.end() ? nullptr : found->second.get();
}

}  // namespace

CUDASIM_API CUresult cuStreamCreate(CUstream* stream, unsigned) {
  return guarded([=](Device& device) {
    if (device.refuses("cuStreamCreate")) return CUDA_ERROR_OUT_OF_MEMORY;
    auto made = std::make_unique<Stream>();
    *stream = reinterpret_cast<CUstream>(made.get());
    device.streams[made.get()] = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int) {
  return cuStreamCreate(stream, flags);
}

CUDASIM_API CUresult cuStreamDestroy_v2(CUstream stream) {
  return guarded([=](Device& device) {
    return device.streams.erase(reinterpret_cast<Stream*>(stream)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUDASIM_API CUresult cuStreamSynchronize(CUstream stream) {
  return guarded([=](Device& device) {
    const Stream* target = device.stream(stream);
    if (target == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    return target->capture != nullptr ? device.refusedByCapture("cuStreamSynchronize", target) : CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuStreamQuery(CUstream stream) { return cuStreamSynchronize(stream); }

CUDASIM_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  return guarded([=](Device& device) {
    const bool known = device.stream(stream) != nullptr && find(device, event) != nullptr;
    return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUDASIM_API CUresult cuLaunchHostFunc(CUstream stream, void (*function)(void*), void* data) {
  return guarded([=](Device& device) {
    return device.submit(stream, [=] {
      function(data);
      return CUDA_SUCCESS;
    });
  });
}

CUDASIM_API CUresult cuEventCreate(CUevent* event, unsigned) {
  return guarded([=](Device& device) {
    if (device.refuses("cuEventCreate")) return CUDA_ERROR_OUT_OF_MEMORY;
    auto made = std::make_unique<Event>();
    *event = reinterpret_cast<CUevent>(made.get());
    device.events[made.get()] = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuEventDestroy_v2(CUevent event) {
  return guarded([=](Device& device) {
    return device.events.erase(reinterpret_cast<Event*>(event)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUDASIM_API CUresult cuEventRecord(CUevent event, CUstream stream) {
  return guarded([=](Device& device) {
    Event* target = find(device, event);
    if (target == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    return device.submit(stream, [target] {
      target->time = std::chrono::steady_clock::now();
      target->recorded = true;
      return CUDA_SUCCESS;
    });
  });
}

CUDASIM_API CUresult cuEventSynchronize(CUevent event) {
  return guardedOutsideCapture("cuEventSynchronize", [=](Device& device) {
    return find(device, event) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUDASIM_API CUresult cuEventQuery(CUevent event) { return cuEventSynchronize(event); }

CUDASIM_API CUresult cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to) {
  return guarded([=](Device& device) {
    const Event *begin = find(device, from), *end = find(device, to);
    if (begin == nullptr || end == nullptr || !begin->recorded || !end->recorded) return CUDA_ERROR_INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
  return guarded([=](Device& device) {
    Stream* target = device.stream(stream);
    if (target == nullptr || target->capture != nullptr || target == &device.defaultStream || device.refusesCaptures) {
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (mode < 0 || mode > 2) return CUDA_ERROR_INVALID_VALUE;
    target->capture = std::make_unique<Graph>();
    target->mode = static_cast<CaptureMode>(mode);
    target->capturer = std::this_thread::get_id();
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuStreamIsCapturing(CUstream stream, int* status) {
  return guarded([=](Device& device) {
    const Stream* target = device.stream(stream);
    if (target == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    *status = target->capture != nullptr ? 1 : 0;
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  return guarded([=](Device& device) {
    Stream* target = device.stream(stream);
    if (target == nullptr || target->capture == nullptr) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    std::unique_ptr<Graph> captured = std::move(target->capture);
    *graph = nullptr;
    if (captured->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    Graph* made = captured.get();
    device.graphs[made] = std::move(captured);
    *graph = reinterpret_cast<CUgraph>(made);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long) {
  return guarded([=](Device& device) {
    const Graph* from = find(device, static_cast<void*>(graph));
    if (from == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    auto made = std::make_unique<Graph>(*from);
    *executable = reinterpret_cast<CUgraphExec>(made.get());
    device.graphs[made.get()] = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return guarded([=](Device& device) {
    const Graph* graph = find(device, static_cast<void*>(executable));
    if (graph == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    ++device.graphLaunches;
    for (const Work& work : graph->work) {
      if (const CUresult result = device.submit(stream, work); result != CUDA_SUCCESS) return result;
    }
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuGraphUpload(CUgraphExec, CUstream) { return CUDA_SUCCESS; }

CUDASIM_API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* count) {
  return guarded([=](Device& device) {
    const Graph* from = find(device, static_cast<void*>(graph));
    if (from == nullptr || nodes != nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = from->work.size();
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuGraphDestroy(CUgraph graph) {
  return guarded([=](Device& device) {
    return device.graphs.erase(reinterpret_cast<Graph*>(graph)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUDASIM_API CUresult cuGraphExecDestroy(CUgraphExec executable) {
  return cuGraphDestroy(reinterpret_cast<CUgraph>(executable));
}
