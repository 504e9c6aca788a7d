// embed             x[m] = table[token[m]]
// gather_rows       y[i] = x[rows[i]]
// copy_rows         to[to_rows[i]] = from[from_rows[i]] in each of several arrays
// scatter_add_rows  y[rows[i]] += x[i], i ascending
// cast              y = x rounded to act
// cast_rows         the same, and s of the product that reads y (low_rank.cuh): a tile of rows a block
//
// Copies: one thread an element and step, a block a row (embed, gather; copy_rows: a row of an array, 16 bytes a thread
// and step where its width allows) or a column of blocks over all rows (scatter:
// repeated rows are added by the thread that owns the column, one after the other, so no order is left to chance).
// Bytes moved are those of the arguments; limit: memory.
#include "low_rank.cuh"
#include "rows.h"

using namespace tinylora::cuda;

namespace {

/// A token outside the vocabulary (the host checks; this is the last fence) reads row 0.
template <typename Act>
__device__ void embed(const EmbedKernelArgs& args) {
  const int token = args.tokens[blockIdx.x];
  const int64_t row = token >= 0 && token < args.vocabulary ? token : 0;
  const Act* from = static_cast<const Act*>(args.table) + row * args.stride;
  float* to = args.x + int64_t{blockIdx.x} * args.width;
  for (int i = threadIdx.x; i < args.width; i += blockDim.x) to[i] = load(from + i);
}

template <typename Word>
__device__ void copy(const void* from, void* to, int64_t bytes) {
  const int64_t words = bytes / int64_t{sizeof(Word)};
  for (int64_t i = threadIdx.x; i < words; i += blockDim.x) {
    static_cast<Word*>(to)[i] = static_cast<const Word*>(from)[i];
  }
}

template <typename Act>
__device__ void cast(const CastKernelArgs& args) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < args.count; i += step) {
    store(static_cast<Act*>(args.y) + i, args.x[i]);
  }
}

template <typename Act, class Tile>
__device__ void cast_rows(const CastRowsKernelArgs& args) {
  const LowRankArgs& low_rank = args.low_rank;
  low_rank_rows<Act, Tile, 1, 1>(low_rank,
                                 [&](const auto& groups, const Place& place, bool first, Words<Act>(&words)[1]) {
                                   Act* y = static_cast<Act*>(args.y) + place.at;
                                   if (first) {
                                     float values[kGroup];
                                     groups.load_fixed(args.x + place.at, place.column, values);
                                     words[0] = groups.store(place.real, y, place.column, values);
                                   } else {
                                     words[0] = groups.load_words(y, place.column);
                                   }
                                 });
}

}  // namespace

extern "C" __global__ void embed_bf16(EmbedKernelArgs args) { embed<__nv_bfloat16>(args); }
extern "C" __global__ void embed_f16(EmbedKernelArgs args) { embed<__half>(args); }
extern "C" __global__ void embed_f32(EmbedKernelArgs args) { embed<float>(args); }

extern "C" __global__ void gather_rows(GatherKernelArgs args) {
  const float* from = args.x + int64_t{args.rows[blockIdx.x]} * args.width;
  float* to = args.y + int64_t{blockIdx.x} * args.width;
  for (int i = threadIdx.x; i < args.width; i += blockDim.x) to[i] = from[i];
}

extern "C" __global__ void copy_rows(const __grid_constant__ CopyRowsKernelArgs args) {
  const CopyRowsKernelArgs::Array& array = args.arrays[blockIdx.y];
  const int64_t bytes = array.bytes;
  const int64_t from_row = args.from_rows ? args.from_rows[blockIdx.x] : blockIdx.x;
  const int64_t to_row = args.to_rows ? args.to_rows[blockIdx.x] : blockIdx.x;
  const void* from = static_cast<const char*>(array.from) + from_row * array.from_stride;
  void* to = static_cast<char*>(array.to) + to_row * array.to_stride;
  // The arrays begin at multiples of 64 bytes.
  const int64_t sizes = bytes | array.from_stride | array.to_stride;
  if (sizes % 16 == 0) {
    copy<uint4>(from, to, bytes);
  } else if (sizes % 4 == 0) {
    copy<uint32_t>(from, to, bytes);
  } else {
    copy<uint16_t>(from, to, bytes);
  }
}

extern "C" __global__ void scatter_add_rows(GatherKernelArgs args) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= args.width) return;
  for (int i = 0; i < args.count; ++i) {
    args.y[int64_t{args.rows[i]} * args.width + column] += args.x[int64_t{i} * args.width + column];
  }
}

extern "C" __global__ void cast_bf16(CastKernelArgs args) { cast<__nv_bfloat16>(args); }
extern "C" __global__ void cast_f16(CastKernelArgs args) { cast<__half>(args); }
extern "C" __global__ void cast_f32(CastKernelArgs args) { cast<float>(args); }

extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) cast_rows_bf16(CastRowsKernelArgs args) {
  cast_rows<__nv_bfloat16, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) cast_rows_f16(CastRowsKernelArgs args) {
  cast_rows<__half, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) cast_rows_f32(CastRowsKernelArgs args) {
  cast_rows<float, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 3) cast_rows_tall_bf16(CastRowsKernelArgs args) {
  cast_rows<__nv_bfloat16, Tall>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 3) cast_rows_tall_f16(CastRowsKernelArgs args) {
  cast_rows<__half, Tall>(args);
}
