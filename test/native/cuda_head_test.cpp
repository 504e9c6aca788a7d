// On sm_90 both tilings of the head's kernels give the same bits, whichever one the number of rows would choose, and do
// no more tensor work than their tiles hold.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "cuda/cuda_backend.h"
#include "cuda/head_sm90.h"
#include "head_case.h"
#include "suites.h"
#include "tensor_work.h"

namespace tinylora::test {
namespace {

/// What the kernels leave of all groups.
struct Passed {
  std::vector<float> stats;     // [rows, chunks, 4]
  std::vector<float> target_l;  // [rows]
  std::vector<float> dx;        // [rows, width]
  std::vector<float> sums;      // [rows, 3]
};

void expect_least_work(const char* kernel, std::int64_t least) {
  const auto work = tensor_work(kernel);
  expect(!work || *work == least, kernel, ": expected ", least, " mma, found ", work.value_or(0));
}

/// Rows of x a multiple of 8 apart, as TMA reads them.
std::vector<float> spread(const HeadCase& data, int stride) {
  std::vector<float> x(static_cast<std::size_t>(data.rows) * static_cast<std::size_t>(stride));
  for (int m = 0; m < data.rows; ++m) {
    std::copy_n(data.x.begin() + std::ptrdiff_t{m} * data.width, data.width, x.begin() + std::ptrdiff_t{m} * stride);
  }
  return x;
}

/// By one kernel each; the head op's way through the groups of the vocabulary.
Passed pass_by(CudaBackend& backend, const HeadCase& data, const cuda::Sm90Kernel& stats_kernel,
               const cuda::Sm90Kernel& product_kernel) {
  using namespace cuda;
  const int rows = data.rows, chunks = vocab_chunks(data.vocab);
  const auto weight = pack(backend, data);
  const auto& packed = dynamic_cast<const CudaWeight&>(*weight);
  const auto size = [](int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); };
  const int stride = round_up(data.width, 8);
  const ActBuffer x(backend, spread(data, stride)), exponentials(backend, size(rows, kGroupChunks * kVocabChunk));
  const Buffer<std::int32_t> target(backend, data.target);
  const Buffer<float> inv_temperature(backend, data.inv_temperature), target_l(backend, size(rows, 1));
  const Buffer<float> stats(backend, size(rows, 4 * chunks)), made(backend, size(rows, 3 * kGroupChunks));
  const Buffer<float> dx(backend, size(rows, data.width), NAN);
  const Buffer<float> before(backend, size(rows, 3)), after(backend, size(rows, 3));

  HeadStatsTask scan{};
  scan.product = {x.data(), packed.data(), rows, data.width, packed.stride, data.vocab};
  scan.inv_temperature = inv_temperature.data();
  scan.stats = reinterpret_cast<ChunkStats*>(stats.data());
  scan.chunks = chunks;
  scan.target = target.data();
  scan.target_l = target_l.data();
  scan.exponentials = exponentials.data();
  scan.stride = kGroupChunks * kVocabChunk;
  scan.made = reinterpret_cast<ExponentialSum*>(made.data());
  HeadProductTask product{};
  product.exponentials = exponentials.data();
  product.weight = packed.data();
  product.dx = dx.data();
  product.rows = rows;
  product.width = data.width;
  product.weight_stride = packed.stride;
  product.stride = scan.stride;
  product.made = scan.made;
  const auto whole = [](int count, int tile) { return std::int64_t{round_up(count, tile)}; };
  const auto work = [&](const Sm90Kernel& kernel, int columns, int k) {
    return whole(rows, kernel.rows * kernel.cluster) * whole(columns, kernel.columns) * whole(k, kSm90Depth) /
           (16 * 8 * 16);
  };
  for (int chunk = 0; chunk < chunks; chunk += kGroupChunks) {
    const int count = std::min(kGroupChunks, chunks - chunk);
    scan.first_chunk = chunk;
    scan.before = chunk > 0 ? reinterpret_cast<ExponentialSum*>(before.data()) : nullptr;
    tensor_work(stats_kernel.name);
    run_sm90_head_stats(backend.device(), stats_kernel, scan, {x.data(), stride}, count, backend.dtype());
    backend.synchronize();
    expect_least_work(stats_kernel.name, work(stats_kernel, count * kVocabChunk, data.width));
    product.before = reinterpret_cast<ExponentialSum*>(before.data());
    product.after = reinterpret_cast<ExponentialSum*>(after.data());
    product.first_token = chunk * kVocabChunk;
    product.tokens = std::min(count * kVocabChunk, data.vocab - product.first_token);
    run_sm90_head_product(backend.device(), product_kernel, product, backend.dtype());
    backend.synchronize();
    expect_least_work(product_kernel.name, work(product_kernel, data.width, count * kVocabChunk));
    const std::vector<float> handed_on = after.read();
    backend.upload(before.data(), handed_on.data(), handed_on.size() * sizeof(float));
  }
  return {stats.read(), target_l.read(), dx.read(), after.read()};
}

void same_bits(DType dtype, const HeadCase& data) {
  const auto backend = make_cuda_backend(dtype);
  std::optional<Passed> first;
  const auto stats = cuda::sm90_head_stats(dtype), products = cuda::sm90_head_products(dtype);
  for (std::size_t i = 0; i < stats.size(); ++i) {
    const Passed passed = pass_by(*backend, data, stats[i], products[i]);
    if (!first) first = passed;
    expect_same_bits("statistics", passed.stats, first->stats);
    expect_same_bits("l of targets", passed.target_l, first->target_l);
    expect_same_bits("dx", passed.dx, first->dx);
    expect_same_bits("sums", passed.sums, first->sums);
  }
}

/// Two groups of chunks and a part of a third, rows past a tile's, several tiles of dx, which has an odd width.
void tilings(DType dtype) { same_bits(dtype, make_head(161, 265, 8900)); }

/// Chunks whose logits are in other units than those before.
void tilings_with_jumps(DType dtype) {
  HeadCase data = make_head(140, 24, 4700, 0.25);
  for (int token = 3000; token < data.vocab; ++token) data.w[token * data.width] = token < 4300 ? 1.0F : -1.0F;
  for (int m = 0; m < data.rows; ++m) data.x[m * data.width] = m < 70 ? 0 : static_cast<float>(m % 9 * 20 - 80);
  same_bits(dtype, data);
}

/// The drawn chunk's logits are made by a ring of four stages of 64: here of a width that takes it round twice and
/// more.
void draws_of_wide_rows(DType dtype) {
  const auto backend = make_cuda_backend(dtype);
  HeadCase data = make_head(3, 600, 300);
  const auto weight = pack(*backend, data);
  std::vector<SampleRow> how;
  for (int m = 0; m < data.rows; ++m) {
    how.push_back({.temperature = 1 / data.inv_temperature[m], .seed = 5, .sequence = static_cast<std::uint64_t>(m)});
  }
  const Sampled drawn = head_sample(*backend, *weight, data, how);
  data.target = drawn.token;
  for (int m = 0; m < data.rows; ++m) data.inv_temperature[m] = 1 / how[m].temperature;
  const HeadResult scores = head(*backend, *weight, data, 0, data.rows);
  expect_same_bits("logp", drawn.logp, scores.logp);
  expect_same_bits("entropy", drawn.entropy, scores.entropy);
}

}  // namespace

void add_cuda_head_tests(Tests& tests) {
  const char* driver = std::getenv("TINYLORA_CUDA_DRIVER");
  if (driver == nullptr || *driver == '\0') return;
  if (!cuda::has_sm90_kernels(make_cuda_backend(DType::bf16)->device())) return;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const std::string on = std::string(" [sm_90a ") + name_of(dtype) + "]";
    tests.add("cuda head: both tilings have the same bits" + on, [=] { tilings(dtype); });
    tests.add("cuda head: both tilings have the same bits where logits jump" + on, [=] { tilings_with_jumps(dtype); });
    tests.add("cuda head: draws of wide rows have the scores of the head" + on, [=] { draws_of_wide_rows(dtype); });
  }
}

}  // namespace tinylora::test
