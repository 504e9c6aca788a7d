#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "cpu/features.h"

namespace tinylora {
namespace {

struct Registers {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t part = 0) {
  Registers r;
  const auto largest = static_cast<std::uint32_t>(__get_cpuid_max(leaf & 0x80000000U, nullptr));
  if (leaf <= largest) __cpuid_count(leaf, part, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

bool bit(std::uint32_t word, int index) { return ((word >> index) & 1U) != 0; }

/// XCR0: which registers the operating system saves on a context switch.
std::uint64_t saved_registers() {
  if (!bit(cpuid(1).ecx, 27)) return 0;  // no OSXSAVE
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

/// Linux keeps the tile registers switched off until a process asks for them.
bool ask_for_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

std::vector<CpuPath> find_paths() {
  const Registers basic = cpuid(1);
  const Registers extended = cpuid(7);
  const Registers extended1 = cpuid(7, 1);
  const std::uint64_t saved = saved_registers();
  const auto saves = [&](std::uint64_t wanted) { return (saved & wanted) == wanted; };

  const bool avx2 = saves(0x6) && bit(basic.ecx, 12) && bit(basic.ecx, 29) && bit(extended.ebx, 5);  // FMA, F16C, AVX2
  const bool avx512 = avx2 && saves(0xe6) && bit(extended.ebx, 16) && bit(extended.ebx, 17) &&       // F, DQ
                      bit(extended.ebx, 30) && bit(extended.ebx, 31);                                // BW, VL
  const bool bf16 = avx512 && bit(extended1.eax, 5);
  const bool amx = bf16 && saves(0x600e6) && bit(extended.edx, 22) && bit(extended.edx, 24) && ask_for_tiles();

  std::vector<CpuPath> paths;
  if (amx) paths.push_back(CpuPath::amx);
  if (bf16) paths.push_back(CpuPath::avx512_bf16);
  if (avx512) paths.push_back(CpuPath::avx512);
  if (avx2) paths.push_back(CpuPath::avx2);
  return paths;
}

}  // namespace

const std::vector<CpuPath>& usable_paths() {
  static const std::vector<CpuPath> paths = find_paths();
  return paths;
}

std::string cpu_name() {
  std::array<char, 49> name = {};
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002U + i);
    std::memcpy(name.data() + 16 * i, &r, 16);
  }
  const std::string text(name.data());
  const std::size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "unknown" : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

}  // namespace tinylora
