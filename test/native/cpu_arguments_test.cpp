// What the ops of the cpu backend refuse, on every instruction set, and what is left after an error.
#include <algorithm>

#include "cpu/aligned.h"
#include "cpu/cpu_backend.h"
#include "engine_case.h"
#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

void refused(const std::string& part, const std::function<void()>& call) { expect_error("ERR_ARGUMENT", part, call); }

/// Nothing of these is read before it is refused.
float floats[64];
std::int32_t ints[64];
double doubles[64];

void products(Backend& backend, const Weight& weight, const Weight& other) {
  LoraArgs lora;
  lora.rank = 2;
  lora.a = lora.b = lora.r = floats;
  lora.adapter = ints;
  LinearArgs good;
  good.rows = 1;
  good.x = floats;
  good.weight = &weight;
  good.lora = lora;
  good.z = floats;
  good.y = floats;
  const auto spoiled = [&](const std::string& part, const std::function<void(LinearArgs&)>& spoil) {
    LinearArgs args = good;
    spoil(args);
    refused(part, [&] { backend.linear(args); });
  };
  spoiled("rank: expected 0 to 16, found 17", [](LinearArgs& args) { args.lora.rank = 17; });
  spoiled("rank: expected 0 to 16, found -1", [](LinearArgs& args) { args.lora.rank = -1; });
  spoiled("found a null pointer", [](LinearArgs& args) { args.lora.a = nullptr; });
  spoiled("found a null pointer", [](LinearArgs& args) { args.lora.b = nullptr; });
  spoiled("found a null pointer", [](LinearArgs& args) { args.lora.r = nullptr; });
  spoiled("found a null pointer", [](LinearArgs& args) { args.lora.adapter = nullptr; });
  spoiled("found a null pointer", [](LinearArgs& args) { args.z = nullptr; });
  spoiled("residual: expected a float y", [](LinearArgs& args) { args.residual = floats; });
  spoiled("found a foreign one", [&](LinearArgs& args) { args.weight = &other, args.lora = {}; });
  refused("expected a product, found none", [&] { backend.linear(std::span<const LinearArgs>()); });

  const auto wide = pack(backend, 3, 5, std::vector<float>(15));
  const auto pair = [&](const std::function<void(LinearArgs&)>& spoil) {
    LinearArgs both[] = {good, good};
    spoil(both[1]);
    refused("expected products of the same x", [&] { backend.linear(both); });
  };
  pair([](LinearArgs& args) { args.x = floats + 1; });
  pair([](LinearArgs& args) { args.rows = 2; });
  pair([&](LinearArgs& args) { args.weight = wide.get(); });

  LinearBackwardArgs back{};
  back.rows = 1;
  back.weight = &weight;
  back.lora = lora;
  back.z = floats;
  refused("d_r: expected a pointer", [&] { backend.linear_backward(back); });
  back.d_r = doubles;
  back.z = nullptr;
  refused("found a null pointer", [&] { backend.linear_backward(back); });
  back.weight = &other;
  refused("linear_backward: weight", [&] { backend.linear_backward(back); });
}

void gradients(Backend& backend, const Weight& other) {
  refused("expected d_weight or d_bias", [&] {
    backend.weight_gradient({.rows = 1, .out = 1, .in = 1, .dy = floats, .x = floats, .d_weight = nullptr});
  });
  for (const int rank : {0, 17}) {
    LoraGradientArgs args{};
    args.lora.rank = rank;
    refused("lora_gradient: rank: expected 1 to 16", [&] { backend.lora_gradient(args); });
  }
  refused("repack: weight", [&] { backend.repack(const_cast<Weight&>(other), floats); });
}

template <class Args>
Args shaped(const SequenceLayout& layout, int heads, int kv_heads, int head_dim) {
  Args args{};
  args.layout = &layout;
  args.heads = heads;
  args.kv_heads = kv_heads;
  args.head_dim = head_dim;
  return args;
}

void attentions(Backend& backend) {
  const SequenceLayout layout{};
  for (const int dim : {0, 7, 258}) {
    const std::string expected = ": expected an even head_dim up to 256, found " + std::to_string(dim);
    refused("attention" + expected, [&] { backend.attention(shaped<AttentionArgs>(layout, 2, 1, dim)); });
    refused("attention" + expected,
            [&] { backend.attention_backward(shaped<AttentionBackwardArgs>(layout, 2, 1, dim)); });
    refused("rope_store" + expected, [&] { backend.rope_store(shaped<RopeStoreArgs>(layout, 2, 1, dim)); });
    refused("rope_store" + expected,
            [&] { backend.rope_store_backward(shaped<RopeStoreBackwardArgs>(layout, 2, 1, dim)); });
  }
  for (const int kv_heads : {0, 2}) {
    refused("heads, found 3", [&] { backend.attention(shaped<AttentionArgs>(layout, 3, kv_heads, 8)); });
  }
}

void tokens(Backend& backend, const Weight& weight) {
  for (const std::int32_t token : {-1, weight.out}) {
    refused("embed: token 0: expected 0 to 2",
            [&] { backend.embed({.rows = 1, .tokens = &token, .table = &weight, .x = floats}); });
    HeadArgs args{};
    args.rows = 1;
    args.weight = &weight;
    args.target = &token;
    refused("head: target 0: expected 0 to 2", [&] { backend.head(args); });
  }
  refused("pack: expected a matrix, found [0, 4]", [&] { pack(backend, 0, 4, {}); });
  refused("pack: expected a matrix, found [4, 0]", [&] { pack(backend, 4, 0, {}); });
}

void bad_arguments_are_refused() {
  const std::vector<CpuPath> paths = tested_paths();
  const auto reference = make_reference_backend(DType::f32);
  const auto foreign = pack(*reference, 3, 4, std::vector<float>(12));
  for (const CpuPath path : paths) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const auto backend = make_cpu_backend(dtype, 1, path);
      const auto weight = pack(*backend, 3, 4, std::vector<float>(12));
      products(*backend, *weight, *foreign);
      gradients(*backend, *foreign);
      attentions(*backend);
      tokens(*backend, *weight);
    }
  }
  for (const CpuPath path :
       {CpuPath::amx, CpuPath::avx512_bf16, CpuPath::avx512, CpuPath::avx2, CpuPath::neon_bf16, CpuPath::neon}) {
    if (std::find(paths.begin(), paths.end(), path) != paths.end()) continue;
    expect_error("ERR_DEVICE", "this machine's best is", [&] { make_cpu_backend(DType::f32, 1, path); });
  }
  refused("expected \"fp32\" or \"bf16\" on the cpu", [] { make_cpu_backend(DType::f16, 1); });
  for (const int threads : {0, 1025})
    refused("threads: expected 1 to 1024", [&] { make_cpu_backend(DType::f32, threads); });
  refused("expected a weight that it packed itself", [&] {
    const auto own = make_cpu_backend(DType::f32, 1);
    const auto weight = pack(*own, 3, 4, std::vector<float>(12));
    LinearArgs args;
    args.rows = 1;
    args.weight = weight.get();
    reference->linear(args);
  });
}

void scratch_after_memory_ran_out() {
  Scratch scratch;
  scratch.at_least<float>(100)[99] = 1;
  expect_error("ERR_MEMORY", "the system has no more", [&] { scratch.at_least<std::byte>(std::size_t{1} << 60); });
  for (const std::size_t count : {10, 100, 1000}) {
    float* memory = scratch.at_least<float>(count);
    expect(memory != nullptr, "no memory for ", count, " numbers");
    memory[count - 1] = 1;
  }
}

}  // namespace

void add_cpu_arguments_tests(Tests& tests) {
  tests.add("cpu: bad arguments are refused", bad_arguments_are_refused);
  tests.add("cpu: scratch after memory ran out", scratch_after_memory_ran_out);
}

}  // namespace tinylora::test
