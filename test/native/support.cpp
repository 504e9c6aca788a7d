#include "support.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numbers>
#include <tuple>

#include "cpu/cpu_backend.h"
#include "cuda_orders.h"

namespace tinylora::test {

std::vector<CpuPath> tested_paths() {
  std::vector<CpuPath> paths = usable_paths();
#if defined(__x86_64__)
  paths.push_back(CpuPath::amx_emulated);
#endif
  return paths;
}

const std::vector<Candidate>& candidates() {
  static const std::vector<Candidate> list = [] {
    const std::vector<DType> all = {DType::f32, DType::bf16, DType::f16};
    std::vector<Candidate> found = {{"reference", [](DType dtype, int) { return make_reference_backend(dtype); }, all}};
    for (const CpuPath path : tested_paths()) {
      found.push_back(
          {name_of(path), [path](DType dtype, int threads) { return make_cpu_backend(dtype, threads, path); }});
    }
    const char* driver = std::getenv("TINYLORA_CUDA_DRIVER");
    if (driver != nullptr && *driver != '\0') {
      found.push_back({"cuda", [](DType dtype, int) { return make_hashed_cuda_backend(dtype); }, all});
    }
    return found;
  }();
  return list;
}

std::vector<BackendTest>& backend_tests() {
  static std::vector<BackendTest> list;
  return list;
}

namespace {

bool has(const Candidate& candidate, DType dtype) {
  return std::find(candidate.dtypes.begin(), candidate.dtypes.end(), dtype) != candidate.dtypes.end();
}

}  // namespace

void add_for_each_backend(Tests& tests, const std::string& name,
                          const std::function<void(const Candidate&, DType)>& body, const std::vector<DType>& dtypes) {
  backend_tests().push_back({name, body});
  for (const Candidate& candidate : candidates()) {
    for (const DType dtype : dtypes) {
      if (!has(candidate, dtype)) continue;
      const auto once = [=] { body(candidate, dtype); };
      const bool cuda = candidate.name == "cuda";
      tests.add(name + " [" + candidate.name + " " + name_of(dtype) + "]",
                [=] { cuda ? in_two_orders(once) : once(); });
    }
  }
}

void add_for_all_but_cuda(Tests& tests, const std::string& name,
                          const std::function<void(const Candidate&, DType)>& body) {
  for (const Candidate& candidate : candidates()) {
    if (candidate.name == "cuda") continue;
    for (const DType dtype : candidate.dtypes) {
      tests.add(name + " [" + candidate.name + " " + name_of(dtype) + "]", [=] { body(candidate, dtype); });
    }
  }
}

void add_for_tiles(Tests& tests, const std::string& name, const std::function<void(const Candidate&, DType)>& body) {
  for (const Candidate& candidate : candidates()) {
    if (!candidate.name.starts_with("amx")) continue;
    tests.add(name + " [" + candidate.name + " bf16]", [=] { body(candidate, DType::bf16); });
  }
}

std::vector<int> thread_counts(const Candidate& candidate) {
  return candidate.name == "cuda" ? std::vector{1} : kThreadCounts;
}

double Random::uniform() {
  const PhiloxBlock block = philox(seed_, {drawn_++, 0, 0, 0});
  return philox_uniform(block[0], block[1]);
}

float Random::normal() {
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return static_cast<float>(radius * std::cos(2 * std::numbers::pi * uniform()));
}

int Random::below(int limit) { return static_cast<int>(uniform() * limit); }

/// Tests ask for the same numbers with every backend, type and order of blocks: they are drawn once.
std::vector<float> Random::normals(std::size_t count, double scale) {
  static std::map<std::tuple<std::uint64_t, std::uint32_t, std::size_t, double>, std::vector<float>> drawn;
  const auto [known, isNew] = drawn.try_emplace({seed_, drawn_, count, scale});
  if (isNew) {
    for (std::size_t i = 0; i < count; ++i) known->second.push_back(static_cast<float>(scale * double{normal()}));
  } else {
    drawn_ += static_cast<std::uint32_t>(2 * count);
  }
  return known->second;
}

ActBuffer::ActBuffer(Backend& backend, const std::vector<float>& values) : dtype_(backend.dtype()) {
  if (dtype_ == DType::f32) {
    floats_ = std::make_unique<Buffer<float>>(backend, values);
  } else {
    std::vector<std::uint16_t> halves;
    for (const float value : values) {
      halves.push_back(dtype_ == DType::bf16 ? to_bf16(value).bits : to_f16(value).bits);
    }
    halves_ = std::make_unique<Buffer<std::uint16_t>>(backend, halves);
  }
}

std::vector<float> ActBuffer::read() const {
  if (floats_) return floats_->read();
  std::vector<float> values;
  for (const std::uint16_t bits : halves_->read()) {
    values.push_back(dtype_ == DType::bf16 ? to_float(Bf16{bits}) : to_float(F16{bits}));
  }
  return values;
}

std::unique_ptr<Weight> pack(Backend& backend, int out, int in, const std::vector<float>& values) {
  return backend.pack(out, in,
                      [&](int row, float* into) { std::copy_n(values.data() + std::ptrdiff_t{row} * in, in, into); });
}

Tolerance rounding(DType dtype) {
  if (dtype == DType::f32) return {0x1.0p-100, 0x1.0p-21};
  if (dtype == DType::bf16) return {0x1.0p-100, 0x1.0p-7 + 0x1.0p-20};
  return {0x1.0p-24, 0x1.0p-10 + 0x1.0p-20};  // below 2^-14 fp16 has steps of 2^-24
}

Tolerance summing(DType dtype, int terms, double scale) {
  const double sum = 8 * 0x1.0p-25 * std::sqrt(static_cast<double>(terms)) * scale;
  return {sum + rounding(dtype).absolute, rounding(dtype).relative};
}

void BitHash::add(const std::vector<float>& values) {
  for (const float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) value_ = (value_ ^ (bits >> shift & 255U)) * 0x100000001b3;
  }
}

void expect_near(const std::string& what, const std::vector<float>& got, const std::vector<float>& want,
                 Tolerance tolerance) {
  expect(got.size() == want.size(), what, ": expected ", want.size(), " values, found ", got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double allowed = tolerance.absolute + tolerance.relative * std::abs(double{want[i]});
    const double share = got[i] == want[i] ? 0 : std::abs(double{got[i]} - double{want[i]}) / allowed;
    expect(share <= 1, what, "[", i, "]: expected ", want[i], " +- ", allowed, ", found ", got[i]);
    share_used() = std::max(share_used(), share);
  }
}

void expect_same_bits(const std::string& what, const std::vector<float>& got, const std::vector<float>& want) {
  expect(got.size() == want.size(), what, ": expected ", want.size(), " values, found ", got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const bool same = std::bit_cast<std::uint32_t>(got[i]) == std::bit_cast<std::uint32_t>(want[i]);
    expect(same, what, "[", i, "]: expected the bits of ", std::hexfloat, want[i], ", found ", got[i]);
  }
}

void expect_gradient(const std::string& what, const std::vector<float>& x, const std::vector<float>& gradient,
                     const std::function<double(const std::vector<float>& x)>& loss, double tolerance, int samples) {
  expect(gradient.size() == x.size(), what, ": expected ", x.size(), " values, found ", gradient.size());
  double squares = 0;
  for (const float g : gradient) squares += double{g} * double{g};
  const double size = std::sqrt(squares / static_cast<double>(gradient.size()));
  expect(size > 0 && std::isfinite(size), what, ": the gradient is zero or not finite");

  const std::size_t stride = x.size() / static_cast<std::size_t>(samples) + 1;
  for (std::size_t i = 0; i < x.size(); i += stride) {
    std::vector<float> moved = x;
    moved[i] = x[i] + 0x1.0p-6F;
    const double up = loss(moved), above = moved[i];
    moved[i] = x[i] - 0x1.0p-6F;
    const double down = loss(moved), below = moved[i];
    const double difference = (up - down) / (above - below);
    const double share = std::abs(difference - double{gradient[i]}) / (tolerance * (size + std::abs(difference)));
    expect(share <= 1, what, "[", i, "]: the central difference is ", difference, ", the gradient ", gradient[i]);
    share_used() = std::max(share_used(), share);
  }
}

double weighted_sum(const std::vector<float>& weights, const std::vector<float>& values) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += double{weights[i]} * double{values[i]};
  return sum;
}

}  // namespace tinylora::test
