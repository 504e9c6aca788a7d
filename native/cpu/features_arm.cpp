#include <algorithm>
#include <fstream>

#include "cpu/features.h"
#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sys/auxv.h>
#endif

namespace tinylora {
namespace {

#if defined(__APPLE__)

bool has_bf16() {
  int has = 0;
  std::size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) == 0 && has != 0;
}

#else

bool has_bf16() {
  constexpr unsigned long kBf16 = 1UL << 14;  // HWCAP2_BF16
  return (getauxval(AT_HWCAP2) & kBf16) != 0;
}

#endif

/// NEON belongs to every 64-bit Arm.
std::vector<CpuPath> find_paths() {
  if (has_bf16()) return {CpuPath::neon_bf16, CpuPath::neon};
  return {CpuPath::neon};
}

}  // namespace

const std::vector<CpuPath>& usable_paths() {
  static const std::vector<CpuPath> paths = find_paths();
  return paths;
}

#if defined(__APPLE__)

std::string cpu_name() {
  char name[128] = {};
  std::size_t size = sizeof name - 1;
  return sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0 ? name : "unknown";
}

#else

/// Arm's cores give no name, only the numbers of their maker and their design.
std::string cpu_name() {
  std::ifstream lines("/proc/cpuinfo");
  std::string maker, part;
  for (std::string line; std::getline(lines, line);) {
    const std::string value = line.substr(std::min(line.size(), line.find(':') + 2));
    if (line.starts_with("CPU implementer")) maker = value;
    if (line.starts_with("CPU part")) part = value;
  }
  return maker.empty() ? "unknown" : "Arm, implementer " + maker + ", part " + part;
}

#endif

}  // namespace tinylora
