/** Mistakes planted in the kernels of attention. */
import type { KernelMutants, Mistake } from "./kernel-mutants.js";

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

export const ATTENTION_MUTANTS: readonly KernelMutants[] = [
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
];
