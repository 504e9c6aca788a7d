// What the driver sees of an engine on the CUDA backend: launches of a layer, graphs for decoding, failures that leave
// the process alive. On the stand-in, which counts them.
#include "core/error.h"
#include "cuda/cuda_backend.h"
#include "engine/sampler.h"
#include "engine_case.h"
#include "simulated_driver.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// Widths as real models have them: no row needs a copy before cp.async can read it.
ModelConfig aligned_config(int layers) {
  ModelConfig config = TinyModel("qwen3").config;
  config.hidden = 64;
  config.intermediate = 96;
  config.head_dim = 16;
  config.layers = layers;
  return config;
}

struct Launches {
  std::uint64_t forward, backward;
};

Launches count_launches(const SimulatedDriver& driver, DType dtype, int layers, bool adapted) {
  TinyModel tiny(aligned_config(layers));
  Engine engine(make_cuda_backend(dtype), tiny);
  if (adapted) set_random_adapters(engine, 1);
  ScoreBatch batch;
  add_sequence(batch, random_tokens(40, tiny.config.vocab, 1), -1, adapted ? 0 : -1, true);
  batch.keep = true;
  const std::uint64_t before = driver.launches();
  const ScoreResult scores = engine.forward(batch);
  const std::uint64_t between = driver.launches();
  engine.backward(random_weights(scores, 3));
  return {between - before, driver.launches() - between};
}

/// A layer more costs at most nine launches forward, with an adapter as without.
void launches_of_a_layer(const SimulatedDriver& driver, DType dtype) {
  for (const bool adapted : {true, false}) {
    const Launches two = count_launches(driver, dtype, 2, adapted), three = count_launches(driver, dtype, 3, adapted);
    const std::uint64_t forward = three.forward - two.forward, backward = three.backward - two.backward;
    expect(forward > 0 && forward <= 9, "forward: ", forward, " launches a layer");
    expect(backward <= (adapted ? 20 : 0), "backward: ", backward, " launches a layer");
  }
}

SampleRequest request(const ModelConfig& config, std::int64_t id, int slot, int count, int new_tokens) {
  SampleRequest result;
  result.id = id;
  result.prompt = random_tokens(5 + static_cast<int>(id), config.vocab, static_cast<std::uint64_t>(id));
  result.slot = slot;
  result.num_generations = count;
  result.max_completion_length = new_tokens;
  result.seed = 7;
  result.first_sequence = static_cast<std::uint64_t>(id) * 16;
  return result;
}

/// Sampled log-probabilities are those of the pass that scores, which no graph is part of.
void expect_scored(Engine& engine, const SampleRequest& one, const std::vector<SampleEvent>& finished) {
  ScoreBatch batch;
  add_sequence(batch, one.prompt, -1, one.slot, false);
  for (const SampleEvent& event : finished) add_sequence(batch, event.token_ids, 0, one.slot, true, one.temperature);
  const ScoreResult scores = engine.forward(batch);
  for (std::size_t i = 0; i < finished.size(); ++i) {
    const std::vector<float> part(scores.logprobs.begin() + batch.starts[i + 1],
                                  scores.logprobs.begin() + batch.starts[i + 2]);
    expect_same_bits("log-probabilities of request " + std::to_string(one.id), finished[i].logprobs, part);
  }
}

/// Runs one request to its end; counts the steps that were one graph and nothing else.
int steps_by_graph(const SimulatedDriver& driver, Engine& engine, Sampler& sampler, const SampleRequest& one,
                   std::vector<SampleEvent>& finished) {
  const std::atomic<bool> abort = false;
  finished.clear();
  int graphs = 0;
  sampler.submit(one);
  while (!sampler.idle()) {
    const std::uint64_t launches = driver.launches(), graph_launches = driver.graph_launches();
    for (SampleEvent& event : sampler.step(abort)) {
      expect(event.type == SampleEvent::finished, event.reason);
      finished.push_back(std::move(event));
    }
    if (driver.graph_launches() == graph_launches) continue;
    expect(driver.graph_launches() == graph_launches + 1 && driver.launches() == launches, "a step of a graph and ",
           driver.launches() - launches, " other launches");
    ++graphs;
  }
  expect_scored(engine, one, finished);
  return graphs;
}

void a_decode_step_is_one_graph(const SimulatedDriver& driver, DType dtype) {
  TinyModel tiny;
  Engine engine(make_cuda_backend(dtype), tiny);
  set_random_adapters(engine, 2);
  Sampler sampler(*engine.model, *engine.adapters, 12, 1024, {});
  std::vector<SampleEvent> finished;
  const auto run = [&](const SampleRequest& one) { return steps_by_graph(driver, engine, sampler, one, finished); };
  // Of 8 tokens the first comes from the prompt; the second is the first of its shape, and its kernels are launched.
  expect(run(request(tiny.config, 1, 0, 9, 8)) == 6, "other steps by graph");
  expect(run(request(tiny.config, 2, 1, 10, 8)) == 7, "the graph was not kept");
  SampleRequest cut = request(tiny.config, 3, 1, 9, 8);
  cut.top_k = 20;
  expect(run(cut) == 6, "other steps by graph with top_k");
  expect(run(request(tiny.config, 4, -1, 3, 30)) == 27, "other steps over pages");
  set_random_adapters(engine, 1);  // another basis: the graphs hold addresses that are gone
  expect(run(request(tiny.config, 5, 1, 9, 8)) == 6, "stale graphs");
  SampleRequest kept = request(tiny.config, 6, 1, 9, 8);
  kept.keep_activations = true;
  expect(run(kept) == 6, "graphs that keep nothing");
  expect(run(request(tiny.config, 7, 1, 9, 8)) == 6, "graphs that keep what nobody wants");
  kept.id = 8;
  kept.max_completion_length = 1;
  kept.gradient_checkpointing = true;  // other memory, in a pass that is no graph
  expect(run(kept) == 0, "a prompt by graph");
  expect(run(request(tiny.config, 9, 1, 9, 8)) == 6, "graphs of memory that is gone");
}

/// Where the driver refuses to capture, or launches in a capture, steps run as they are: the same tokens, the same
/// bits.
void no_graph_is_needed(const SimulatedDriver& driver, DType dtype) {
  TinyModel tiny;
  Engine engine(make_cuda_backend(dtype), tiny);
  set_random_adapters(engine, 2);
  const SampleRequest one = request(tiny.config, 3, 1, 5, 9);
  std::vector<SampleEvent> by_graph;
  for (const int refused : {0, 1, 2}) {
    driver.refuse_captures(refused);
    Sampler sampler(*engine.model, *engine.adapters, 8, 512, {});
    std::vector<SampleEvent> eager;
    const int graphs = steps_by_graph(driver, engine, sampler, one, refused == 0 ? by_graph : eager);
    driver.refuse_captures(0);
    expect(graphs == (refused == 0 ? 7 : 0), graphs, " steps by graph");
    for (std::size_t i = 0; i < eager.size(); ++i) {
      expect(eager[i].token_ids == by_graph[i].token_ids, "other tokens");
      expect_same_bits("log-probabilities", eager[i].logprobs, by_graph[i].logprobs);
    }
  }
}

/// Completions that share full pages of a prompt are those that each is alone, and cost fewer tensor instructions, or
/// in fp32 bytes.
void a_group_as_alone(const SimulatedDriver& driver, DType dtype) {
  TinyModel tiny(aligned_config(2));
  Engine engine(make_cuda_backend(dtype), tiny);
  set_random_adapters(engine, 2);
  SampleRequest group = request(tiny.config, 1, 0, 6, 24);
  group.prompt = random_tokens(150, tiny.config.vocab, 3);
  const auto sampled = [&](const SampleRequest& one, std::int64_t& work) {
    std::vector<SampleEvent> finished;
    Sampler sampler(*engine.model, *engine.adapters, 8, 2048, {});
    driver.reset_counters();
    steps_by_graph(driver, engine, sampler, one, finished);
    const std::string kernel = std::string("_") + (dtype == DType::f16 ? "f16" : "bf16") + "_32";
    work += dtype == DType::f32 ? driver.counted("attention_simt_decode_f32_64", "sectors")
                                : driver.counted("attention_decode" + kernel, "mma") +
                                      driver.counted("attention_decode_group" + kernel, "mma");
    return finished;
  };
  std::int64_t together = 0, alone = 0;
  const std::vector<SampleEvent> all = sampled(group, together);
  for (int i = 0; i < group.num_generations; ++i) {
    SampleRequest one = group;
    one.num_generations = 1;
    one.first_sequence = group.first_sequence + static_cast<std::uint64_t>(i);
    const std::vector<SampleEvent> own = sampled(one, alone);
    expect(own.size() == 1 && own[0].token_ids.size() > 20, "too few tokens");
    const auto same = [&](const SampleEvent& event) { return event.completion == i; };
    const auto found = std::find_if(all.begin(), all.end(), same);
    expect(found != all.end() && found->token_ids == own[0].token_ids, "completion ", i, ": other tokens");
    expect_same_bits("log-probabilities", found->logprobs, own[0].logprobs);
  }
  expect(together > 0 && 2 * together < alone, together, " together, ", alone, " alone");
}

void a_failed_kernel_is_an_error(const SimulatedDriver& driver) {
  TinyModel tiny;
  ScoreBatch batch;
  add_sequence(batch, random_tokens(5, tiny.config.vocab, 1), -1, -1, true);
  {
    Engine engine(make_cuda_backend(DType::bf16), tiny);
    driver.fail_next("rms_norm_bf16");
    for (int i = 0; i < 2; ++i) {
      expect_error("ERR_DEVICE", "this process cannot use it again", [&] { engine.forward(batch); });
    }
    expect_error("ERR_DEVICE", "CUDA_ERROR_ILLEGAL_ADDRESS", [&] { engine.backend->synchronize(); });
  }
  Engine engine(make_cuda_backend(DType::bf16), tiny);  // the stand-in forgives where a driver would not
  engine.forward(batch);
}

void memory_that_is_not_there() {
  TinyModel tiny;
  Engine engine(make_cuda_backend(DType::bf16), tiny);
  const std::atomic<bool> abort = false;
  {
    Sampler sampler(*engine.model, *engine.adapters, 4, 1 << 28, {});
    sampler.submit(request(tiny.config, 1, -1, 1, 3));
    for (int i = 0; i < 2; ++i) {
      expect_error("ERR_MEMORY", "MiB free)", [&] { sampler.step(abort); });
    }
  }
  Sampler sampler(*engine.model, *engine.adapters, 4, 256, {});
  sampler.submit(request(tiny.config, 1, -1, 1, 3));
  while (!sampler.idle()) sampler.step(abort);
}

/// A pass that finds no room for larger scratch memory has given back the smaller one, which graphs of the sampler use.
void a_graph_after_scratch_memory_ran_out(const SimulatedDriver& driver) {
  TinyModel tiny;
  Engine engine(make_cuda_backend(DType::bf16), tiny);
  set_random_adapters(engine, 1);
  Sampler sampler(*engine.model, *engine.adapters, 2, 256, {});
  ScoreBatch batch;
  add_sequence(batch, random_tokens(150, tiny.config.vocab, 1), -1, 0, true);
  const std::atomic<bool> abort = false;
  const auto sampled = [&](const std::function<void()>& between) {
    std::vector<float> logprobs;
    sampler.submit(request(tiny.config, 1, 0, 2, 8));
    for (int step = 0; !sampler.idle(); ++step) {
      if (step == 5) between();  // steps are graphs by now
      for (const SampleEvent& event : sampler.step(abort))
        logprobs.insert(logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    }
    return logprobs;
  };
  const std::vector<float> want = sampled([] {});
  bool ended = false;
  for (std::uint64_t place = 1; !ended; ++place) {
    const auto fail = [&] {
      driver.refuse_call("cuMemAllocAsync", place);
      try {
        engine.forward(batch);
      } catch (const Error&) {
      }
      ended = driver.refuse_call("", 0) > 0;
    };
    expect_same_bits("after memory " + std::to_string(place), sampled(fail), want);
    expect(!ended || place > 5, "only ", place, " places");
  }
}

}  // namespace

void add_cuda_engine_tests(Tests& tests) {
  const SimulatedDriver driver = SimulatedDriver::find();
  if (!driver) return;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const std::string suffix = std::string(" [cuda ") + name_of(dtype) + "]";
    tests.add("cuda engine: launches of a layer" + suffix, [=] { launches_of_a_layer(driver, dtype); });
    tests.add("cuda engine: a decode step is one graph" + suffix, [=] { a_decode_step_is_one_graph(driver, dtype); });
    tests.add("cuda engine: no graph is needed" + suffix, [=] { no_graph_is_needed(driver, dtype); });
    tests.add("cuda engine: a group as alone" + suffix, [=] { a_group_as_alone(driver, dtype); });
  }
  tests.add("cuda engine: a failed kernel is an error [cuda bf16]", [=] { a_failed_kernel_is_an_error(driver); });
  tests.add("cuda engine: a graph after scratch memory ran out [cuda bf16]",
            [=] { a_graph_after_scratch_memory_ran_out(driver); });
  tests.add("cuda engine: memory that is not there [cuda bf16]", memory_that_is_not_there);
}

}  // namespace tinylora::test
