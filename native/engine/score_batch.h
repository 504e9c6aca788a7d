// Sequences to score, checked and packed: token i of the sequences is row i of the batch.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/adapter.h"
#include "engine/batch.h"

namespace tinylora {

/// Of those that logits are divided by (lib/config/schema.ts): they and their inverses keep clear of 0 and infinity.
inline constexpr float kLeastTemperature = 1e-30F, kMostTemperature = 1e30F;

/// Sequences laid end to end (lib/native/addon.ts, ForwardBatch).
struct ScoreBatch {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> starts;   // [n + 1]
  std::vector<std::int32_t> parents;  // [n], -1: none
  std::vector<std::int32_t> slots;    // [n], -1: base model
  std::vector<std::uint8_t> scored;   // [n]
  std::vector<float> temperatures;    // [n]
  bool keep = false;
  bool gradient_checkpointing = false;
};

/// The tokens whose log-probability is wanted, each with the row that predicts it: the row before it, or the last row
/// of the parent for the first token of a child. So a row may predict several tokens.
struct ScoredTokens {
  std::vector<std::int32_t> token;     // [n] index in ScoreBatch.tokens, ascending
  std::vector<std::int32_t> row;       // [n]
  std::vector<std::int32_t> target;    // [n] token id
  std::vector<float> inv_temperature;  // [n]

  int count() const { return static_cast<int>(token.size()); }
};

struct PackedScore {
  Batch batch;
  ScoredTokens scored;
  int pages = 0;  // pages are numbered 0 .. pages - 1
};

/// Fails with ERR_ARGUMENT, naming the sequence, where the batch does not fit the model, the adapters or itself.
void check_score_batch(const ModelConfig& config, const Adapters& adapters, const ScoreBatch& batch);
/// Packs a checked batch. A child shares the full pages of its parent; the parent's tokens after them are stored once
/// more, in the child's first own page.
PackedScore pack_score_batch(const ScoreBatch& batch);

}  // namespace tinylora
