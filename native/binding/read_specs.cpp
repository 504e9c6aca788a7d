#include <charconv>
#include <limits>
#include <string_view>

#include "binding/specs.h"

namespace tinylora::binding {
namespace {

constexpr int kMaxInt = std::numeric_limits<int>::max();
constexpr std::size_t kMaxTensors = 1 << 20;
constexpr int kMaxDimension = 1 << 28;

/// False where it is left out.
bool read_flag(const Argument& flag) { return flag.given() && flag.boolean(); }

decltype(ModelConfig::rope_scaling) read_rope_scaling(const Argument& scaling) {
  decltype(ModelConfig::rope_scaling) result;
  if (!scaling.given()) return result;
  result.type = scaling["type"].text();
  result.factor = scaling["factor"].number();
  if (result.type == "linear") return result;
  result.original_context = scaling["originalContext"].number_of(1, kMaxInt);
  if (result.type == "llama3") {
    result.low_freq_factor = scaling["lowFreqFactor"].number();
    result.high_freq_factor = scaling["highFreqFactor"].number();
    return result;
  }
  if (result.type != "yarn") scaling["type"].refuse("\"linear\", \"llama3\" or \"yarn\"");
  result.beta_fast = scaling["betaFast"].number();
  result.beta_slow = scaling["betaSlow"].number();
  result.truncate = scaling["truncate"].boolean();
  result.attention_factor = scaling["attentionFactor"].number();
  return result;
}

ModelConfig read_config(const Argument& config) {
  return {.family = config["family"].text(),
          .vocab = config["vocab"].number_of(1, kMaxDimension),
          .hidden = config["hidden"].number_of(1, kMaxDimension),
          .intermediate = config["intermediate"].number_of(1, kMaxDimension),
          .layers = config["layers"].number_of(1, 1 << 16),
          .heads = config["heads"].number_of(1, 1 << 16),
          .kv_heads = config["kvHeads"].number_of(1, 1 << 16),
          .head_dim = config["headDim"].number_of(1, 1 << 16),
          .context = config["context"].number_of(1, kMaxInt),
          .rms_norm_epsilon = static_cast<float>(config["rmsNormEpsilon"].number()),
          .tied_embeddings = config["tiedEmbeddings"].boolean(),
          .rope_theta = config["ropeTheta"].number(),
          .rope_scaling = read_rope_scaling(config["ropeScaling"])};
}

TokenBytes read_token_bytes(const Argument& argument) {
  if (!argument.given()) return {};
  return {.bytes = argument["bytes"].bytes(), .offsets = argument["offsets"].uint32s()};
}

std::vector<std::string> read_texts(const Argument& argument) {
  std::vector<std::string> texts;
  for (const Argument& element : argument.list(1 << 10)) texts.push_back(element.text());
  return texts;
}

}  // namespace

TensorSource read_tensor_source(const Argument& tensor) {
  TensorSource source;
  source.name = tensor["name"].text();
  source.file = tensor["file"].text();
  source.offset = static_cast<std::uint64_t>(tensor["offset"].integer(0, kMaxSafeInteger));
  source.bytes = static_cast<std::uint64_t>(tensor["bytes"].integer(0, kMaxSafeInteger));
  source.type = tensor["type"].text();
  for (const Argument& size : tensor["shape"].list(8)) source.shape.push_back(size.integer(0, kMaxSafeInteger));
  const Argument heads = tensor["permutedHeads"];
  if (heads.given()) source.permuted_heads = heads.number_of(1, 1 << 16);
  return source;
}

EngineSpec read_engine_spec(const Argument& spec) {
  EngineSpec result;
  result.config = read_config(spec["config"]);
  for (const Argument& tensor : spec["tensors"].list(kMaxTensors)) result.tensors.push_back(read_tensor_source(tensor));
  result.dtype = read_dtype(spec["dtype"]);
  result.device = read_device(spec);
  result.threads = spec["threads"].number_of(1, kMaxThreads);
  const Argument path = spec["path"];
  if (path.given()) result.path = read_path(path);
  result.max_sequences = spec["maxSequences"].number_of(1, 1 << 16);
  result.cache_tokens = spec["cacheTokens"].number_of(kPageSize, 1 << 28);
  result.token_bytes = read_token_bytes(spec["tokenBytes"]);
  return result;
}

DeviceChoice read_device(const Argument& spec) {
  const std::string name = spec["device"].text();
  if (name == "cpu") return {};
  if (name == "reference") return {.kind = DeviceKind::reference, .driver = {}};
  if (name == "cuda") return {.kind = DeviceKind::cuda, .driver = {}};
  if (name == "cudasim") return {.kind = DeviceKind::cuda, .driver = spec["driver"].text()};
  constexpr std::string_view kOneGpu = "cuda:";
  int ordinal = 0;
  if (name.starts_with(kOneGpu)) {
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + kOneGpu.size(), end, ordinal);
    if (error == std::errc{} && stop == end && ordinal >= 0) {
      return {.kind = DeviceKind::cuda, .ordinal = ordinal, .driver = {}};
    }
  }
  spec["device"].refuse("\"cpu\", \"cuda\", \"cuda:N\", \"cudasim\" or \"reference\"");
}

DType read_dtype(const Argument& dtype) {
  const std::string name = dtype.text();
  if (name == name_of(DType::f32)) return DType::f32;
  if (name == name_of(DType::bf16)) return DType::bf16;
  if (name == name_of(DType::f16)) return DType::f16;
  dtype.refuse("\"fp32\", \"bf16\" or \"fp16\"");
}

CpuPath read_path(const Argument& path) {
  const std::string name = path.text();
  for (const CpuPath known :
       {CpuPath::amx, CpuPath::avx512_bf16, CpuPath::avx512, CpuPath::avx2, CpuPath::neon_bf16, CpuPath::neon}) {
    if (name == name_of(known)) return known;
  }
  path.refuse("\"amx\", \"avx512-bf16\", \"avx512\", \"avx2\", \"neon-bf16\" or \"neon\"");
}

Basis read_basis(const Argument& basis) {
  Basis result;
  result.rank = basis["rank"].number_of(1, kMaxRank);
  result.u = basis["u"].number_of(1, 1 << 16);
  result.groups = basis["groups"].number_of(1, 1 << 20);
  result.slots = basis["slots"].number_of(1, 1 << 16);
  for (const Argument& entry : basis["modules"].list(1 << 20)) {
    result.modules.push_back({.module = entry["module"].number_of(0, kMaxInt),
                              .group = entry["group"].number_of(0, kMaxInt),
                              .a = entry["a"].floats(),
                              .b = entry["b"].floats(),
                              .p = entry["p"].floats()});
  }
  return result;
}

UpdateOptions read_update(const Argument& options) {
  UpdateOptions result;
  const std::string optim = options["optim"].text();
  if (optim != "adamw" && optim != "sgd") options["optim"].refuse("\"adamw\" or \"sgd\"");
  result.adamw = optim == "adamw";
  result.rate = options["rate"].number();
  result.decay = options["decay"].number();
  result.max_norm = options["maxNorm"].number();
  result.momentum = options["momentum"].number();
  result.beta1 = options["beta1"].number();
  result.beta2 = options["beta2"].number();
  result.epsilon = options["epsilon"].number();
  result.updates = options["updates"].integer(1, kMaxSafeInteger);
  return result;
}

Parameters::Part read_part(const Argument& part) {
  const std::string name = part.text();
  if (name == "master") return Parameters::master;
  if (name == "gradient") return Parameters::gradient;
  if (name == "first") return Parameters::first_moment;
  if (name == "second") return Parameters::second_moment;
  part.refuse("\"master\", \"gradient\", \"first\" or \"second\"");
}

ScoreBatch read_score_batch(const Argument& batch) {
  return {.tokens = batch["tokens"].int32s(),
          .starts = batch["starts"].int32s(),
          .parents = batch["parents"].int32s(),
          .slots = batch["slots"].int32s(),
          .scored = batch["scored"].bytes(),
          .temperatures = batch["temperatures"].floats(),
          .keep = batch["keep"].boolean(),
          .gradient_checkpointing = read_flag(batch["gradientCheckpointing"])};
}

SampleRequest read_sample_request(const Argument& request) {
  SampleRequest result;
  result.id = request["id"].integer(-kMaxSafeInteger, kMaxSafeInteger);
  result.prompt = request["prompt"].int32s();
  result.slot = request["slot"].number_of(-1, kMaxInt);
  result.num_generations = request["numGenerations"].number_of(1, kMaxInt);
  result.max_completion_length = request["maxCompletionLength"].number_of(1, kMaxInt);
  const Argument temperature = request["temperature"];
  result.temperature = static_cast<float>(temperature.number());
  const bool divides = result.temperature >= kLeastTemperature && result.temperature <= kMostTemperature;
  if (!divides && temperature.number() != 0) temperature.refuse("0, or 1e-30 to 1e30");
  result.top_p = static_cast<float>(request["topP"].number());
  result.top_k = request["topK"].number_of(0, kMaxInt);
  result.min_p = static_cast<float>(request["minP"].number());
  result.seed = static_cast<std::uint64_t>(request["seed"].integer(0, kMaxSafeInteger));
  result.first_sequence = static_cast<std::uint64_t>(request["firstSequence"].integer(0, kMaxSafeInteger));
  result.stop_tokens = request["stopTokens"].int32s();
  result.stop_strings = read_texts(request["stopStrings"]);
  result.stream = request["stream"].boolean();
  result.keep_activations = read_flag(request["keepActivations"]);
  result.gradient_checkpointing = read_flag(request["gradientCheckpointing"]);
  return result;
}

}  // namespace tinylora::binding
