// The operations the model is written in. A header for each group has their arguments, formulas, and what accumulates.
//
// Dimension letters, used in every comment of the native code:
//   M rows (tokens of a batch)   C hidden    H query heads   K kv heads   D head_dim   F intermediate   V vocabulary
//   r rank of the update         u numbers in one v          k adapter of a row        n tokens scored by the head
//   W [out, in] weight; its update is B R_k A with A [r, in], B [out, r], R_k = sum_i v_i P_i [r, r]
//
// "act" marks a buffer in the engine's dtype (float, bf16 or fp16); other buffers have the type that is declared. All
// pointers are memory of the backend. Sums are taken in float unless an op says double. The order of the sums of the
// forward pass is fixed by the shapes of the model, never by M, by the place of a row in the batch, or by the number of
// threads: its results are bitwise row invariant (docs/method.md). The results of the backward pass do not depend on
// the number of threads, bit for bit.
#pragma once

#include "ops/attention.h"
#include "ops/head.h"
#include "ops/linear.h"
#include "ops/rows.h"
#include "ops/training.h"
