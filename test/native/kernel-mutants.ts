/** Mistakes planted in kernels, and the native tests that each must fail on the stand-in. */
import { ATTENTION_MUTANTS } from "./attention-mutants.js";
import { EARLY_START_MUTANTS } from "./early-start-mutants.js";
import { HEAD_MUTANTS } from "./head-mutants.js";

export type Mistake = readonly [from: string, to: string];

export interface KernelMutants {
  /** Of native/cuda/kernels. */
  readonly file: string;
  /** A header that the file includes, or one of its headers does, where the mistakes are in that. */
  readonly header?: string;
  /** What a native test's name must contain, all of it. */
  readonly test: readonly string[];
  /** As what the stand-in runs it: 90 where not given and the file is of sm_90 alone, else 80. */
  readonly architecture?: 90 | 100;
  /** Of the stand-in, where the number decides which tiling is taken: as many as its GPU has when not given. */
  readonly multiprocessors?: number;
  /** Text of the file or header, which is there once, and what it becomes. */
  readonly mistakes: Readonly<Record<string, Mistake>>;
}

export const KERNEL_MUTANTS: readonly KernelMutants[] = [
  ...ATTENTION_MUTANTS,
  ...HEAD_MUTANTS,
  ...EARLY_START_MUTANTS,
  {
    file: "rows",
    test: ["copy_rows: exact", "cuda bf16"],
    mistakes: {
      "16 bytes at a time from any row": ["bytes | array.from_stride | array.to_stride;", "bytes;"],
      "one step of a block": ["i < words; i += blockDim.x", "i < words; i += words"],
    },
  },
  {
    file: "weight_gradient",
    test: ["weight gradient: every tiling has the same bits", "bf16"],
    mistakes: {
      "wait off by one": ["wait_for_copies<kStages - 2>();", "wait_for_copies<kStages - 1>();"],
      "barrier removed": ["    __syncthreads();\n    request_step", "    request_step"],
      "the large tiling's warps misplaced": ["warp / T::kWarpsN * T::kTilesM * 16", "warp / T::kWarpsN * 32"],
      "edge of the weight dropped": ["if (out >= args.out || in >= args.in) return;", ""],
    },
  },
  {
    file: "weight_gradient",
    test: ["weight gradient: numerics", "cuda bf16"],
    mistakes: {
      "rows past the end read": ["row + line < rows && column", "column"],
      "swizzle dropped from one operand": ["x + swizzled<T::kPiecesX>(line, piece)", "x + line * T::kPiecesX + piece"],
      "operands of two tiles swapped": ["sum[i][j + 1], a[i], b[2], b[3]", "sum[i][j + 1], a[i], b[0], b[1]"],
      "a gradient that was there lost": ["to[0] += first;", "to[0] = first;"],
    },
  },
  {
    file: "weight_gradient",
    test: ["weight gradient: numerics", "cuda fp16"],
    mistakes: {
      "multiplied as bf16": [
        "multiply_add<Act>(sum[i][j], a[i], b[0], b[1])",
        "multiply_add<__nv_bfloat16>(sum[i][j], a[i], b[0], b[1])",
      ],
    },
  },
  {
    file: "weight_gradient_f32",
    test: ["weight gradient: numerics", "cuda fp32"],
    mistakes: {
      "second barrier removed": ["    }\n    __syncthreads();\n  }", "    }\n  }"],
      "a gradient that was there lost": ["+ c] += sum[i][j]", "+ c] = sum[i][j]"],
    },
  },
  {
    file: "lora_gradient",
    test: ["lora gradient: numerics", "cuda bf16"],
    mistakes: {
      "barrier removed": ["  __syncthreads();\n\n  const int column", "  const int column"],
      "the last run lost": ["run * kLoraRun < args.rows", "(run + 1) * kLoraRun < args.rows"],
      "rows without adapter turned": ["if (adapter >= 0) {", "{"],
      "R for its transpose": ["fmaf(r[j], args", "fmaf(r[(j - i) * args.rank + i], args"],
    },
  },
  {
    file: "lora_gradient",
    test: ["lora gradient: numerics", "cuda fp16"],
    mistakes: { "read as bf16": ["GRADIENT(f16, __half)", "GRADIENT(f16, __nv_bfloat16)"] },
  },
  {
    file: "gain_gradient",
    test: ["weight gradient: numerics", "cuda fp16"],
    mistakes: { "read as bf16": ["bias_gradient<__half>", "bias_gradient<__nv_bfloat16>"] },
  },
  {
    file: "rope_backward",
    test: ["parts: each is that of its sequences alone", "cuda bf16"],
    mistakes: {
      "barrier before s removed": ["  __syncthreads();\n  sum_rows", "  sum_rows"],
      "s of keys left out": ["  sum_rows<T, Tile>(task.of_k, args.dk);\n", ""],
    },
  },
  {
    file: "factor_terms",
    test: ["low rank: terms add up to the factor", "cuda bf16"],
    mistakes: {
      "barrier removed": ["  __syncthreads();\n", ""],
      "what is left not carried on": ["      left -= load(&rounded);\n", ""],
      "columns past the end read": ["i < args.k ? factor[i] * power : 0", "factor[i] * power"],
      "the power of another row": ["head[row] = 1 / power", "head[0] = 1 / power"],
    },
  },
  {
    file: "gain_gradient",
    test: ["gain gradient: numerics", "cuda fp32"],
    mistakes: {
      "barrier removed": ["  __syncthreads();\n  if (warp", "  if (warp"],
      "one warp's rows lost": ["i < kWarps; ++i) total", "i < kWarps - 1; ++i) total"],
    },
  },
  {
    file: "head_gain_gradient",
    test: ["attention backward: numerics", "cuda fp32"],
    mistakes: {
      "turned the wrong way": ["b * c - a * s", "b * c + a * s"],
      "the last run lost": ["run * kHeadGainRun < task.count", "(run + 1) * kHeadGainRun < task.count"],
    },
  },
  {
    file: "optimizer",
    test: ["optimisers: numerics", "cuda fp32"],
    mistakes: {
      "first moment not corrected": ["first / args.correction1", "first"],
      "the gradient not scaled": [
        "args.gradient[i] * args.scale;\n    args.buffer",
        "args.gradient[i];\n    args.buffer",
      ],
      "a warp's barrier removed": ["    }\n    __syncwarp();\n#pragma", "    }\n#pragma"],
    },
  },
  {
    file: "optimizer",
    test: ["sum of squares: in order", "cuda fp32"],
    mistakes: { "a block's barrier removed": ["sum += own[i];\n    __syncthreads();", "sum += own[i];"] },
  },
  {
    file: "optimizer",
    test: ["repack: as packed", "cuda bf16"],
    mistakes: { "rows of the wrong length": ["(row) * args.in;", "(row) * args.stride;"] },
  },
  {
    file: "optimizer",
    test: ["repack: as packed", "cuda fp16"],
    mistakes: { "packed as bf16": ["repack<__half>", "repack<__nv_bfloat16>"] },
  },
  {
    file: "product_sm90",
    header: "wgmma_tiles.cuh",
    test: ["linear: numerics", "cuda fp16"],
    mistakes: { "multiplied as bf16": ["multiply_add<typename T::Half, ", "multiply_add<__nv_bfloat16, "] },
  },
  {
    file: "product_sm90",
    test: ["linear: numerics", "cuda fp16"],
    mistakes: {
      "stored as bf16": ["finish_fragments<typename T::Half>", "finish_fragments<__nv_bfloat16>"],
    },
  },
  {
    file: "product_sm90",
    test: ["linear: numerics", "cuda bf16"],
    mistakes: {
      "factors not waited for": ["      wait_for_all_copies();\n", ""],
      "the barrier before the update removed": ["      meet_consumers<T>();  // the factors are there\n", ""],
      "factors of the first warp's rows for all": ["fragments, factors, row, 0)", "fragments, factors, 0, 0)"],
    },
  },
  {
    file: "product_sm90",
    test: ["cuda product: every tiling has the same bits", "sm_90a bf16"],
    mistakes: {
      "the barrier behind the update removed": ["      meet_consumers<T>();  // and may be overwritten\n", ""],
    },
  },
  {
    file: "product_sm90",
    header: "product_pair.cuh",
    test: ["linear: numerics", "cuda bf16"],
    mistakes: {
      "the word kept is the word traded": ["odd ? words[0] : words[1]", "odd ? words[1] : words[0]"],
      "both lanes of a pair at one fragment": ["column / 4 * 4 + (odd ? 8 : 0)", "column / 4 * 4"],
      "a bias of the first fragment for both": ["task.bias[column + 8], ", "task.bias[column], "],
    },
  },
  {
    file: "product_half",
    header: "product_update.cuh",
    test: ["linear: numerics", "cuda bf16"],
    mistakes: {
      "rows past the end read": ["i + threadIdx.x < real)", "true)"],
      "a row's right factors for all of the rank": ["right + r * T::kColumns);\n}", "right);\n}"],
    },
  },
  {
    file: "gram",
    test: ["gram: the reference's bits", "cuda fp32"],
    mistakes: {
      "a product fused into the sum": ["return __dadd_rn(sum, __dmul_rn(a, b));", "return fma(a, b, sum);"],
      "lanes added in another order": [
        "step = kGramLanes / 2; step > 0; step /= 2",
        "step = 1; step < kGramLanes; step *= 2",
      ],
      "wait off by one": ["wait_for_copies<kStages - 2>();", "wait_for_copies<kStages - 1>();"],
      "barrier of a row's stages removed": ["    __syncthreads();\n    request(step", "    request(step"],
      "barrier before the next y removed": ["    __syncthreads();  // the last y may still be read\n", ""],
      "rows of a group added one by one": [
        "__dadd_rn(sum[j][c], __dadd_rn(low, high))",
        "__dadd_rn(__dadd_rn(sum[j][c], low), high)",
      ],
      "the last piece lost": ["piece < args.pieces; ++piece", "piece < args.pieces - 1; ++piece"],
    },
  },
];
