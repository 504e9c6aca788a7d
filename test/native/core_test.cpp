// Philox, bf16 rounding, threads and their pool.
#include <pthread.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "core/error.h"
#include "core/thread.h"
#include "core/thread_pool.h"
#include "engine_case.h"
#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

/// The known answers that come with Random123 (kat_vectors, philox4x32-10).
void philox_known_answers() {
  const auto known = [](std::uint64_t key, PhiloxBlock counter, PhiloxBlock want) {
    expect(philox(key, counter) == want, "philox of key ", key, " differs from the published answer");
  };
  known(0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  known(~0ULL, {~0U, ~0U, ~0U, ~0U}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  known(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
        {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

void uniform_is_inside_the_open_interval() {
  expect(philox_uniform(0, 0) > 0, "the smallest uniform is 0");
  expect(philox_uniform(~0U, ~0U) < 1, "the largest uniform is 1");
  expect(sampling_uniform(1, 2, 3) != sampling_uniform(1, 2, 4), "the position has no part in the draw");
  expect(sampling_uniform(1, 2, 3) != sampling_uniform(1, 3, 3), "the sequence has no part in the draw");
  expect(sampling_uniform(1, 2, 3) != sampling_uniform(1, 2 + (1ULL << 32), 3), "half the sequence has no part");
  expect(sampling_uniform(1, 2, 3) != sampling_uniform(2, 2, 3), "the seed has no part in the draw");
}

/// Every finite bf16 and the floats around the middle to its upper neighbour.
std::vector<float> around_bf16_values() {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7f80) == 0x7f80) continue;
    for (const std::uint32_t low : {0x0000U, 0x0001U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      values.push_back(std::bit_cast<float>((bits << 16) | low));
    }
  }
  return values;
}

/// The nearest bf16 by comparing distances; ties go to the even one.
float nearest_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t below = bits & 0xffff0000U, above = below + 0x10000U;
  const std::uint32_t low = bits & 0xffffU;
  const bool up = low > 0x8000U || (low == 0x8000U && (below & 0x10000U) != 0);
  return std::bit_cast<float>(up ? above : below);
}

void bf16_rounds_to_nearest_even() {
  for (const float value : around_bf16_values()) {
    expect_same_bits("to_bf16", {to_float(to_bf16(value))}, {nearest_bf16(value)});
  }
  const float infinity = std::numeric_limits<float>::infinity();
  expect_same_bits("to_bf16", {to_float(to_bf16(infinity)), to_float(to_bf16(-infinity))}, {infinity, -infinity});
  for (const std::uint32_t bits : {0x7f800001U, 0x7fc00000U, 0x7fffffffU, 0xff800001U, 0xffffffffU}) {
    expect(std::isnan(to_float(to_bf16(std::bit_cast<float>(bits)))), "a NaN was rounded to a number");
  }
}

/// A finite fp16 by its definition: sign, 5 bits of exponent, 10 of mantissa; exponent 0 has no leading one.
float f16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((bits & 0x8000) != 0 ? -magnitude : magnitude);
}

constexpr std::uint16_t kLargestF16 = 0x7bff;

/// Every finite fp16, the middle to the next larger magnitude, and the floats beside that middle.
std::vector<float> around_f16_values() {
  std::vector<float> values;
  for (const std::uint16_t sign : {0x0000, 0x8000}) {
    for (std::uint16_t bits = 0; bits < kLargestF16; ++bits) {
      const float low = f16_value(bits | sign), high = f16_value((bits + 1) | sign);
      const float middle = low + (high - low) / 2;
      values.insert(values.end(), {low, middle, std::nextafter(middle, low), std::nextafter(middle, high)});
    }
  }
  return values;
}

void f16_rounds_to_nearest_even() {
  for (const std::uint16_t sign : {0x0000, 0x8000}) {
    for (std::uint16_t bits = 0; bits < kLargestF16; ++bits) {
      const auto low_bits = static_cast<std::uint16_t>(bits | sign),
                 high_bits = static_cast<std::uint16_t>(low_bits + 1);
      const float low = f16_value(low_bits), high = f16_value(high_bits), middle = low + (high - low) / 2;
      expect_same_bits("to_float", {to_float(F16{low_bits})}, {low});
      const auto expect_bits = [&](float value, std::uint16_t want) {
        expect(to_f16(value).bits == want, "to_f16(", value, "): expected ", want, ", found ", to_f16(value).bits);
      };
      expect_bits(low, low_bits);
      expect_bits(std::nextafter(middle, low), low_bits);
      expect_bits(middle, bits % 2 == 0 ? low_bits : high_bits);
      expect_bits(std::nextafter(middle, high), high_bits);
    }
  }
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float value : {65520.0F, 1e30F, infinity}) {
    expect_same_bits("to_f16", {to_float(to_f16(value)), to_float(to_f16(-value))}, {infinity, -infinity});
  }
  expect_same_bits("to_f16", {to_float(to_f16(std::nextafter(65520.0F, 0.0F)))}, {f16_value(kLargestF16)});
  for (const std::uint32_t bits : {0x7f800001U, 0x7fc00000U, 0x7fffffffU, 0xff800001U, 0xffffffffU}) {
    expect(std::isnan(to_float(to_f16(std::bit_cast<float>(bits)))), "a NaN was rounded to a number");
  }
}

void cast_rounds_as_the_host(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  std::vector<float> values = dtype == DType::f16 ? around_f16_values() : around_bf16_values();
  for (const float special : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    values.push_back(special);
  }
  const Buffer<float> x(*backend, values);
  const ActBuffer y(*backend, values.size());
  backend->cast({.count = static_cast<std::int64_t>(values.size()), .x = x.data(), .y = y.data()});
  for (float& value : values) value = rounded(value, dtype);
  expect_same_bits("cast", y.read(), values);

  const Buffer<float> nan(*backend, 19, std::bit_cast<float>(0x7f800001U));
  const ActBuffer nan_out(*backend, 19);
  backend->cast({.count = 19, .x = nan.data(), .y = nan_out.data()});
  for (const float value : nan_out.read()) expect(std::isnan(value), "a NaN was cast to a number");
}

/// Also where something else was before; and what can never be is refused.
void memory_holds_zeros(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 1);
  for (const std::size_t size : {std::size_t{100}, std::size_t{5000}, std::size_t{3} << 20}) {
    for (int round = 0; round < 2; ++round) {
      const auto memory = backend->allocate(size);
      std::vector<unsigned char> bytes(size, 0xa5);
      backend->download(bytes.data(), memory.get(), size);
      expect(bytes == std::vector<unsigned char>(size), size, " bytes are not zeros");
      bytes.assign(size, 0xa5);
      backend->upload(memory.get(), bytes.data(), size);
    }
  }
  for (const std::size_t less : {0, 1, 63, 64}) {
    const char* said = candidate.name == "cuda" ? "no room for 17592186044416 MiB more" : "";
    expect_error("ERR_MEMORY", said, [&] { backend->allocate(std::numeric_limits<std::size_t>::max() - less); });
  }
}

void stack_of_a_thread() {
  std::size_t bytes = 0;
  Thread([&] {
#if defined(__linux__)
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstacksize(&attributes, &bytes);
    pthread_attr_destroy(&attributes);
#else
    bytes = pthread_get_stacksize_np(pthread_self());
#endif
  }).join();
  expect(bytes >= kThreadStack, "expected ", kThreadStack, " bytes at least, found ", bytes);
}

void every_item_once() {
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    expect(pool.threads() == threads, "expected ", threads, " threads, found ", pool.threads());
    for (const int items : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(items));
      pool.run(items, [&](std::int64_t item, int thread) {
        visits[static_cast<std::size_t>(item)] += thread >= 0 && thread < threads ? 1 : 1000;
      });
      for (const auto& count : visits) expect(count == 1, "an item was visited ", count.load(), " times");
    }
  }
}

void many_small_loops() {
  ThreadPool pool(3);
  std::atomic<std::int64_t> sum = 0;
  for (int loop = 0; loop < 5000; ++loop) pool.run(4, [&](std::int64_t item, int) { sum += item; });
  expect(sum == 5000 * 6, "expected a sum of 30000, found ", sum.load());
}

void exception_reaches_the_caller() {
  ThreadPool pool(3);
  for (int loop = 0; loop < 50; ++loop) {
    bool caught = false;
    try {
      pool.run(100, [&](std::int64_t item, int) { expect(item != loop, "item ", item); });
    } catch (const std::runtime_error& error) {
      caught = error.what() == "item " + std::to_string(loop);
    }
    expect(caught, "the exception of item ", loop, " was lost");
  }
  std::atomic<int> visits = 0;
  pool.run(10, [&](std::int64_t, int) { ++visits; });
  expect(visits == 10, "the pool does not work after an exception");
  visits = 0;
  // Each thread begins one item, and all fail: whichever comes first, none may begin another.
  const auto fail_together = [&](std::int64_t, int) {
    ++visits;
    while (visits < pool.threads()) std::this_thread::yield();
    fail("ERR_TEST", "an item failed");
  };
  expect_error("ERR_TEST", "an item failed", [&] { pool.run(300, fail_together); });
  expect(visits == pool.threads(), visits.load(), " items were begun by ", pool.threads(), " threads that failed");
}

}  // namespace

void add_core_tests(Tests& tests) {
  tests.add("philox: published answers", philox_known_answers);
  tests.add("philox: uniforms", uniform_is_inside_the_open_interval);
  tests.add("bf16: nearest even", bf16_rounds_to_nearest_even);
  tests.add("fp16: nearest even", f16_rounds_to_nearest_even);
  add_for_each_backend(tests, "cast: rounds as the host does", cast_rounds_as_the_host);
  add_for_each_backend(tests, "memory: holds zeros", memory_holds_zeros);
  tests.add("threads: their stack has room for kernels on every system", stack_of_a_thread);
  tests.add("thread pool: every item once", every_item_once);
  tests.add("thread pool: many small loops", many_small_loops);
  tests.add("thread pool: exceptions", exception_reaches_the_caller);
}

}  // namespace tinylora::test
