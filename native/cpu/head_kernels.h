// The inner loops of the head over one chunk of the vocabulary, one table an instruction set. Everything is summed lane
// by lane, tokens ascending, then across the lanes in a fixed order: it depends on the chunk alone.
#pragma once

#include "core/dtype.h"
#include "cpu/features.h"

namespace tinylora {

/// What one row knows of one chunk, l = logit * inv_temperature:
///   largest = max l,  sum = sum e^(l - largest),  weighted = sum e^(l - largest) (l - largest)
struct ChunkStats {
  float largest;
  float sum;
  float weighted;
};

struct HeadKernels {
  /// Scales the logits in place.
  ChunkStats (*chunk_stats)(float* logits, int count, float inv_temperature);
  /// The same bits; logits become e^(l - largest).
  ChunkStats (*chunk_exponentials)(float* logits, int count, float inv_temperature);
  /// logits become e^(l - shift), l = logit * inv_temperature.
  void (*exponentials)(float* logits, int count, float inv_temperature, float shift);
  /// y = values * scale, rounded to act.
  void (*scaled)(const float* values, int count, float scale, void* y, DType dtype);
};

extern const HeadKernels kHeadAvx2, kHeadAvx512, kHeadNeon;

const HeadKernels& head_kernels(CpuPath path);

}  // namespace tinylora
