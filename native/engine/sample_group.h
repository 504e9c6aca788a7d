// The state of one request: a prompt and its completions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/sampler.h"
#include "engine/stop_matcher.h"

namespace tinylora {

struct Completion {
  enum State {
    waiting,   // for pages, and for a place among the sequences that are sampled side by side
    starting,  // waits for the end of its prompt's prefill, which gives its first token
    running,   // its last token is the next input of the model
    ended,
  } state = waiting;
  std::vector<std::int32_t> pages;  // its own, from the one with the first position that the group does not share
  bool kept = false;                // ended, and its pages are still its own (sampled_sequences.h)
  int promised = 0;                 // pages that it may still take
  std::vector<std::int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<float> entropies;
  StopMatcher stop;
};

struct SampleGroup {
  SampleRequest request;  // max_completion_length cut to the context
  int version = 0;        // of the slot, which changes with its v and with the model's weights
  bool keeps = false;     // the rows of its prompt and completions, for as long as their pages
  std::vector<Completion> completions;
  std::vector<std::int32_t> prompt_pages;  // those that the prompt fills, shared by all completions
  int ended = 0;                           // number of completions that have ended

  int prompt_length() const { return static_cast<int>(request.prompt.size()); }
  int shared_pages() const { return prompt_length() / kPageSize; }
  /// Pages that a completion of `tokens` tokens needs besides: its last token has not gone through the model, and is
  /// not stored.
  int own_pages(int tokens) const {
    const int stored = prompt_length() + tokens - 1;
    return (stored + kPageSize - 1) / kPageSize - shared_pages();
  }
  /// How many of `drafts` drafts a completion of `tokens` tokens may have behind its last token: draws up to its limit.
  int most_drafts(int tokens, int drafts) const { return std::min(drafts, request.max_completion_length - tokens - 1); }
  /// Whether its tokens would be sampled alike now.
  bool current(const Adapters& adapters) const { return version == adapters.version(request.slot); }
  bool started() const {
    return std::ranges::any_of(completions, [](const Completion& c) { return c.state != Completion::waiting; });
  }
  /// Whether completions that have ended still have their pages.
  bool holds() const { return std::ranges::any_of(completions, &Completion::kept); }
  bool done() const { return ended == static_cast<int>(completions.size()); }
};

/// Fails with ERR_ARGUMENT where the request can never run; cuts max_completion_length to the context. `slots` of the
/// adapters; `pages` of the cache; `knows_bytes`: whether the bytes of tokens are known, which stop strings need.
void check_sample_request(SampleRequest& request, const ModelConfig& config, int slots, int pages, bool knows_bytes);

}  // namespace tinylora
