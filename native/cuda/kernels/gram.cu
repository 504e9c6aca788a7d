// z = W^T W x for four vectors, in the order of ops/gram_matrix.h: the bits of every other backend.
//
// gram_rows      y = W x. A block of 128 threads takes 32 rows; cp.async brings 64 columns of them and of x, three
//                stages ahead, into a ring of four. Eight neighbouring threads are the lanes of a row, a thread has two
//                rows, so that an x is read for both: 2 + 4 shared reads for 16 operations in double. Rows are 72
//                floats apart: the four rows of a warp lie in different banks.
// gram_columns   the partial sums of W^T y. A block takes 256 columns of one piece, a thread two neighbours for all
//                four vectors, 64 operations a group of rows; y of the piece lies in shared memory and is read as
//                broadcasts.
// gram_sum       the pieces in order, a thread a number.
//
// Bytes: W once by each of the first two (for once in all, a slab of it would have to stay in L2 between them); x again
// for every 32 rows, a quarter of W's bytes, which L2 serves; partial sums written and read, each a quarter of W's
// bytes up to 1,024 rows, 7 % at 3,584. Per element of W 8 bytes and 16 operations in double, none fused: 3.9 and 3.3
// ps at an A100's rates, 2.4 and 1.0 at an H100's. Limit: memory; where a GPU has few units for double, those.
#include "gram.h"
#include "mma.cuh"

using namespace tinylora;
using namespace tinylora::cuda;

namespace {

constexpr int kColumns = 64;  // a stage
constexpr int kPitch = kColumns + 8;
constexpr int kStages = 4;

__device__ double multiply_add(double a, double b, double sum) { return __dadd_rn(sum, __dmul_rn(a, b)); }

/// The lanes of a row come to one number, in each of them.
__device__ double lane_sum(double value) {
#pragma unroll
  for (int step = kGramLanes / 2; step > 0; step /= 2) {
    value = __dadd_rn(value, __shfl_xor_sync(0xffffffffU, value, step));
  }
  return value;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kGramRowsThreads) gram_rows(GramKernelArgs args) {
  __shared__ __align__(16) float w[kStages][kGramRowsTile][kPitch];
  __shared__ __align__(16) double x[kStages][kGramVectors][kColumns];
  const int thread = static_cast<int>(threadIdx.x), first_row = static_cast<int>(blockIdx.x) * kGramRowsTile;
  const int steps = (args.width + kColumns - 1) / kColumns;

  const auto request = [&](int step) {
    const int stage = step % kStages, first = step * kColumns;
    if (step < steps) {
      constexpr int kPieces = kColumns / 4;
#pragma unroll
      for (int i = thread; i < kGramRowsTile * kPieces; i += kGramRowsThreads) {
        const int line = i / kPieces, place = i % kPieces * 4;
        const bool valid = first_row + line < args.rows && first + place < args.width;
        const int64_t from = valid ? int64_t{first_row + line} * args.width + first + place : 0;
        copy_async(&w[stage][line][place], args.w + from, valid);
      }
      static_assert(kGramVectors * kColumns == 2 * kGramRowsThreads);
      const int j = thread / (kColumns / 2), place = thread % (kColumns / 2) * 2;
      const bool valid = first + place < args.width;
      copy_async(&x[stage][j][place], args.x + (valid ? j * args.width + first + place : 0), valid);
    }
    commit_copies();
  };

  const int lane = thread % kGramLanes, row = thread / 32 * 8 + thread % 32 / kGramLanes;  // and row + 4
  double sum[2][kGramVectors] = {};
  for (int step = 0; step < kStages - 1; ++step) request(step);
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    request(step + kStages - 1);
    const int stage = step % kStages;
    // Past the end both are zeros, and a sum that began with +0 takes no harm from adding one.
#pragma unroll
    for (int i = lane; i < kColumns; i += kGramLanes) {
      const double first = w[stage][row][i], second = w[stage][row + 4][i];
#pragma unroll
      for (int j = 0; j < kGramVectors; ++j) {
        const double value = x[stage][j][i];
        sum[0][j] = multiply_add(first, value, sum[0][j]);
        sum[1][j] = multiply_add(second, value, sum[1][j]);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    double mine = 0;
#pragma unroll
    for (int j = 0; j < kGramVectors; ++j) {
      const double total = lane_sum(sum[r][j]);
      if (lane == j) mine = total;
    }
    const int at = first_row + row + 4 * r;
    if (lane < kGramVectors && at < args.rows) args.y[int64_t{at} * kGramVectors + lane] = mine;
  }
}

extern "C" __global__ void __launch_bounds__(kGramColumnsThreads) gram_columns(GramKernelArgs args) {
  constexpr int kYRows = 128;
  __shared__ __align__(16) double y[kYRows][kGramVectors];
  const int thread = static_cast<int>(threadIdx.x), piece = static_cast<int>(blockIdx.y);
  const int column = static_cast<int>(blockIdx.x) * kGramColumnsTile + 2 * thread;
  const int first_row = piece * args.piece_rows, end = min(args.rows, first_row + args.piece_rows);

  double sum[kGramVectors][2] = {};
  for (int from = first_row; from < end; from += kYRows) {
    const int rows = min(kYRows, end - from);
    __syncthreads();  // the last y may still be read
    for (int i = thread; i < rows * kGramVectors / 2; i += kGramColumnsThreads) {
      reinterpret_cast<double2*>(y)[i] = reinterpret_cast<const double2*>(args.y + int64_t{from} * kGramVectors)[i];
    }
    __syncthreads();
    if (column >= args.width) continue;
    const float* w = args.w + int64_t{from} * args.width + column;
#pragma unroll 2
    for (int row = 0; row < rows; row += kGramRows, w += int64_t{kGramRows} * args.width) {
      double value[kGramRows][2];
#pragma unroll
      for (int r = 0; r < kGramRows; ++r) {
        const float2 pair = *reinterpret_cast<const float2*>(w + int64_t{r} * args.width);
        value[r][0] = pair.x, value[r][1] = pair.y;
      }
#pragma unroll
      for (int j = 0; j < kGramVectors; ++j) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const double low = multiply_add(value[1][c], y[row + 1][j], __dmul_rn(value[0][c], y[row][j]));
          const double high = multiply_add(value[3][c], y[row + 3][j], __dmul_rn(value[2][c], y[row + 2][j]));
          sum[j][c] = __dadd_rn(sum[j][c], __dadd_rn(low, high));
        }
      }
    }
  }
  if (column >= args.width) return;
#pragma unroll
  for (int j = 0; j < kGramVectors; ++j) {
    double* to = args.partial + (int64_t{piece} * kGramVectors + j) * args.width + column;
    *reinterpret_cast<double2*>(to) = make_double2(sum[j][0], sum[j][1]);
  }
}

extern "C" __global__ void __launch_bounds__(kGramSumThreads) gram_sum(GramKernelArgs args) {
  const int count = kGramVectors * args.width;
  const int i = static_cast<int>(blockIdx.x) * kGramSumThreads + static_cast<int>(threadIdx.x);
  if (i >= count) return;
  double sum = args.partial[i];
#pragma unroll 8
  for (int piece = 1; piece < args.pieces; ++piece) sum = __dadd_rn(sum, args.partial[int64_t{piece} * count + i]);
  args.z[i] = sum;
}
