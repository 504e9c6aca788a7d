// What a driver does not have: reports of mistakes, counters, and which forms of a PTX text are missing.
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>

#include "driver/device.h"
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

std::string object(const SiteCounters& counted) {
  std::ostringstream out;
  out << "\"executed\":" << counted.executed;
  if (counted.wavefronts != 0) {
    out << ",\"wavefronts\":" << counted.wavefronts << ",\"idealWavefronts\":" << counted.idealWavefronts;
  }
  if (counted.sectors != 0) out << ",\"sectors\":" << counted.sectors << ",\"usefulBytes\":" << counted.usefulBytes;
  return out.str();
}

/** What one execution of a form by a warp comes to in mma.m16n8k16: a wgmma of N columns is N / 8 of them for each of
 * its four warps. */
uint64_t mmaOf(const std::string& form) {
  if (form.rfind("mma.", 0) == 0) return 1;
  if (form.rfind("wgmma.mma", 0) != 0) return 0;
  return std::strtoull(form.c_str() + form.find(".m64n") + 5, nullptr, 10) / 8;
}

std::string describe(const Kernel& kernel) {
  std::map<std::string, SiteCounters> byForm;
  SiteCounters all, barriers, local;
  uint64_t mma = 0;
  for (size_t pc = 0; pc < kernel.sites.size(); ++pc) {
    const std::string& form = kernel.program.forms[kernel.program.code[pc].form];
    byForm[form].add(kernel.sites[pc]);
    all.add(kernel.sites[pc]);
    mma += mmaOf(form) * kernel.sites[pc].executed;
    if (form.rfind("bar", 0) == 0 && form.find("warp") == std::string::npos) barriers.add(kernel.sites[pc]);
    if (form.find(".local") != std::string::npos) local.add(kernel.sites[pc]);
  }
  std::ostringstream out;
  out << "{\"launches\":" << kernel.launches << "," << object(all) << ",\"mma\":" << mma
      << ",\"barriers\":" << barriers.executed << ",\"localAccesses\":" << local.executed
      << ",\"registers\":" << kernel.program.registersUsed << ",\"staticShared\":" << kernel.program.staticShared
      << ",\"forms\":{";
  bool first = true;
  for (const auto& [form, counted] : byForm) {
    if (counted.executed == 0) continue;
    out << (first ? "" : ",") << "\"" << form << "\":{" << object(counted) << "}";
    first = false;
  }
  out << "}}";
  return out.str();
}

}  // namespace

/** The last mistake found, "" when there was none. */
CUDASIM_API const char* cudasimLastReport() {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  return keep(device.lastReport);
}

/** JSON: by kernel what its launches did. */
CUDASIM_API const char* cudasimCounters() {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
  std::string text = "{";
  for (const auto& entry : device.modules) {
    for (const auto& [name, kernel] : entry.second->kernels) {
      if (kernel == nullptr || kernel->launches == 0) continue;
      text += (text.size() > 1 ? ",\"" : "\"") + name + "\":" + describe(*kernel);
    }
  }
  return keep(text + "}");
}

/** Kernels that were launched one by one, and graphs, since the counters were reset. */
CUDASIM_API uint64_t cudasimLaunches() { return Device::instance().launches; }
CUDASIM_API uint64_t cudasimGraphLaunches() { return Device::instance().graphLaunches; }

/** The next launch of the kernel fails as one does that reads where nothing is: the context is lost. */
CUDASIM_API void cudasimFailNext(const char* kernel) { Device::instance().planted = kernel; }

/** From now on no stream may capture, or each may again. */
CUDASIM_API void cudasimRefuseCaptures(bool refuse) { Device::instance().refusesCaptures = refuse; }

CUDASIM_API void cudasimCountersReset() {
  Device& device = Device::instance();
  const std::lock_guard guard(device.lock);
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
