// AVX2 and NEON add in the same order, in eight lanes: they have the same bits. These are the bits that both must find.
#include "engine_case.h"
#include "head_case.h"
#include "layout.h"
#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

std::uint64_t bits_of_products(Backend& backend) {
  BitHash bits;
  for (const LinearShape& shape : {LinearShape{.rows = 7, .in = 33, .out = 29, .rank = 2, .bias = true},
                                   LinearShape{.rows = 21, .in = 129, .out = 50, .rank = 5, .y_float = true},
                                   LinearShape{.rows = 3, .in = 2100, .out = 24, .y_float = true, .add = true}}) {
    const LinearCase data = make_linear(shape);
    const auto weight = pack(backend, data);
    const LinearResult result = linear(backend, *weight, data, 0, shape.rows);
    const LinearGradients gradients = linear_backward(backend, *weight, data, result.z);
    for (const auto* values : {&result.y, &result.z, &gradients.dx, &gradients.d_r}) bits.add(*values);
  }
  return bits.value();
}

std::uint64_t bits_of_attention(Backend& backend) {
  BitHash bits;
  Layout layout;
  add_group(layout, 37, {3, 40, 1});
  for (const AttentionShape& shape : {AttentionShape{.heads = 9, .kv_heads = 3, .head_dim = 64},
                                      AttentionShape{.heads = 2, .kv_heads = 1, .head_dim = 34, .gains = true}}) {
    const AttentionCase data = make_attention(shape, layout);
    const AttentionResult result = attend(backend, data);
    const AttentionGradients gradients = attend_backward(backend, data);
    for (const auto* values : {&result.q, &result.out, &result.lse, &gradients.dq_out, &gradients.d_keys,
                               &gradients.d_values, &gradients.dq, &gradients.dk, &gradients.dv, &gradients.d_q_gain}) {
      bits.add(*values);
    }
  }
  return bits.value();
}

std::uint64_t bits_of_head(Backend& backend) {
  BitHash bits;
  const HeadCase data = make_head(11, 40, 1100);
  const auto weight = pack(backend, data);
  const HeadGradient result = head_backward(backend, *weight, data);
  for (const auto* values : {&result.scores.logp, &result.scores.entropy, &result.scores.lse, &result.dx})
    bits.add(*values);
  return bits.value();
}

/// Norms, SwiGLU and the rest, in a model.
std::uint64_t bits_of_model(std::unique_ptr<Backend> backend) {
  TinyModel tiny("qwen3");
  Engine engine(std::move(backend), tiny);
  set_random_adapters(engine, 4);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  batch.keep = true;
  const ScoreResult scores = engine.forward(batch);
  engine.backward(random_weights(scores, 3));
  BitHash bits;
  bits.add(scores.logprobs);
  bits.add(scores.entropies);
  for (const int slot : {0, 1}) {
    const std::vector<double> gradient = engine.adapters->gradient(slot);
    bits.add({gradient.begin(), gradient.end()});
  }
  return bits.value();
}

struct Known {
  std::uint64_t products, attention, head, model;
};
constexpr Known kF32 = {0x7d3b62cb70401213, 0xecb0530cba5b746e, 0x77ba0604869d02eb, 0x18451223b3dd1bad};
constexpr Known kBf16 = {0x35a6dff0ff72ed17, 0xaef64f61ae95beef, 0x9e640a947a8c00c4, 0xd468008cb32c978c};

void known_bits(const Candidate& candidate, DType dtype) {
  const Known& known = dtype == DType::f32 ? kF32 : kBf16;
  const auto same = [](const char* what, std::uint64_t got, std::uint64_t want) {
    expect(got == want, what, ": expected ", std::hex, want, ", found ", got);
  };
  const auto backend = candidate.make(dtype, 2);
  same("products", bits_of_products(*backend), known.products);
  same("attention", bits_of_attention(*backend), known.attention);
  same("head", bits_of_head(*backend), known.head);
  same("model", bits_of_model(candidate.make(dtype, 2)), known.model);
}

}  // namespace

void add_eight_lanes_tests(Tests& tests) {
  for (const Candidate& candidate : candidates()) {
    if (candidate.name != "avx2" && candidate.name != "neon") continue;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      tests.add("eight lanes: known bits [" + candidate.name + " " + name_of(dtype) + "]",
                [=] { known_bits(candidate, dtype); });
    }
  }
}

}  // namespace tinylora::test
