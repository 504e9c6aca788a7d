// How tensor cores and approximations round where CUDASIM_ROUNDING asks for it: as they were measured, not as it is
// most exact. A tensor core brings so many products and the sum to the largest exponent among them, cuts each a bit or
// two behind the last one of a float, adds what is left and cuts the result (Fasi et al., "Numerical behavior of NVIDIA
// tensor cores", 2021; Khattak and Mikaitis, "Accurate Models of NVIDIA Tensor Cores", 2025).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace cudasim {

struct Rounding {
  uint32_t together = 0;  // products that are added at once; 0: one by one, each sum rounded to nearest
  int extraBits = 0;      // behind those of a float, of what is added

  static Rounding of(int arch) { return arch < 90 ? Rounding{8, 1} : Rounding{16, 2}; }
};
inline Rounding rounding{};

/** The nearest float that is no further from zero; past the largest, infinity. */
inline float towardZero(double value) {
  const auto near = static_cast<float>(value);
  const double distance = near < 0 ? -static_cast<double>(near) : near, whole = value < 0 ? -value : value;
  return distance > whole && std::isfinite(near) ? std::bit_cast<float>(std::bit_cast<uint32_t>(near) - 1) : near;
}

/** `exact` as an approximation of relative error 2^-22 may give it, by the bits of the input: the same every time. */
inline double approximated(double exact, float input) {
  if (rounding.together == 0 || input == 0) return exact;
  const uint32_t mixed = std::bit_cast<uint32_t>(input) * 0x9E3779B9u;
  return exact * (1 + (static_cast<double>(mixed >> 8) * 0x1p-23 - 1) * 0x1p-22);
}

}  // namespace cudasim
