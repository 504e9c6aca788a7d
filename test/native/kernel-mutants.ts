/** Mistakes planted in kernels, and the native tests that each must fail on the stand-in. */

export type Mistake = readonly [from: string, to: string];

export interface KernelMutants {
  /** Of native/cuda/kernels. */
  readonly file: string;
  /** A header that the file includes, or one of its headers does, where the mistakes are in that. */
  readonly header?: string;
  /** What a native test's name must contain, all of it. */
  readonly test: readonly string[];
  /** Text of the file or header, which is there once, and what it becomes. */
  readonly mistakes: Readonly<Record<string, Mistake>>;
}

const SPLIT_MISTAKES: Readonly<Record<string, Mistake>> = {
  "spans that share all but a split": ["(split + 1) * kSplitPages, most", "split * kSplitPages, most"],
  "a split that nobody leads": ["if (place != split % spans)", "if (place != split)"],
};

const UPDATE_MISTAKES: Readonly<Record<string, Mistake>> = {
  "the last head's part lost": ["head < heads;", "head < heads - 1;"],
  "a row never finished": ["+ 1 == static_cast<unsigned>(heads)", "== static_cast<unsigned>(heads)"],
  "parts counted before they are there": ["  __threadfence();  // what the warp", "  // what the warp"],
  "parts read ahead of the count": ["  __threadfence();  // and the count", "  // and the count"],
  "the count not left at zero": ["  if (lane == 0) update.arrived[row] = 0;\n", ""],
};

export const KERNEL_MUTANTS: readonly KernelMutants[] = [
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
    file: "attention_decode",
    test: ["attention decode: many rows", "cuda bf16"],
    mistakes: { "barrier between splits removed": ["    __syncthreads();  // the ring may still be read\n", ""] },
  },
  {
    file: "attention_decode",
    header: "attention_splits.cuh",
    test: ["attention decode: many rows", "cuda bf16"],
    mistakes: SPLIT_MISTAKES,
  },
  {
    file: "attention_decode",
    header: "attention_update.cuh",
    test: ["attention decode: many rows", "cuda bf16"],
    mistakes: { ...UPDATE_MISTAKES, "another order than that of combine": ["chains[n % kChains]", "chains[0]"] },
  },
  {
    file: "attention",
    header: "attention_update.cuh",
    test: ["attention: numerics", "cuda bf16"],
    mistakes: {
      "A's columns of the first head for all": ["(tile + slot) % group", "0"],
      "heads past a warp's lanes left out": ["head += 32 >> log_width", "head += heads"],
      "barrier before the factors removed": ["    __syncthreads();  // what lies there is not read any more\n", ""],
      "barrier behind the factors removed": ["    __syncthreads();\n    if (first", "    if (first"],
      "factors not waited for": ["    wait_for_all_copies();\n", ""],
      "a query's factors from its neighbour's slot": ["+ g % 4, slots", "+ g / 4, slots"],
      "no slots behind the last head's": ["? group + 3 : end - tile", "? group : end - tile"],
      "rows without adapter turned": ["if (adapter >= 0 && lane < rank)", "if (lane < rank)"],
    },
  },
  {
    file: "attention_combine",
    header: "attention_update.cuh",
    test: ["attention decode: many rows", "cuda fp32"],
    mistakes: UPDATE_MISTAKES,
  },
  {
    file: "attention_simt",
    header: "attention_update.cuh",
    test: ["attention decode: many rows", "cuda fp32"],
    mistakes: UPDATE_MISTAKES,
  },
  {
    file: "attention_simt",
    header: "attention_splits.cuh",
    test: ["attention decode: many rows", "cuda fp32"],
    mistakes: SPLIT_MISTAKES,
  },
  {
    file: "attention_simt",
    header: "attention_simt.cuh",
    test: ["attention decode: many rows", "cuda fp32"],
    mistakes: {
      "barrier between pages removed": [
        "      __syncthreads();  // the values of the page before are not read any more\n",
        "",
      ],
      "barrier between keys and values removed": ["      __syncthreads();  // the keys are not read any more\n", ""],
      "keys behind the query seen": ["first_key + lane <= position[i] ? s[r] * scale : kMinusInfinity", "s[r] * scale"],
      "the second set's weights for the first's": [
        "p_of_warp + (set * kPageSize + key) * kSet",
        "p_of_warp + key * kSet",
      ],
      "m of another query": [
        "__shfl_sync(kWholeWarp, sums.largest, i)",
        "__shfl_sync(kWholeWarp, sums.largest, i ^ 1)",
      ],
    },
  },
  {
    file: "attention_simt",
    header: "attention_simt.cuh",
    test: ["attention: numerics", "cuda fp32"],
    mistakes: {
      "zeros behind D left out": ["piece * kPiece < dim", "true"],
      "the last element of D for those behind it": ["if (d < dim) store(row", "store(row"],
    },
  },
  {
    file: "attention_combine",
    test: ["attention decode: many rows", "cuda fp32"],
    mistakes: {
      "the last split lost": [
        "split * kSplitPages * kPageSize <= position",
        "(split + 1) * kSplitPages * kPageSize <= position",
      ],
    },
  },
  {
    file: "attention_backward",
    test: ["attention backward: numerics", "cuda fp32"],
    mistakes: {
      "queries of a slab kept for the next": ["if (number == 0 || tiles.slabs() > 1)", "if (number == 0)"],
      "keys of the last slab kept": ["load_page<T, false>(heads, page, seen, tiles);", ""],
      "barrier before the keys of a slab removed": [
        "__syncthreads();\n        load_page<T, false>",
        "load_page<T, false>",
      ],
      "barrier before the queries of a slab removed": [
        "tiles.choose(slab);\n          __syncthreads();\n          load_queries",
        "tiles.choose(slab);\n          load_queries",
      ],
      "the first slab of a page kept": ["load_slab_of_page(slab);", "load_slab_of_page(0);"],
    },
  },
  {
    file: "attention_backward",
    header: "gradient_slab.cuh",
    test: ["attention backward: numerics", "cuda bf16"],
    mistakes: {
      "columns past the end read": ["if (d >= columns) continue;", ""],
      "rows past the end read": ["row < 0 ? 0.0F : ", ""],
    },
  },
  {
    file: "attention_backward_half",
    test: ["attention backward: numerics", "cuda bf16"],
    mistakes: {
      "barrier between tiles removed": ["wait_for_copies<0>();\n      __syncthreads();", "wait_for_copies<0>();"],
      "barrier between spans removed": ["    __syncthreads();  // the stages may still be read\n", ""],
      "wait removed": ["      wait_for_copies<0>();\n", ""],
      "stages not changed": ["first += kQueryTile, stage ^= 1)", "first += kQueryTile)"],
      "sums read before all are there": ["  __syncthreads();\n  for (int i", "  for (int i"],
      "sums of keys over those of values": ["  }\n  __syncthreads();\n}", "  }\n}"],
      "half of the queries lost": ["part < kQueryHalves;", "part < kQueryHalves - 1;"],
      "wait for the rest of d_out removed": ["      wait_for_copies<1>();\n", ""],
      "barrier before the rest of d_out removed": [
        "wait_for_copies<1>();\n      __syncthreads();",
        "wait_for_copies<1>();",
      ],
      "rest of d_out for d_out": ["(p, d_out, rest, d_values)", "(p, rest, rest, d_values)"],
      "q and d_out swapped": ["(p, d_out, rest, d_values)", "(p, q, rest, d_values)"],
      "keys and values swapped": ["own.rest, values + first_row", "own.rest, keys + first_row"],
      "half of a page lost": ["half_page < 2;", "half_page < 1;"],
      "d_out not kept": ["*reinterpret_cast<std::uint32_t*>(rounded + column) = terms.rounded;", ""],
      "scale left out of dq": ["state.out[n][2 * half] * scale,", "state.out[n][2 * half],"],
    },
  },
  {
    file: "attention_backward_half",
    header: "attention_gradient.cuh",
    test: ["attention backward: numerics", "cuda bf16"],
    mistakes: {
      "what rounding leaves lost": ["rest = pack<Half>(low - pair.x, high - pair.y);", "rest = 0;"],
      "unseen keys in p": ["s = seen ? p : 0.0F;", "s = p;"],
      "unseen keys in ds": ["dp = seen ? p * (dp - delta) : 0.0F;", "dp = p * (dp - delta);"],
      "delta left out": ["p * (dp - delta)", "p * dp"],
    },
  },
  {
    file: "attention_backward_half",
    header: "query_stream.cuh",
    test: ["attention backward: numerics", "cuda bf16"],
    mistakes: {
      "queries past the end read": ["query < queries.count && chunk * 8 < dim;", "chunk * 8 < dim;"],
      "columns past the end read": ["query < queries.count && chunk * 8 < dim;", "query < queries.count;"],
    },
  },
  {
    file: "attention_backward_half",
    test: ["attention backward: numerics", "cuda fp16"],
    mistakes: { "multiplied as bf16": ["BACKWARD(f16, 64, __half)", "BACKWARD(f16, 64, __nv_bfloat16)"] },
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
    file: "rope",
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
    test: ["linear: numerics", "cuda fp16"],
    mistakes: {
      "multiplied as bf16": ["multiply_add<typename T::Half, ", "multiply_add<__nv_bfloat16, "],
      "stored as bf16": ["finish_fragments<typename T::Half>", "finish_fragments<__nv_bfloat16>"],
    },
  },
  {
    file: "product_sm90",
    test: ["linear: numerics", "cuda bf16"],
    mistakes: {
      "factors not waited for": ["      wait_for_all_copies();\n", ""],
      "the barrier before the update removed": ["      meet_consumers<T>();  // the factors are there\n", ""],
      "factors of the first warp's rows for all": ["ring.factors, row, 0)", "ring.factors, 0, 0)"],
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
