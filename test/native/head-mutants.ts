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
      "the target among the others": ["lane + 32 * j == target ? 0.0F : e[j] * scale", "e[j] * scale"],
      "e^l not in the chunk's unit": ["0.0F : e[j] * scale", "0.0F : e[j]"],
      "the sum not in the row's unit": ["in_unit(total.largest, unit_of(total.largest)) * ", ""],
      "the target's own probability left out": [" * -expm1f(logp)", ""],
      "the temperature left out of the sum": ["-task.inv_temperature[row] / all", "-1 / all"],
    },
  },
  {
    file: "head_product",
    test: ["head: slopes", "cuda bf16"],
    mistakes: {
      "units of chunks left out": ["a[m][i] = times<Half>(a[m][i], ratio[16 * m + 8 * (i & 1)])", "a[m][i] += 0"],
      "a unit of another row": ["ratio[16 * m + 8 * (i & 1)]", "ratio[16 * m + 8 * (i >> 1)]"],
      "a unit of another chunk": ["step * kStep / kVocabChunk]", "0]"],
      "sums left in the unit before": ["of_sums[i] = unit_ratio(before, unit);", "of_sums[i] = 1;"],
      "the unit of the group alone": ["float unit = before;", "float unit = kMinusInfinity;"],
      "the unit not handed on": ["if (valid && blockIdx.x == 0) task.unit_after[row] = unit;", ""],
      "barrier behind the units removed": ["    __syncthreads();\n  }\n};", "  }\n};"],
      "wait off by one": ["wait_for_copies<kHeadStages - 2>();", "wait_for_copies<kHeadStages - 1>();"],
      "barrier removed": ["    __syncthreads();\n    request_step", "    request_step"],
    },
  },
  {
    file: "head_product",
    test: ["head: slopes", "cuda fp32"],
    mistakes: {
      "units of chunks left out": ["[from] * ratio : 0.0F", "[from] : 0.0F"],
      "sums left in the unit before": ["dx * ratios.of_sums[own]", "dx"],
    },
  },
  {
    file: "head_product",
    test: ["head: slopes", "cuda fp16"],
    mistakes: { "multiplied as bf16": ["head_product<__half>", "head_product<__nv_bfloat16>"] },
  },
];
