// Quantiles of the standard normal distribution, with the same bits on every platform.
#pragma once

namespace tinylora {

/// Natural logarithm of a positive normal number, to about 1e-16 relative.
double portable_log(double x);

/// x with P(N(0, 1) < x) = p, 0 < p < 1, to about 1e-16 relative: Wichura, "The Percentage Points of the Normal
/// Distribution", algorithm AS 241 (PPND16).
double inverse_normal(double p);

}  // namespace tinylora
