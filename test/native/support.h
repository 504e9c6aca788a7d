// What the op tests share: the backends under test, memory on them, random numbers, comparisons.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "core/philox.h"
#include "cpu/features.h"
#include "ops/backend.h"

namespace tinylora::test {

/// A backend under test. The reference is one of them; the others are compared with it.
struct Candidate {
  std::string name;
  std::function<std::unique_ptr<Backend>(DType dtype, int threads)> make;
  std::vector<DType> dtypes = {DType::f32, DType::bf16};
};

/// The reference, then the cpu backend on every instruction set that this machine has, then on emulated AMX tiles,
/// then the cuda backend where TINYLORA_CUDA_DRIVER names a driver: the stand-in or a GPU's.
const std::vector<Candidate>& candidates();
/// The CPU's paths that this machine runs, and the one that stands in for AMX.
std::vector<CpuPath> tested_paths();

/// A test that is written once for all backends.
struct BackendTest {
  std::string name;
  std::function<void(const Candidate&, DType)> body;
};

/// All that add_for_each_backend has seen.
std::vector<BackendTest>& backend_tests();

/// Adds `name [candidate dtype]` for every candidate and each of the dtypes that it has; cuda runs it in two orders of
/// blocks (cuda_orders.h).
void add_for_each_backend(Tests& tests, const std::string& name,
                          const std::function<void(const Candidate&, DType)>& body,
                          const std::vector<DType>& dtypes = {DType::f32, DType::bf16, DType::f16});
/// For every candidate but cuda: what only others have a limit of, and what would take the stand-in minutes.
void add_for_all_but_cuda(Tests& tests, const std::string& name,
                          const std::function<void(const Candidate&, DType)>& body);

/// Adds `name [candidate bf16]` for the candidates that compute in AMX tiles: the machine's own, where it has them, and
/// emulated ones.
void add_for_tiles(Tests& tests, const std::string& name, const std::function<void(const Candidate&, DType)>& body);

/// Thread counts at which results must have the same bits.
inline const std::vector<int> kThreadCounts = {1, 2, 3, 5};
/// Those of a candidate: to cuda, which add_for_each_backend runs in two orders of blocks, threads are nothing.
std::vector<int> thread_counts(const Candidate& candidate);

/// Numbers that depend on the seed and the order of the calls alone.
class Random {
 public:
  explicit Random(std::uint64_t seed) : seed_(seed) {}
  double uniform();  // in (0, 1)
  float normal();
  int below(int limit);
  std::vector<float> normals(std::size_t count, double scale = 1);

 private:
  std::uint64_t seed_;
  std::uint32_t drawn_ = 0;
};

/// An array on a backend, followed by a guard that `read` checks: writing past the end fails the test.
template <typename T>
class Buffer {
 public:
  Buffer(Backend& backend, const std::vector<T>& values) : backend_(backend), count_(values.size()) {
    memory_ = backend.allocate((count_ + kGuard) * sizeof(T));
    if (count_ > 0) backend.upload(memory_.get(), values.data(), count_ * sizeof(T));
    const std::vector<unsigned char> guard(kGuard * sizeof(T), 0xa5);
    backend.upload(data() + count_, guard.data(), guard.size());
  }
  Buffer(Backend& backend, std::size_t count, T value = {}) : Buffer(backend, std::vector<T>(count, value)) {}

  T* data() const { return static_cast<T*>(memory_.get()); }
  std::vector<T> read() const {
    std::vector<unsigned char> bytes((count_ + kGuard) * sizeof(T));
    backend_.download(bytes.data(), memory_.get(), bytes.size());
    for (std::size_t i = count_ * sizeof(T); i < bytes.size(); ++i) expect(bytes[i] == 0xa5, "an output was overrun");
    std::vector<T> values(count_);
    std::copy_n(bytes.data(), count_ * sizeof(T), reinterpret_cast<unsigned char*>(values.data()));
    return values;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  Backend& backend_;
  std::size_t count_;
  std::shared_ptr<void> memory_;
};

/// An "act" array, seen from here as floats.
class ActBuffer {
 public:
  ActBuffer(Backend& backend, const std::vector<float>& values);
  ActBuffer(Backend& backend, std::size_t count, float value = 0)
      : ActBuffer(backend, std::vector<float>(count, value)) {}
  void* data() const { return floats_ ? static_cast<void*>(floats_->data()) : halves_->data(); }
  std::vector<float> read() const;

 private:
  DType dtype_;
  std::unique_ptr<Buffer<float>> floats_;
  std::unique_ptr<Buffer<std::uint16_t>> halves_;
};

std::unique_ptr<Weight> pack(Backend& backend, int out, int in, const std::vector<float>& values);

/// Rows first .. first + count - 1 of a row-major array.
template <typename T>
std::vector<T> rows_of(const std::vector<T>& values, int first, int count, int width) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first) * width;
  return {begin, begin + static_cast<std::ptrdiff_t>(count) * width};
}

/// |got - want| may be at most absolute + relative * |want|.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
};

/// One rounding of a result to `dtype` that may fall to the other side: one unit in the last place, 2^-7, 2^-10 or
/// 2^-23 of the value, and as much again for float because the value itself was computed in a few roundings.
Tolerance rounding(DType dtype);
/// A float sum of `terms` products of random sign that comes to about `scale`: each addition rounds a partial sum of at
/// most about that size by 2^-25 of it on average; the errors walk at random, so sqrt(terms); 8 of these deviations.
Tolerance summing(DType dtype, int terms, double scale);

/// FNV-1a of the bits of floats.
class BitHash {
 public:
  void add(const std::vector<float>& values);
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

void expect_near(const std::string& what, const std::vector<float>& got, const std::vector<float>& want, Tolerance);
void expect_same_bits(const std::string& what, const std::vector<float>& got, const std::vector<float>& want);

/// Compares gradient[i] with the central difference of `loss` over x[i], for at most `samples` entries of x spread
/// evenly. `loss` is a float computation seen in double: with step 2^-6 its rounding and the third derivative both stay
/// below `tolerance` of the gradient's root mean square.
void expect_gradient(const std::string& what, const std::vector<float>& x, const std::vector<float>& gradient,
                     const std::function<double(const std::vector<float>& x)>& loss, double tolerance = 5e-4,
                     int samples = 40);

/// sum of weights * values: the scalar whose gradient is tested.
double weighted_sum(const std::vector<float>& weights, const std::vector<float>& values);

}  // namespace tinylora::test
