// Streams and what orders them, events, and the graphs that capturing streams record.
#include "driver/device.h"

using namespace cudasim;

namespace {

std::shared_ptr<Event> find(Device& device, CUevent handle) {
  const auto found = device.events.find(reinterpret_cast<Event*>(handle));
  return found == device.events.end() ? nullptr : found->second;
}

/** None for the default stream: what it is given is done. */
std::shared_ptr<Stream> shared(const Device& device, Stream* stream) {
  const auto found = device.streams.find(stream);
  return found == device.streams.end() ? nullptr : found->second;
}

Graph* find(Device& device, void* handle) {
  const auto found = device.graphs.find(static_cast<Graph*>(handle));
  return found == device.graphs.end() ? nullptr : found->second.get();
}

}  // namespace

CUDASIM_API CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
  return guarded([=](Device& device) {
    if (device.refuses("cuStreamCreate")) return CUDA_ERROR_OUT_OF_MEMORY;
    auto made = std::make_shared<Stream>();
    made->blocking = (flags & 1 /* CU_STREAM_NON_BLOCKING */) == 0;
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
    const auto found = device.streams.find(reinterpret_cast<Stream*>(stream));
    if (found == device.streams.end()) return CUDA_ERROR_INVALID_HANDLE;
    device.finish(*found->second);
    device.streams.erase(found);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuStreamSynchronize(CUstream stream) {
  return guarded([=](Device& device) {
    Stream* target = device.stream(stream);
    if (target == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (target->capture != nullptr) return device.refusedByCapture("cuStreamSynchronize", target);
    return device.refusedWait("cuStreamSynchronize", target == &device.defaultStream
                                                         ? device.finishAll(true)
                                                         : device.await(*target, target->given()));
  });
}

/** Always done: a query that fails would be asked again. */
CUDASIM_API CUresult cuStreamQuery(CUstream stream) { return cuStreamSynchronize(stream); }

CUDASIM_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  return guarded([=](Device& device) {
    const auto awaited = find(device, event);
    if (device.stream(stream) == nullptr || awaited == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (device.refuses("cuStreamWaitEvent")) return CUDA_ERROR_OUT_OF_MEMORY;
    if (awaited->happened()) return CUDA_SUCCESS;
    return device.submit(stream, [&device, of = awaited->stream, after = awaited->after] {
      device.finish(*of, after);  // what fails is told to those who wait for that stream
      return CUDA_SUCCESS;
    });
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

CUDASIM_API CUresult cuEventCreate(CUevent* event, unsigned flags) {
  return guarded([=](Device& device) {
    if (device.refuses("cuEventCreate")) return CUDA_ERROR_OUT_OF_MEMORY;
    auto made = std::make_shared<Event>();
    made->timed = (flags & 2 /* CU_EVENT_DISABLE_TIMING */) == 0;
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
    const auto target = find(device, event);
    Stream* on = device.stream(stream);
    if (target == nullptr || on == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (device.refuses("cuEventRecord")) return CUDA_ERROR_OUT_OF_MEMORY;
    const CUresult result = device.submit(stream, [target] {
      target->time = std::chrono::steady_clock::now();
      return CUDA_SUCCESS;
    });
    target->recorded = true;
    target->stream = shared(device, on);
    target->after = on->given();
    return result;
  });
}

CUDASIM_API CUresult cuEventSynchronize(CUevent event) {
  return guardedOutsideCapture("cuEventSynchronize", [=](Device& device) {
    const auto awaited = find(device, event);
    if (awaited == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    return device.refusedWait("cuEventSynchronize",
                              awaited->happened() ? CUDA_SUCCESS : device.await(*awaited->stream, awaited->after));
  });
}

/** Always done, as for streams. */
CUDASIM_API CUresult cuEventQuery(CUevent event) { return cuEventSynchronize(event); }

CUDASIM_API CUresult cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to) {
  return guarded([=](Device& device) {
    const auto begin = find(device, from), end = find(device, to);
    const auto usable = [](const auto& event) { return event != nullptr && event->timed && event->recorded; };
    if (!usable(begin) || !usable(end)) return CUDA_ERROR_INVALID_HANDLE;
    if (!begin->happened() || !end->happened()) return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
  return guarded([=](Device& device) {
    Stream* target = device.stream(stream);
    const bool refused = device.refusesOf == Device::Refuses::captures;
    if (target == nullptr || target->capture != nullptr || target == &device.defaultStream || refused) {
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (mode < 0 || mode > 2) return CUDA_ERROR_INVALID_VALUE;
    if (device.refuses("cuStreamBeginCapture")) return CUDA_ERROR_OUT_OF_MEMORY;
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
    if (device.refuses("cuStreamEndCapture")) return CUDA_ERROR_OUT_OF_MEMORY;
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
    if (device.refuses("cuGraphInstantiate")) return CUDA_ERROR_OUT_OF_MEMORY;
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
    if (device.refuses("cuGraphLaunch")) return CUDA_ERROR_OUT_OF_MEMORY;
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
