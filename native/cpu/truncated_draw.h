// Drawing from a distribution that top_k, top_p and min_p have cut, one after the other, as transformers does it.
#pragma once

#include "ops/head.h"

namespace tinylora {

/// l [vocab] are logits at the row's temperature, e [vocab] = e^(l - largest). The survivors' probabilities are laid
/// side by side in the order of their ids and the one at `uniform` (0..1) of the whole is drawn.
int draw_truncated(const float* l, const float* e, int vocab, const SampleRow& how, double uniform);

}  // namespace tinylora
