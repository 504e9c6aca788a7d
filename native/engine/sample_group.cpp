#include "engine/sample_group.h"

#include "core/error.h"
#include "engine/score_batch.h"

namespace tinylora {
namespace {

constexpr int kMaxCompletions = 1 << 16;

template <typename T>
void check_range(std::int64_t id, const char* name, T value, T least, T most) {
  check(value >= least && value <= most, "ERR_ARGUMENT", "request ", id, ": ", name, ": expected ", least, " to ", most,
        ", found ", value);
}

void check_tokens(std::int64_t id, const char* name, const std::vector<std::int32_t>& tokens, int vocab) {
  for (const std::int32_t token : tokens) {
    check(token >= 0 && token < vocab, "ERR_ARGUMENT", "request ", id, ": ", name, ": expected ids from 0 to ",
          vocab - 1, ", found ", token);
  }
}

void check_how(const SampleRequest& request) {
  const float temperature = request.temperature;
  check(temperature == 0 || (temperature >= kLeastTemperature && temperature <= kMostTemperature), "ERR_ARGUMENT",
        "request ", request.id, ": temperature: expected 0, or ", kLeastTemperature, " to ", kMostTemperature,
        ", found ", temperature);
  check(request.top_p > 0 && request.top_p <= 1, "ERR_ARGUMENT", "request ", request.id,
        ": top_p: expected more than 0 and at most 1, found ", request.top_p);
  check_range(request.id, "min_p", request.min_p, 0.0F, 1.0F);
  check(request.top_k >= 0, "ERR_ARGUMENT", "request ", request.id, ": top_k: expected 0 or more, found ",
        request.top_k);
}

}  // namespace

void check_sample_request(SampleRequest& request, const ModelConfig& config, int slots, int pages, bool knows_bytes) {
  const std::int64_t id = request.id;
  check(!request.prompt.empty(), "ERR_ARGUMENT", "request ", id, ": prompt: expected at least one token");
  check(request.prompt.size() < static_cast<std::size_t>(config.context), "ERR_ARGUMENT", "request ", id,
        ": prompt: expected fewer tokens than the context length (", config.context, "), found ",
        request.prompt.size());
  check_tokens(id, "prompt", request.prompt, config.vocab);
  check_tokens(id, "stop_tokens", request.stop_tokens, config.vocab);
  check(request.slot >= -1 && request.slot < slots, "ERR_ARGUMENT", "request ", id, ": slot: expected ",
        expected_slots(slots), ", found ", request.slot);
  check_range(id, "num_generations", request.num_generations, 1, kMaxCompletions);
  check(request.max_completion_length >= 1, "ERR_ARGUMENT", "request ", id,
        ": max_completion_length: expected 1 or more, found ", request.max_completion_length);
  check_how(request);
  check(request.stop_strings.empty() || knows_bytes, "ERR_ARGUMENT", "request ", id,
        ": stop_strings: expected an engine that was loaded with the bytes of its tokens");
  for (const std::string& stop : request.stop_strings) {
    check(!stop.empty(), "ERR_ARGUMENT", "request ", id, ": stop_strings: expected none that is empty");
  }
  const auto length = static_cast<int>(request.prompt.size());
  request.max_completion_length = std::min(request.max_completion_length, config.context - length);
  const int needed = (length + request.max_completion_length - 1 + kPageSize - 1) / kPageSize;
  check(needed <= pages, "ERR_ARGUMENT", "request ", id, ": prompt and completion of ",
        length + request.max_completion_length, " tokens: expected at most ", pages * kPageSize + 1, ", the ",
        pages * kPageSize, " positions of the cache (cache_tokens) and the last token, which is not stored");
}

}  // namespace tinylora
