// The operations the model is written in. A header for each group has their arguments, formulas, and what accumulates.
//
// Dimension letters, used in every comment of the native code:
//   M rows (tokens of a batch)   C hidden    H query heads   K kv heads   D head_dim   F intermediate   V vocabulary
//   r rank of the update         u numbers in one v          k adapter of a row        n tokens scored by the head
//   W [out, in] frozen weight; its update is B R_k A with A [r, in], B [out, r], R_k = sum_i v_i P_i [r, r]
//
// "act" marks a buffer in the engine's dtype (float, bf16 or fp16); everything else is float or int32. All pointers are
// memory of the backend. All sums are taken in float, in an order fixed by the shapes of the model, never by M, by the
// place of a row in the batch, or by the number of threads (docs/method.md, row invariance). Forward results are
// bitwise row invariant; backward results are bitwise independent of the number of threads.
#pragma once

#include "ops/attention.h"
#include "ops/head.h"
#include "ops/linear.h"
#include "ops/rows.h"
#include "ops/training.h"
