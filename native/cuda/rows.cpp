// embed, gather_rows, copy_rows, scatter_add_rows, cast.
#include "cuda/kernels/rows.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/row_kernel.h"

namespace tinylora {

using cuda::ceil_div;
using cuda::launch;

namespace {

constexpr int kBlock = 256;
static_assert(cuda::kCopiedArrays == kMostCopied);
constexpr cuda::RowKernel kCastRows{
    "rows", "cast_rows_f32", {"cast_rows_bf16", "cast_rows_tall_bf16"}, {"cast_rows_f16", "cast_rows_tall_f16"}};

}  // namespace

void CudaBackend::embed(const EmbedArgs& args) {
  const cuda::CudaWeight& table = packed(args.table, "embed");
  const cuda::EmbedKernelArgs kernel{args.tokens, table.data(), args.x, table.in, table.stride, table.out};
  launch(*device_, "rows", pick("embed_bf16", "embed_f16", "embed_f32"),
         {.grid = {static_cast<unsigned>(args.rows)}, .block = kBlock}, kernel);
}

void CudaBackend::gather_rows(const GatherRowsArgs& args) {
  const cuda::GatherKernelArgs kernel{args.rows, args.x, args.y, args.count, args.width};
  launch(*device_, "rows", "gather_rows", {.grid = {static_cast<unsigned>(args.count)}, .block = kBlock}, kernel);
}

void CudaBackend::copy_rows(const CopyRowsArgs& args) {
  check(args.arrays.size() <= kMostCopied, "ERR_ARGUMENT", "cuda: copy_rows: expected at most ", kMostCopied,
        " arrays, found ", args.arrays.size());
  cuda::CopyRowsKernelArgs kernel{args.from_rows, args.to_rows, {}};
  for (std::size_t i = 0; i < args.arrays.size(); ++i) {
    const CopyRowsArgs::Array& array = args.arrays[i];
    kernel.arrays[i] = {array.from, array.to, static_cast<int64_t>(array.bytes),
                        static_cast<int64_t>(array.from_stride), static_cast<int64_t>(array.to_stride)};
  }
  launch(*device_, "rows", "copy_rows",
         {.grid = {static_cast<unsigned>(args.count), static_cast<unsigned>(args.arrays.size())}, .block = 128},
         kernel);
}

void CudaBackend::scatter_add_rows(const ScatterAddRowsArgs& args) {
  if (args.count == 0) return;
  constexpr int kColumns = 64;  // few a block: the widths of models give a block to most multiprocessors
  const cuda::GatherKernelArgs kernel{args.rows, args.x, args.y, args.count, args.width};
  launch(*device_, "rows", "scatter_add_rows", {.grid = {ceil_div(args.width, kColumns)}, .block = kColumns}, kernel);
}

void CudaBackend::cast(const CastArgs& args) {
  if (args.reader != nullptr) return cast_rows(args, *args.reader);
  const cuda::CastKernelArgs kernel{args.x, args.y, args.count};
  const auto blocks = std::min<std::int64_t>((args.count + kBlock - 1) / kBlock, 32 * device_->multiprocessors());
  launch(*device_, "rows", pick("cast_bf16", "cast_f16", "cast_f32"),
         {.grid = {static_cast<unsigned>(blocks)}, .block = kBlock}, kernel);
}

void CudaBackend::cast_rows(const CastArgs& args, LinearBackwardArgs& reader) {
  const int rows = reader.rows, width = reader.weight->out;
  check(args.count == std::int64_t{rows} * width, "ERR_ARGUMENT", "cuda: cast: expected the ", rows, " x ", width,
        " numbers that its reader has, found ", args.count);
  const RowsOf y{args.y, rows, width};
  const std::span readers(&reader, 1);
  const auto low_rank = low_rank_of("cast", std::span(&y, 1), readers, prepared_, cuda::all_aligned(args.x));
  cuda::launch_rows(*device_, kCastRows, dtype_, rows, cuda::CastRowsKernelArgs{args.x, args.y, low_rank[0]});
  add_rank_gradients(readers);
}

}  // namespace tinylora
