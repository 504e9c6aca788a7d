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
        "first_row, blockIdx.x == 0);\n  __syncthreads();\n#pragma",
        "first_row, false);\n  __syncthreads();\n#pragma",
      ],
      "barrier behind the units removed": ["  __syncthreads();\n#pragma", "#pragma"],
      "wait off by one": ["wait_for_copies<kHeadStages - 2>();", "wait_for_copies<kHeadStages - 1>();"],
      "barrier removed": ["    __syncthreads();\n    request_step", "    request_step"],
    },
  },
  {
    file: "head_product",
    header: "head_ratios.cuh",
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
    mistakes: { "rows of the lower warps misplaced": ["warp / 2 * (kRows / 2)", "warp / 2 * 32"] },
  },
  {
    file: "head_product",
    header: "head_ratios.cuh",
    test: ["head: jumps", "cuda bf16"],
    multiprocessors: 3,
    mistakes: {
      "half of a warp's rows not asked": ["if constexpr (kCount == 64) bits |= not_one[row / 32 + 1];", ""],
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
  {
    file: "head_stats_sm90",
    test: ["head: numerics", "cuda bf16"],
    mistakes: {
      "the target among the others": ["[&](int n) { l[n] = 0; }", "[&](int) {}"],
      "the word kept is the word traded": ["odd ? words[0] : words[1]", "odd ? words[1] : words[0]"],
      "both lanes of a pair at one fragment": ["token_of(0) / 4 * 4 + (odd ? 8 : 0)", "token_of(0) / 4 * 4"],
      "rows of the lower half twice": ["% 32 / 4) + 8 * half, chunk", "% 32 / 4), chunk"],
      "one lane's sum for its row": ["  sum = quad_sum(sum);\n", ""],
      "tokens past the vocabulary counted": ["[&](int n) { l[n] = kMinusInfinity; }", "[&](int) {}"],
    },
  },
  {
    file: "head_stats_sm90",
    test: ["cuda head: both tilings have the same bits [", "sm_90a bf16"],
    mistakes: { "the first chunk of a tile twice": ["sum[64 * c + n / 2", "sum[n / 2"] },
  },
  {
    file: "head_stats_sm90",
    test: ["head: extreme logits", "cuda bf16"],
    mistakes: {
      "the sum of e^l before they are rounded": [
        "const float2 rounded = pair_of<Half>(word);",
        "const float2 rounded = make_float2(e[n] * scale, 0);",
      ],
    },
  },
  {
    file: "head_stats_sm90",
    test: ["head_sample: supports", "cuda bf16"],
    mistakes: { "logits of cut rows not kept": ["kept >= 0 && token < count;", "kept > 1000;"] },
  },
  {
    file: "head_product_sm90",
    test: ["cuda head: both tilings have the same bits where logits jump", "sm_90a bf16"],
    mistakes: {
      "e^l changed behind the products' back": [
        '  asm volatile("fence.proxy.async.shared::cta;\\n" ::: "memory");\n',
        "",
      ],
      "no barrier behind what changes e^l": ["  meet_warpgroup();\n", ""],
      "ratios of the first warpgroup for both": ["ratios.of_chunk[chunk] + group", "ratios.of_chunk[chunk]"],
      "the barrier before the ratios removed": ["    meet_consumers<T>();  // the ratios are there\n", ""],
    },
  },
  {
    file: "head_product_sm90",
    test: ["cuda head: both tilings have the same bits [", "sm_90a bf16"],
    mistakes: {
      "the barrier behind the ratios removed": ["    meet_consumers<T>();  // and may be overwritten\n", ""],
      "the last column of an odd width lost": ["if (!last) dx[1] = b;", "if (last) dx[1] = b;"],
    },
  },
  {
    file: "head_product_sm90",
    test: ["head: jumps", "cuda bf16"],
    mistakes: {
      "units of chunks left out": ["if (ratios.template changed<64>(group, chunk))", "if (false)"],
      "sums left in the unit before": ["sum[i] *= of_sums[i / 2 % 2]", "sum[i] *= 1"],
      "a unit of another chunk": ["= token / kVocabChunk;", "= 0;"],
      "what was made not handed on": ["tile.column == 0)", "false)"],
      "the first group's tokens for all": ["return args.task.first_token; }", "return 0; }"],
    },
  },
  {
    file: "head_sample_sm90",
    test: ["cuda head: draws of wide rows", "sm_90a bf16"],
    mistakes: {
      "a stage asked for while it is read": ["      __syncthreads();  // all are done with the stage\n", ""],
      "the parity of another turn": ["step / T::kStages % 2", "0"],
      "logits read before they are there": ["    __syncthreads();\n    return logits;", "    return logits;"],
    },
  },
];
