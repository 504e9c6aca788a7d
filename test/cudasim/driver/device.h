// The one device, its context and everything that lives in it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "driver/cuda.h"
#include "driver/stream.h"
#include "machine/global_memory.h"
#include "machine/kernel_decoder.h"
#include "machine/worker.h"
#include "ptx/module.h"

namespace cudasim {

struct Module;

struct Kernel {
  Module* module;
  Program program;
  uint32_t maxDynamicShared = 48 << 10;
  uint64_t launches = 0;
  std::vector<SiteCounters> sites{};
};

struct Module {
  std::shared_ptr<const ptx::Module> text;
  Symbols symbols;
  std::map<std::string, std::pair<uint64_t, size_t>> globals;  // address and bytes
  std::map<std::string, std::unique_ptr<Kernel>> kernels;      // as they are asked for
};

/** What the environment says, once. */
struct Settings {
  int arch = 80;
  int version = 99000;  // newer than any nvcc asks for
  int multiprocessors = 108;
  /** Bytes that the device has. */
  uint64_t memory = 16ull << 30;
  uint32_t threads = 2;
  uint64_t orderSeed = 0;
  /** Tensor cores and approximations as GPUs have them (machine/rounding.h), not as exact as can be. */
  bool roundsAsMeasured = false;
  /** In all kernels, not only in those with atomic operations there, who wrote each word of global memory. */
  bool followsWarps = false;
  /** Blocks along each axis of a grid that stand for all; 0: all run. Results are then wrong, and nothing is undefined.
   */
  uint32_t sample = 0;
  /** What the names of kernels begin with, commas between, that leave nothing behind then. */
  std::string dry;
  /** A file that gets a line of JSON for each launch. */
  std::string log;
  uint64_t instructionLimit = 1ull << 32;
  /** The kernel, counted from 1 as they run, that faults in place of running; 0: none. */
  uint64_t failAt = 0;
  /** The call of the driver that is refused for want of memory, and which of them, counted from 1; "": none. */
  std::string refused;
  uint64_t refusedPlace = 0;
  /** What the process ends with where something was never given back; 0: as it would. */
  int leakStatus = 0;
  /** PTX that takes the place of every module with a kernel of its first kernel's name: to plant mistakes. */
  std::string replacement;
  /** The first variable that says what it cannot, as a sentence: the driver does not start then. */
  std::string wrong;
  static Settings fromEnvironment();
};

class Device {
 public:
  static Device& instance();
  ~Device();

  std::recursive_mutex lock;
  Settings settings = Settings::fromEnvironment();
  GlobalMemory memory{settings.memory};
  bool initialised = false;
  int contextReferences = 0;
  CUresult sticky = CUDA_SUCCESS;
  enum class Refuses { nothing, captures, capturedLaunches } refusesOf = Refuses::nothing;
  std::string planted;    // the kernel whose next launch fails
  uint64_t launches = 0;  // of kernels, one by one
  uint64_t runs = 0;      // of kernels, those of graphs among them
  uint64_t graphLaunches = 0;
  std::string refused = settings.refused;           // the calls of which one is refused; "": all that can be
  uint64_t callsToRefusal = settings.refusedPlace;  // the last of them is; 0: none
  std::string lastReport;
  WrittenRanges written;  // by the kernel that ran last

  Stream defaultStream;
  std::map<Stream*, std::shared_ptr<Stream>> streams;
  std::map<Event*, std::shared_ptr<Event>> events;
  std::map<Module*, std::unique_ptr<Module>> modules;
  std::unordered_map<std::string, std::shared_ptr<const ptx::Module>> parsed;  // by text: the same is loaded often
  std::map<Graph*, std::unique_ptr<Graph>> graphs;
  std::map<void*, std::unique_ptr<uint8_t[]>> pinned;

  /** Bytes of shared memory; the driver keeps 1 KiB of those of a multiprocessor for each block. */
  uint32_t maxSharedPerBlock() const { return sharedPerMultiprocessor() - 1024; }
  uint32_t sharedPerMultiprocessor() const;
  uint32_t threadsPerMultiprocessor() const;
  /** Space for the parameters of the launch that runs. */
  uint64_t parameterSpace();
  /** Prints what the program did wrong and keeps it for cudasimLastReport. */
  void report(const std::string& text);
  /** Whether this is the call that CUDASIM_REFUSE or cudasimRefuseCall names. */
  bool refuses(const char* call);
  /** The result of a wait, or that it is refused: an error that a wait tells comes once the work is done. */
  CUresult refusedWait(const char* call, CUresult result) { return refuses(call) ? CUDA_ERROR_OUT_OF_MEMORY : result; }
  /** What the program has not given back: "2 allocations of device memory, 1 module", or "". */
  std::string leaks() const;

  Stream* stream(CUstream handle);
  /** Leaves the work with the stream until it is needed, or records it when the stream captures. The default stream
   * does it at once, after that of all streams that wait for it; with a log, whose readers look when they like, all do.
   */
  CUresult submit(CUstream stream, Work work);
  /** Does the first `until` works that the stream was ever given. The first error that one returned, none twice. */
  CUresult finish(Stream& stream, uint64_t until);
  CUresult finish(Stream& stream) { return finish(stream, stream.given()); }
  /** The same for a wait of the host: with an odd seed of the order after all that other streams were given, which may
   * have come first just as well. */
  CUresult await(Stream& stream, uint64_t until);
  /** All works of all streams, or of those alone that the default stream waits for. */
  CUresult finishAll(bool blockingAlone = false);
  /** What streams were given is lost with the context. */
  void dropWork();
  /** For calls that would wait or take memory: refused while a stream captures whose mode covers this thread, or the
   * stream that the call is of, and the capture is lost. */
  CUresult refusedByCapture(const char* call, const Stream* of = nullptr);

 private:
  Device() = default;
  uint64_t parameterSpace_ = 0;
};

/** The context of the calling thread is set, and no earlier launch has failed. */
CUresult ready();
void setCurrent(bool current);
bool isCurrent();

/** Runs the body under the device's lock; an exception becomes an error. */
template <class F>
CUresult guarded(F body) {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  if (const CUresult state = ready(); state != CUDA_SUCCESS) return state;
  return body(device);
}

/** The same for a call that a capture may not allow. */
template <class F>
CUresult guardedOutsideCapture(const char* call, F body) {
  return guarded([&](Device& device) {
    const CUresult refused = device.refusedByCapture(call);
    return refused != CUDA_SUCCESS ? refused : body(device);
  });
}

}  // namespace cudasim
