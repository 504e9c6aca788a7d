// Memory that runs out at any place: allocations of the host, or calls of the driver, fail one after the other. Each
// time the error says so, and then the engine gives the same bits as if nothing had been.
#include <cmath>
#include <functional>
#include <map>
#include <new>
#include <utility>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"
#include "engine/sampler.h"
#include "engine/svd.h"
#include "engine_case.h"
#include "failing_memory.h"
#include "simulated_driver.h"
#include "suites.h"

namespace tinylora::test {
namespace {

using Numbers = std::vector<float>;

struct Failing {
  std::function<std::unique_ptr<Backend>()> make;
  std::function<std::uint64_t(std::uint64_t place)> refuse;  // as fail_allocation
  std::uint64_t apart = 1;                                   // from one place that is tried to the next
};

/// Runs `work` with memory refused at one place after the other, until it has fewer, each time once more undisturbed.
void at_every_place(const Failing& failing, const std::function<Numbers()>& work) {
  const Numbers want = work();
  for (std::uint64_t place = 1;; place += failing.apart) {
    const std::string name = "memory refused at place " + std::to_string(place);
    std::string code = "none";
    Numbers found = want;
    failing.refuse(place);
    try {
      found = work();
    } catch (const std::bad_alloc&) {
      code = "ERR_MEMORY";  // as the binding tells it
    } catch (const Error& error) {
      code = error.code();
    }
    const bool refused = failing.refuse(0) == 0;
    expect(code == "none" || (refused && code == "ERR_MEMORY"), name, ": found the error ", code);
    expect_same_bits(name, found, want);
    if (!refused) return;
    expect_same_bits(name + ", afterwards", work(), want);
  }
}

/// Few numbers, and pages that are full, shared and partly filled.
ModelConfig small_config() {
  ModelConfig config = TinyModel("qwen3").config;
  config.layers = 1;
  config.vocab = 40;
  config.context = 40;
  return config;
}

Numbers scored(Engine& engine, bool keep) {
  ScoreBatch batch;
  const int parent = add_sequence(batch, random_tokens(3, 40, 1), -1, 0, true);
  add_sequence(batch, random_tokens(31, 40, 2), parent, 0, true);
  batch.keep = keep;
  Numbers values = engine.forward(batch).logprobs;
  for (float& value : values) value = std::isnan(value) ? 0 : value;
  return values;
}

void loading(const Failing& failing) {
  TinyModel tiny(small_config());
  const auto file = tiny.write();
  const auto backend = failing.make();
  at_every_place(failing, [&] {
    const auto model = load_model(*backend, tiny.config, tiny.tensors, {});
    return Numbers{static_cast<float>(model->weight_bytes)};
  });
}

void attaching(const Failing& failing) {
  TinyModel tiny(small_config());
  Engine engine(failing.make(), tiny);
  const Basis basis = random_basis(tiny.config, 2);
  at_every_place(failing, [&] {
    engine.adapters->set_basis(basis);
    engine.adapters->set_vector(0, random_vector(basis, 0));
    return scored(engine, false);
  });
}

void passes(const Failing& failing) {
  TinyModel tiny(small_config());
  Engine engine(failing.make(), tiny);
  set_random_adapters(engine, 2);
  at_every_place(failing, [&] {
    Numbers values = scored(engine, true);
    engine.adapters->zero_gradients();
    const std::vector<double> of_parts = engine.backward(Numbers(values.size(), 1), {0, 0});
    const std::vector<double> whole = engine.adapters->gradient(0);
    values.insert(values.end(), of_parts.begin(), of_parts.end());
    values.insert(values.end(), whole.begin(), whole.end());
    return values;
  });
}

/// As the binding does: an error of a step ends all requests.
void sampling(const Failing& failing) {
  TinyModel tiny(small_config());
  Engine engine(failing.make(), tiny);
  set_random_adapters(engine, 2);
  const std::atomic<bool> abort = false;
  at_every_place(failing, [&] {
    Sampler sampler(*engine.model, *engine.adapters, 2, 128, {});
    std::map<std::pair<std::int64_t, int>, Numbers> found;
    try {
      for (const std::int64_t id : {1, 2}) {
        SampleRequest request;
        request.id = id;
        request.prompt = random_tokens(33, 40, 3);
        request.slot = 0;
        request.num_generations = 3;
        request.max_completion_length = 4;
        request.top_k = 5;
        sampler.submit(request);
      }
      while (!sampler.idle()) {
        for (SampleEvent& event : sampler.step(abort)) {
          found[{event.id, event.completion}] = std::move(event.logprobs);
        }
      }
    } catch (const std::exception&) {
      sampler.fail_all("ERR_MEMORY", "memory ran out");
      expect(sampler.idle(), "a request is left over");
      throw;
    }
    Numbers values;
    for (const auto& [completion, logprobs] : found) values.insert(values.end(), logprobs.begin(), logprobs.end());
    return values;
  });
}

void training(const Failing& failing) {
  TinyModel tiny(small_config());
  Engine engine(failing.make(), tiny);
  const auto file = tiny.write();
  set_random_adapters(engine, 2);
  const UpdateOptions options{.rate = 0.01, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8};
  at_every_place(failing, [&] {
    engine.parameters->train_weights({"model.layers.0.mlp.down_proj.weight", "model.norm.weight"}, tiny.tensors);
    Numbers values = scored(engine, true);
    engine.backward(Numbers(values.size(), 1));
    engine.parameters->save();
    engine.parameters->update(options);
    const Numbers updated = scored(engine, false);
    engine.parameters->restore();
    const Numbers restored = scored(engine, false);
    values.insert(values.end(), updated.begin(), updated.end());
    values.insert(values.end(), restored.begin(), restored.end());
    return values;
  });
}

void svd(const Failing& failing) {
  TinyModel tiny(small_config());
  const auto file = tiny.write();
  const auto backend = failing.make();
  ThreadPool pool(1);
  const std::atomic<bool> abort = false;
  at_every_place(failing, [&] {
    const RowReader rows = module_rows(tiny.tensors, tiny.config, gate_proj);
    return truncated_svd(*backend, tiny.config.intermediate, tiny.config.hidden, rows, 2, pool, abort).u;
  });
}

}  // namespace

void add_engine_memory_tests(Tests& tests) {
  std::map<std::string, Failing> all;
  all["cpu"] = {[] { return make_cpu_backend(DType::bf16, 1); }, fail_allocation};
  if (const SimulatedDriver driver = SimulatedDriver::find()) {
    const auto make = [] { return make_cuda_backend(DType::bf16); };
    all["cuda, allocations"] = {make, [=](std::uint64_t at) { return driver.refuse_call("cuMemAllocAsync", at); }};
    // Some of the calls: the stand-in would take minutes for all of them.
    all["cuda, calls"] = {make, [=](std::uint64_t at) { return driver.refuse_call("", at); }, 23};
  }
  for (const auto& [name, failing] : all) {
    const auto add = [&](const std::string& what, void (*body)(const Failing&)) {
      tests.add("memory runs out: " + what + " [" + name + "]", [=, one = failing] { body(one); });
    };
    add("loading", loading);
    add("attaching", attaching);
    add("passes", passes);
    add("sampling", sampling);
    add("training", training);
    add("svd", svd);
  }
}

}  // namespace tinylora::test
