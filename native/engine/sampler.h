// Continuous batching: requests may come at any time, and when a sequence finishes, the next takes its place.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter.h"

namespace tinylora {

class SampledSequences;

struct SampleRequest {  // lib/native/addon.ts, SampleRequest
  std::int64_t id = 0;
  std::vector<std::int32_t> prompt;
  int slot = -1;
  int num_generations = 1;
  int max_completion_length = 0;
  float temperature = 1;
  float top_p = 1;
  int top_k = 0;
  float min_p = 0;
  std::uint64_t seed = 0;
  std::uint64_t first_sequence = 0;
  std::vector<std::int32_t> stop_tokens;
  std::vector<std::string> stop_strings;
  bool stream = false;
  bool keep_activations = false;        // for a training pass over what is sampled (sampled_sequences.h)
  bool gradient_checkpointing = false;  // of that pass
};

struct SampleEvent {
  enum Type { tokens, finished, failed } type = tokens;
  std::int64_t id = 0;
  int completion = 0;                   // tokens, finished
  std::vector<std::int32_t> token_ids;  // tokens: the new ones; finished: all
  std::vector<float> logprobs;
  std::vector<float> entropies;  // finished: as token_ids
  std::string reason;            // finished: stop, length, aborted; failed: the message
  std::string code;              // failed: ends the whole request
  int version = 0;
};

/// The bytes behind each token id, for stop strings.
struct TokenBytes {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint32_t> offsets;  // [V + 1], or empty when unknown

  /// Nothing for an id beyond the table.
  std::string_view of(std::int32_t token) const {
    const auto index = static_cast<std::size_t>(token);
    if (index + 1 >= offsets.size()) return {};
    return {reinterpret_cast<const char*>(bytes.data()) + offsets[index], offsets[index + 1] - offsets[index]};
  }
};

/// `step`, `end_cancelled`, `end_all`, `fail_all` and `sampled` are for one thread; the others may be called from
/// another one at the same time, as long as neither the basis nor the vectors of slots in use change.
class Sampler {
 public:
  Sampler(Model& model, Adapters& adapters, int max_sequences, int cache_tokens, TokenBytes token_bytes);
  ~Sampler();

  /// Throws when the request can never run: empty prompt, ids out of range, longer than the context or the cache, ...
  /// A completion that would outgrow the context ends there, as by its length limit.
  void submit(SampleRequest request);
  /// Unfinished completions end as "aborted" in the next step.
  void cancel(std::int64_t id);
  bool idle() const;
  /// Whether a request is neither finished nor cancelled.
  bool busy() const;
  /// The same of the requests of this slot.
  bool uses(int slot) const;

  /// One step: admits the completions that fit, then runs one pass that prefills a piece of the new prompts and decodes
  /// one token of every running sequence. Events are in a fixed order. After an exception of the backend no token has
  /// been added, and the next step tries the same pass again; after any other the requests can only be ended.
  std::vector<SampleEvent> step(const std::atomic<bool>& abort);
  /// Ends the cancelled requests at once: to be called before a change of the basis or of vectors that they use.
  std::vector<SampleEvent> end_cancelled();
  /// Ends every unfinished completion as "aborted".
  std::vector<SampleEvent> end_all();
  /// After an exception that the next step would meet again: ends every request as failed, but the cancelled ones as
  /// "aborted".
  std::vector<SampleEvent> fail_all(const std::string& code, const std::string& message);

  /// Completions whose activations are kept, until their pages are needed.
  const SampledSequences& sampled() const;

  /// 0 before the first step, which allocates the memory.
  std::size_t cache_bytes() const;
  std::size_t activation_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tinylora
