#include "cpu/features.h"

namespace tinylora {

const char* name_of(CpuPath path) {
  switch (path) {
    case CpuPath::amx:
      return "amx";
    case CpuPath::avx512_bf16:
      return "avx512-bf16";
    case CpuPath::avx512:
      return "avx512";
    case CpuPath::avx2:
      return "avx2";
    case CpuPath::neon_bf16:
      return "neon-bf16";
    case CpuPath::neon:
      return "neon";
    case CpuPath::amx_emulated:
      return "amx-emulated";
  }
  return "";
}

}  // namespace tinylora
