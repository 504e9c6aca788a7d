// Gradients of v by parts of a batch: they add up to the whole, each is that of its sequences alone, bit for bit.
#include <cmath>
#include <limits>

#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

constexpr int kNumbers = 12;  // 4 groups of u 3

/// A part of a batch: a prompt with its completions, or one sequence. `weights` are those of its rows.
struct Part {
  ScoreBatch batch;
  std::vector<float> weights;
  int slot;
};

void add(Part& part, const std::vector<std::int32_t>& tokens, int parent, std::uint64_t seed) {
  add_sequence(part.batch, tokens, parent, part.slot, true);
  const std::vector<float> weights = Random(seed).normals(tokens.size());
  part.weights.insert(part.weights.end(), weights.begin(), weights.end());
}

/// A group whose prompt ends in the middle of a page, a lone sequence of the other slot, a group on page boundaries.
std::vector<Part> some_parts(int vocab) {
  constexpr int kPrompt[] = {11, 9, 32};
  std::vector<Part> parts(3);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Part& part = parts[i];
    part.slot = i == 1 ? 1 : 0;
    const std::uint64_t seed = 100 * i;
    add(part, random_tokens(kPrompt[i], vocab, seed + 1), -1, seed + 2);
    for (std::uint64_t child = 1; child < (i == 1 ? 1 : 3); ++child) {
      add(part, random_tokens(static_cast<int>(1 + 11 * (child - 1)), vocab, seed + 10 * child), 0,
          seed + 10 * child + 1);
    }
  }
  return parts;
}

/// The parts one after another: sequences, weights of the rows, and the part of each sequence.
struct Joined {
  ScoreBatch batch;
  std::vector<float> weights;
  std::vector<std::int32_t> parts;
};

Joined join(const std::vector<Part>& parts) {
  Joined joined;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const ScoreBatch& own = parts[p].batch;
    const auto first = static_cast<std::int32_t>(joined.parts.size());
    for (std::size_t i = 0; i < own.parents.size(); ++i) {
      const std::vector<std::int32_t> tokens(own.tokens.begin() + own.starts[i],
                                             own.tokens.begin() + own.starts[i + 1]);
      add_sequence(joined.batch, tokens, own.parents[i] < 0 ? -1 : first + own.parents[i], own.slots[i], true);
      joined.parts.push_back(static_cast<std::int32_t>(p));
    }
    joined.weights.insert(joined.weights.end(), parts[p].weights.begin(), parts[p].weights.end());
  }
  joined.batch.keep = true;
  return joined;
}

std::vector<double> whole_of(Engine& engine, ScoreBatch batch, const std::vector<float>& weights, int slot) {
  batch.keep = true;
  engine.adapters->zero_gradients();
  engine.forward(batch);
  engine.backward(weights);
  return engine.adapters->gradient(slot);
}

void expect_equal(const std::string& what, const std::vector<double>& got, const std::vector<double>& want) {
  expect(got.size() == want.size(), what, ": expected ", want.size(), " numbers, found ", got.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    expect(got[i] == want[i], what, ": number ", i, ": expected ", want[i], ", found ", got[i]);
    expect(want[i] != 0, what, ": number ", i, ": expected a gradient, found 0");
  }
}

void parts_are_those_alone(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 4);
  const std::vector<Part> parts = some_parts(tiny.config.vocab);
  const Joined joined = join(parts);
  engine.forward(joined.batch);
  const std::vector<double> found = engine.backward(joined.weights, joined.parts);
  expect(found.size() == parts.size() * kNumbers, "expected 3 parts, found ", found.size(), " numbers");
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto first = found.begin() + static_cast<std::ptrdiff_t>(p * kNumbers);
    expect_equal("part " + std::to_string(p), {first, first + kNumbers},
                 whole_of(engine, parts[p].batch, parts[p].weights, parts[p].slot));
  }
}

void parts_add_up(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 4);
  const std::vector<Part> parts = some_parts(tiny.config.vocab);
  const Joined joined = join(parts);
  std::vector<double> plain = whole_of(engine, joined.batch, joined.weights, 0);
  const std::vector<double> second = engine.adapters->gradient(1);
  plain.insert(plain.end(), second.begin(), second.end());
  engine.adapters->zero_gradients();
  engine.forward(joined.batch);
  const std::vector<double> found = engine.backward(joined.weights, joined.parts);
  for (int slot = 0; slot < 2; ++slot) {
    const auto own = plain.begin() + std::ptrdiff_t{slot} * kNumbers;
    expect_equal("the whole, with and without parts", engine.adapters->gradient(slot), {own, own + kNumbers});
    for (std::size_t i = 0; i < kNumbers; ++i) {
      double sum = 0, size = 0;
      for (std::size_t p = 0; p < parts.size(); ++p) {
        if (parts[p].slot != slot) continue;
        sum += found[p * kNumbers + i];
        size += std::abs(found[p * kNumbers + i]);
      }
      expect(std::abs(sum - own[static_cast<std::ptrdiff_t>(i)]) <= 1e-12 * size, "number ", i, ": expected ",
             own[static_cast<std::ptrdiff_t>(i)], ", found ", sum);
    }
  }
}

void parts_of_a_long_batch(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 4);
  std::vector<Part> parts(11);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    parts[p].slot = 0;
    add(parts[p], random_tokens(100, tiny.config.vocab, p + 1), -1, p + 50);
    for (float& weight : parts[p].weights) weight *= 0x1.0p-10F;  // as in a loss: with 1 a token fp16 overflows
  }
  const Joined joined = join(parts);  // more rows than the CPU's products take at once
  engine.forward(joined.batch);
  const std::vector<double> found = engine.backward(joined.weights, joined.parts);
  for (const std::size_t p : {std::size_t{2}, std::size_t{10}}) {
    const auto first = found.begin() + static_cast<std::ptrdiff_t>(p * kNumbers);
    expect_equal("part " + std::to_string(p), {first, first + kNumbers},
                 whole_of(engine, parts[p].batch, parts[p].weights, 0));
  }
}

void bad_parts_are_refused() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 4);
  const Joined joined = join(some_parts(tiny.config.vocab));
  engine.forward(joined.batch);
  const auto refused = [&](const std::string& message, const std::vector<std::int32_t>& parts) {
    expect_error("ERR_ARGUMENT", message, [&] { engine.backward(joined.weights, parts); });
  };
  refused("expected 7 numbers, one a sequence, found 2", {0, 1});
  refused("sequence 0: expected the part of the one before or 0, found 1", {1, 1, 1, 2, 3, 3, 3});
  refused("sequence 0: expected the part of the one before or 0, found -1", {-1, 0, 0, 1, 2, 2, 2});
  refused("sequence 3: expected the part of the one before or 1, found 2", {0, 0, 0, 2, 3, 3, 3});
  refused("sequence 1: expected the part of its parent", {0, 1, 1, 2, 3, 3, 3});
  refused("sequence 3: expected a part to be of one adapter", {0, 0, 0, 0, 1, 1, 1});
  engine.backward(joined.weights, joined.parts);  // a refusal does not use the pass up
  ScoreBatch base;
  add_sequence(base, random_tokens(9, tiny.config.vocab, 1), -1, -1, true);
  base.keep = true;
  engine.forward(base);
  expect_error("ERR_ARGUMENT", "found slot -1", [&] { engine.backward(std::vector<float>(9, 1), {0}); });
}

void vectors_at_once() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const Basis basis = set_random_adapters(engine, 4);
  ScoreBatch batch;
  add_sequence(batch, random_tokens(20, tiny.config.vocab, 1), -1, 0, true);
  add_sequence(batch, random_tokens(20, tiny.config.vocab, 1), -1, 1, true);
  const std::vector<float> want = engine.forward(batch).logprobs;
  std::vector<float> both = random_vector(basis, 0);
  const std::vector<float> second = random_vector(basis, 1);
  both.insert(both.end(), second.begin(), second.end());
  engine.adapters->set_vectors(0, std::vector<float>(both.size()));
  expect(engine.forward(batch).logprobs[1] != want[1], "expected vectors of zeros to change something");
  const std::vector<std::int32_t> versions = engine.adapters->set_vectors(0, both);
  expect(versions == std::vector<std::int32_t>({3, 3}), "versions: expected 3 and 3");
  expect_same_bits("log-probabilities", engine.forward(batch).logprobs, want);
  expect_error("ERR_ADAPTER", "expected a multiple of 12 numbers, found 11",
               [&] { engine.adapters->set_vectors(0, std::vector<float>(11)); });
  expect_error("ERR_ARGUMENT", "found 2", [&] { engine.adapters->set_vectors(1, both); });
  std::vector<float> broken(both.size());
  broken.back() = std::numeric_limits<float>::quiet_NaN();
  expect_error("ERR_NUMERIC", "expected finite numbers", [&] { engine.adapters->set_vectors(0, broken); });
  engine.adapters->set_vector(1, random_vector(basis, 1));  // sends R of all slots to the backend
  expect_same_bits("after a refusal", engine.forward(batch).logprobs, want);
}

}  // namespace

void add_engine_parts_tests(Tests& tests) {
  for (const Candidate& candidate : candidates()) {
    for (const DType dtype : candidate.dtypes) {
      const std::string where = " [" + candidate.name + " " + name_of(dtype) + "]";
      tests.add("parts: each is that of its sequences alone" + where, [=] { parts_are_those_alone(candidate, dtype); });
      tests.add("parts: they add up to the whole" + where, [=] { parts_add_up(candidate, dtype); });
    }
  }
  add_for_all_but_cuda(tests, "parts: a long batch", parts_of_a_long_batch);
  tests.add("parts: bad ones are refused", bad_parts_are_refused);
  tests.add("parts: vectors of several slots at once", vectors_at_once);
}

}  // namespace tinylora::test
