// z of the CUDA backend: the terms that tensor cores read factors by, and the same bits of a row alone and among many.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/low_rank.h"
#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// Rows of very different sizes, one of them zeros; within a row numbers down to 2^-14 of the largest.
std::vector<float> factor_of(int rank, int width) {
  Random random(7);
  std::vector<float> factor;
  for (int row = 0; row < rank; ++row) {
    const float size = row == 1 ? 0 : std::ldexp(1.0F, 40 * (row - 2));
    for (int i = 0; i < width; ++i) {
      factor.push_back(size * std::ldexp(1 + static_cast<float>(random.uniform()), -random.below(14)));
    }
  }
  return factor;
}

/// Terms times what the head says add up to the factor, bit for bit; past its end they are zeros.
void terms(DType dtype) {
  const auto backend = make_cuda_backend(dtype);
  const auto of_half = [=](std::uint16_t bits) {
    return dtype == DType::bf16 ? to_float(Bf16{bits}) : to_float(F16{bits});
  };
  const int rank = 4;
  for (const int width : {1, 16, 40, 701}) {
    const std::vector<float> factor = factor_of(rank, width);
    const Buffer<float> values(*backend, factor);
    const std::size_t bytes = backend->prepared_bytes(rank, width);
    const Buffer<std::uint16_t> prepared(*backend, bytes / 2, 0x7fff);
    backend->prepare_factor(values.data(), rank, width, prepared.data());
    const std::vector<std::uint16_t> halves = prepared.read();
    float power[rank];
    std::memcpy(power, halves.data(), sizeof power);
    std::size_t at = cuda::kFactorTermsHead / 2;
    for (int row = 0; row < rank; ++row) {
      for (int unit = 0; unit < width; unit += cuda::kUnit, at += cuda::kTerms * cuda::kUnit) {
        for (int i = 0; i < cuda::kUnit; ++i) {
          double sum = 0;
          for (int term = 0; term < cuda::kTerms; ++term) {
            const auto place = at + static_cast<std::size_t>(term * cuda::kUnit + i);
            sum += static_cast<double>(of_half(halves[place]));
          }
          const double want = unit + i < width ? factor[static_cast<std::size_t>(row * width + unit + i)] : 0;
          const double got = sum * static_cast<double>(power[row]);
          expect(got == want, "row ", row, ", column ", unit + i, ": expected ", want, ", found ", got);
        }
      }
    }
    expect(at == halves.size(), "expected ", at, " halves, found ", halves.size());
  }
}

/// Some rows of products of one x by their update alone, z of all products one behind the other, rows ascending.
std::vector<float> z_of(CudaBackend& backend, const std::vector<LinearCase>& cases, int first, int rows,
                        bool prepared) {
  const LinearCase& any = cases.front();
  const ActBuffer x(backend, rows_of(any.x, first, rows, any.shape.in));
  std::vector<std::unique_ptr<Weight>> weights;
  std::vector<std::unique_ptr<Buffer<float>>> memory;
  std::vector<std::shared_ptr<void>> terms;
  std::vector<LinearArgs> products;
  std::vector<const Buffer<float>*> z;
  const Buffer<std::int32_t> adapter(backend, rows_of(any.adapter, first, rows, 1));
  const auto buffer = [&](const std::vector<float>& values) {
    memory.push_back(std::make_unique<Buffer<float>>(backend, values));
    return memory.back()->data();
  };
  for (const LinearCase& data : cases) {
    const LinearShape& shape = data.shape;
    weights.push_back(pack(backend, data));
    LoraArgs lora{.rank = shape.rank,
                  .a = buffer(data.a),
                  .b = buffer(data.b),
                  .r = buffer(data.r),
                  .adapter = adapter.data(),
                  .adapters = shape.adapters};
    if (prepared) {
      terms.push_back(backend.allocate(backend.prepared_bytes(shape.rank, shape.in)));
      backend.prepare_factor(lora.a, shape.rank, shape.in, terms.back().get());
      lora.a_prepared = terms.back().get();
    }
    float* y = buffer(std::vector<float>(static_cast<std::size_t>(rows * shape.out)));
    float* own = buffer(std::vector<float>(static_cast<std::size_t>(rows * shape.rank)));
    z.push_back(memory.back().get());
    products.push_back(
        {.rows = rows, .x = x.data(), .weight = weights.back().get(), .lora = lora, .z = own, .y = y, .y_float = true});
  }
  backend.linear(products);
  std::vector<float> all;
  for (const Buffer<float>* one : z) {
    const std::vector<float> values = one->read();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

/// Rows in tall tiles, flat ones and alone, with factors prepared and not, products together and alone.
void same_z(DType dtype) {
  const auto backend = make_cuda_backend(dtype);
  const int rows = 513;
  for (const int in : {40, 336, 1104, 21}) {
    std::vector<LinearCase> cases;
    for (const int rank : {2, 16, 1, 7}) cases.push_back(make_linear({.rows = rows, .in = in, .out = 8, .rank = rank}));
    for (LinearCase& data : cases) {
      data.x = cases.front().x;
      data.adapter = cases.front().adapter;
    }
    std::vector<std::vector<float>> together;  // of each product
    const std::vector<float> all = z_of(*backend, cases, 0, rows, true);
    std::size_t from = 0;
    for (const LinearCase& data : cases) {
      const auto count = static_cast<std::size_t>(rows * data.shape.rank);
      together.push_back(
          {all.begin() + static_cast<std::ptrdiff_t>(from), all.begin() + static_cast<std::ptrdiff_t>(from + count)});
      from += count;
    }
    expect_same_bits("not prepared", z_of(*backend, cases, 0, rows, false), all);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const std::string name = std::to_string(in) + " columns, rank " + std::to_string(cases[i].shape.rank);
      expect_same_bits(name + ", alone", z_of(*backend, {cases[i]}, 0, rows, true), together[i]);
      for (const auto& [first, count] : {std::pair{0, 1}, {512, 1}, {300, 19}}) {
        expect_same_bits(name + ", " + std::to_string(count) + " rows from " + std::to_string(first),
                         z_of(*backend, {cases[i]}, first, count, true),
                         rows_of(together[i], first, count, cases[i].shape.rank));
      }
    }
  }
}

}  // namespace

void add_cuda_low_rank_tests(Tests& tests) {
  const char* driver = std::getenv("TINYLORA_CUDA_DRIVER");
  if (driver == nullptr || *driver == '\0') return;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const std::string kind = dtype == DType::bf16 ? " [cuda bf16]" : " [cuda fp16]";
    tests.add("low rank: terms add up to the factor" + kind, [=] { terms(dtype); });
    tests.add("low rank: a row's z, alone and among many" + kind, [=] { same_z(dtype); });
  }
}

}  // namespace tinylora::test
