// What this CPU and its operating system can run.
#pragma once

#include <string>
#include <vector>

namespace tinylora {

/// The instruction sets that have kernels, best first of x86-64, then Arm's. `amx_emulated` runs the AMX kernels on
/// plain x86-64 instructions, for tests on machines without AMX; it is never chosen and never listed.
enum class CpuPath { amx, avx512_bf16, avx512, avx2, neon_bf16, neon, amx_emulated };

/// amx, avx512-bf16, avx512, avx2, neon-bf16, neon, amx-emulated
const char* name_of(CpuPath path);

/// Paths this machine can run, best first: the instructions exist and the system saves their registers (for AMX also:
/// it grants the permission, which this asks for).
const std::vector<CpuPath>& usable_paths();

/// The processor's name as it gives it itself.
std::string cpu_name();

}  // namespace tinylora
