#include "simulated_driver.h"

#include <dlfcn.h>

#include <cstdlib>

namespace tinylora::test {

SimulatedDriver SimulatedDriver::find() {
  const char* file = std::getenv("TINYLORA_CUDA_DRIVER");
  void* library = file != nullptr && *file != '\0' ? dlopen(file, RTLD_NOW | RTLD_LOCAL) : nullptr;
  SimulatedDriver found;
  if (library == nullptr) return found;
  found.launches = reinterpret_cast<decltype(found.launches)>(dlsym(library, "cudasimLaunches"));
  found.graph_launches = reinterpret_cast<decltype(found.graph_launches)>(dlsym(library, "cudasimGraphLaunches"));
  found.fail_next = reinterpret_cast<decltype(found.fail_next)>(dlsym(library, "cudasimFailNext"));
  found.refuse_captures = reinterpret_cast<decltype(found.refuse_captures)>(dlsym(library, "cudasimRefuseCaptures"));
  found.refuse_call = reinterpret_cast<decltype(found.refuse_call)>(dlsym(library, "cudasimRefuseCall"));
  found.counters = reinterpret_cast<decltype(found.counters)>(dlsym(library, "cudasimCounters"));
  found.reset_counters = reinterpret_cast<decltype(found.reset_counters)>(dlsym(library, "cudasimCountersReset"));
  found.leaks = reinterpret_cast<decltype(found.leaks)>(dlsym(library, "cudasimLeaks"));
  return found;
}

std::int64_t SimulatedDriver::counted(const std::string& kernel, const std::string& counter) const {
  const std::string all = counters(), key = '"' + counter + "\":";
  const std::size_t from = all.find('"' + kernel + "\":");
  if (from == std::string::npos) return 0;
  const std::size_t at = all.find(key, from);
  return at == std::string::npos ? 0 : std::stoll(all.substr(at + key.size()));
}

}  // namespace tinylora::test
