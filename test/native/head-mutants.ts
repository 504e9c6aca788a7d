/** Mistakes planted in the kernels of the vocabulary head. */
import type { KernelMutants } from "./kernel-mutants.js";

export const HEAD_MUTANTS: readonly KernelMutants[] = [
  {
    file: "head",
    test: ["head gradient: numerics", "cuda bf16"],
    mistakes: {
      "the target left out": ["(token == target ? 1.0F : 0.0F)", "0.0F"],
      "the temperature left out": ["task.d_logp[row] * task.inv_temperature[row]", "task.d_logp[row]"],
    },
  },
  {
    file: "head",
    test: ["head: numerics", "cuda bf16"],
    mistakes: {
      "the target among the others": ["        e[j] = 0;\n", ""],
      "e^l not in the chunk's unit": ["store(to + lane + 32 * j, e[j] * scale)", "store(to + lane + 32 * j, e[j])"],
      "the target's own probability left out": [" * -expm1f(logp)", ""],
      "the temperature left out": ["task.inv_temperature[row] * -expm1f", "-expm1f"],
    },
  },
  {
    file: "head",
    test: ["head: extreme logits", "cuda bf16"],
    mistakes: { "the sum of e^l before they are rounded": ["rounded<Act>(e[j] * scale)", "e[j] * scale"] },
  },
  {
    file: "head_product",
    test: ["head: slopes", "cuda bf16"],
    mistakes: {
      "units of chunks left out": ["a[m][i] = times<Half>(a[m][i], ratio[16 * m + 8 * (i & 1)])", "a[m][i] += 0"],
      "a unit of another row": ["ratio[16 * m + 8 * (i & 1)]", "ratio[16 * m + 8 * (i >> 1)]"],
      "a unit of another chunk": ["= step * kStep / kVocabChunk;", "= 0;"],
      "what was made not handed on": [
        "if (valid && blockIdx.x == 0) task.after[row] =",
        "if (row < 0) task.after[row] =",
      ],
      "barrier behind the units removed": ["    __syncthreads();\n  }\n\n  /// Bits", "  }\n\n  /// Bits"],
      "wait off by one": ["wait_for_copies<kHeadStages - 2>();", "wait_for_copies<kHeadStages - 1>();"],
      "barrier removed": ["    __syncthreads();\n    request_step", "    request_step"],
    },
  },
  {
    file: "head_product",
    test: ["head: jumps", "cuda bf16"],
    mistakes: {
      "sums left in the unit before": ["of_sums[i] = unit_ratio(sum.unit, unit);", "of_sums[i] = 1;"],
      "the sum left in the unit before": ["    sum.sum *= unit_ratio(sum.unit, unit);\n", ""],
      "chunks added in their own units": ["fmaf(made.sum, unit_ratio(made.unit, unit), sum.sum)", "made.sum + sum.sum"],
      "the largest of the group not handed on": ["fmaxf(sum.next_unit, made.next_unit)", "sum.next_unit"],
      "rows of another warp asked": ["i / 32] = changed", "0] = changed"],
    },
  },
  {
    file: "head_product",
    test: ["head: jumps", "cuda bf16"],
    multiprocessors: 3,
    mistakes: {
      "half of a warp's rows not asked": ["if constexpr (kRows == 128) bits |= not_one[row / 32 + 1];", ""],
      "rows of the lower warps misplaced": ["warp / 2 * (kRows / 2)", "warp / 2 * 32"],
    },
  },
  ...["bf16", "fp16"].map((dtype) => ({
    file: "head",
    header: "head_unit.cuh",
    test: ["head: jumps", `cuda ${dtype}`],
    mistakes: { "more than there is room for": ["own > before + kRoom ? own : before", "before"] as const },
  })),
  {
    file: "head_product",
    test: ["head: jumps", "cuda fp32"],
    mistakes: {
      "units of chunks left out": ["[from] * ratio : 0.0F", "[from] : 0.0F"],
      "sums left in the unit before": ["dx * ratios.of_sums[own]", "dx"],
    },
  },
  {
    file: "head_product",
    test: ["head: slopes", "cuda fp16"],
    mistakes: {
      "multiplied as bf16": [
        "head_product<__half, kFewProductRows.rows>",
        "head_product<__nv_bfloat16, kFewProductRows.rows>",
      ],
    },
  },
];
