// What a driver does not have: reports of mistakes, counters, and which forms of a PTX text are missing.
#include <set>
#include <utility>

#include "driver/counters.h"
#include "driver/device.h"
#include "machine/rounding.h"
#include "ptx/parser.h"
#include "ptx/scanner.h"

using namespace cudasim;

namespace {

/** Lives until the next call of the same thread. */
const char* keep(std::string text) {
  thread_local std::string kept;
  kept = std::move(text);
  return kept.c_str();
}

}  // namespace

/** The last mistake found, "" when there was none. */
CUDASIM_API const char* cudasimLastReport() {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  return keep(device.lastReport);
}

/** What the program has not given back so far, "" when there is nothing. */
CUDASIM_API const char* cudasimLeaks() {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  return keep(device.leaks());
}

/** JSON: by kernel what its launches did. */
CUDASIM_API const char* cudasimCounters() {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  std::string text = "{";
  for (const auto& entry : device.modules) {
    for (const auto& [name, kernel] : entry.second->kernels) {
      if (kernel == nullptr || kernel->launches == 0) continue;
      text += (text.size() > 1 ? ",\"" : "\"") + name + "\":" + "{\"launches\":" + std::to_string(kernel->launches) +
              "," + countersJson(kernel->program, kernel->sites) + "}";
    }
  }
  return keep(text + "}");
}

/** Kernels that were launched one by one, and graphs, since the counters were reset. */
CUDASIM_API uint64_t cudasimLaunches() { return Device::instance().launches; }
CUDASIM_API uint64_t cudasimGraphLaunches() { return Device::instance().graphLaunches; }

/** The next launch of the kernel fails as one does that reads where nothing is: the context is lost. */
CUDASIM_API void cudasimFailNext(const char* kernel) {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  device.planted = kernel;
}

/** From now on as CUDASIM_REFUSE says, but for the place, which counts from here; "": any call that it can name.
 * Returns how many calls were left to the refusal before; 0: it has come, or there was none. */
CUDASIM_API uint64_t cudasimRefuseCall(const char* call, uint64_t place) {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.refused = call;
  return std::exchange(device.callsToRefusal, place);
}

/** From now on 1: no stream may capture, 2: none takes a launch while it does, 0: all is as usual again. */
CUDASIM_API void cudasimRefuseCaptures(int what) { Device::instance().refusesOf = static_cast<Device::Refuses>(what); }

CUDASIM_API void cudasimCountersReset() {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  device.launches = 0;
  device.graphLaunches = 0;
  for (const auto& entry : device.modules) {
    for (const auto& kernel : entry.second->kernels) {
      if (kernel.second == nullptr) continue;
      kernel.second->launches = 0;
      kernel.second->sites.assign(kernel.second->sites.size(), {});
    }
  }
}

/** From now on blocks run in a random order; 0: in order. */
CUDASIM_API void cudasimSetOrder(unsigned long long seed) {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  device.settings.orderSeed = seed;
}

/** From now on tensor cores and approximations round as measured (CUDASIM_ROUNDING), or as exactly as can be. */
CUDASIM_API void cudasimSetRounding(bool asMeasured) {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  rounding = asMeasured ? Rounding::of(device.settings.arch) : Rounding{};
}

/** From now on who wrote global memory is followed warp by warp in all kernels (CUDASIM_FOLLOW), or in some. */
CUDASIM_API void cudasimSetFollowing(bool warps) {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  device.settings.followsWarps = warps;
}

/**
 * From now on this many middle blocks of each axis and the last stand for all (CUDASIM_SAMPLE), and kernels whose names
 * begin as `dry` has it write nothing (CUDASIM_DRY); 0: all run.
 */
CUDASIM_API void cudasimSetSample(uint32_t blocks, const char* dry) {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  device.finishAll();
  device.settings.sample = blocks;
  device.settings.dry = dry;
}

/** Lines that name each form of the PTX text that the stand-in lacks; "" when it has all. */
CUDASIM_API const char* cudasimMissingForms(const char* ptx) {
  std::set<std::string> lines;
  try {
    const ptx::Module module = ptx::parse(ptx);
    Symbols symbols;
    for (const ptx::Variable& variable : module.variables)
      symbols[variable.name] = {variable.isExtern ? "dynamic" : variable.space, 0};
    for (const ptx::Function& function : module.functions) {
      if (!function.isDefined) continue;
      lines.merge(KernelDecoder(module, symbols).missing(function));
    }
  } catch (const ptx::SyntaxError& error) {
    lines.insert(error.what());
  }
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return keep(text);
}
