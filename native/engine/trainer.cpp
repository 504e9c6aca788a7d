#include "engine/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/error.h"
#include "engine/activations.h"
#include "engine/head_pass.h"
#include "engine/overflow_advice.h"

namespace tinylora {
namespace {

/// The memory of a pass. It is kept while the next batch fits, and grows when one does not, so that batches of similar
/// size allocate nothing.
struct Workspace {
  ActivationsPtr activations;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<HeadPass> head;
  std::shared_ptr<void> d_x;  // [M, C], kept passes only
  int parameters_version = 0;

  /// `sampled`: a kept pass whose layers are brought back one at a time.
  void fit(const Model& model, const Adapters& adapters, const Parameters& parameters, const PackedScore& packed,
           const ScoreBatch& batch, bool sampled);
  /// Whether what there is of a kept pass can keep this one.
  bool keeps(const Adapters& adapters, const Parameters& parameters, bool gradient_checkpointing) const;
  void clear() { *this = {}; }
  std::size_t bytes() const {
    return (activations ? activations->bytes : 0) + (cache ? cache->bytes() : 0) + (head ? head->bytes() : 0);
  }
};

void Workspace::fit(const Model& model, const Adapters& adapters, const Parameters& parameters,
                    const PackedScore& packed, const ScoreBatch& batch, bool sampled) {
  const bool keep = batch.keep;
  int rows = packed.batch.rows(), pages = packed.pages;
  if (cache && (cache->pages() < pages || activations->rows < rows)) {
    rows = std::max(rows, activations->rows);
    pages = std::max(pages, cache->pages());
  } else if (cache && (!keep || keeps(adapters, parameters, batch.gradient_checkpointing))) {
    return;
  }
  clear();  // before the new memory is asked for
  if (keep) {
    const Keeping keeping{pages, parameters.gradients().first_module, batch.gradient_checkpointing, sampled};
    activations = make_activations(model, adapters, rows, keeping);
  } else {
    activations = make_activations(model, adapters, rows);
  }
  parameters_version = parameters.version();
  head = std::make_unique<HeadPass>(model, rows, keep);
  const std::size_t row_bytes = static_cast<std::size_t>(model.config.hidden) * sizeof(float);
  if (keep) d_x = model.backend->allocate(static_cast<std::size_t>(rows) * row_bytes);
  cache = std::make_unique<KvCache>(model, pages, keep && !batch.gradient_checkpointing && !sampled);
}

bool Workspace::keeps(const Adapters& adapters, const Parameters& parameters, bool gradient_checkpointing) const {
  return activations->basis_version == adapters.basis_version() && parameters_version == parameters.version() &&
         activations->gradient_checkpointing == gradient_checkpointing;
}

/// A forward pass whose backward pass may follow.
struct KeptPass {
  ScoreBatch batch;
  PackedScore packed;
  DeviceBatch device;
  std::optional<SampledRows> sampled;  // in place of what a forward pass leaves
  std::int64_t losses;                 // of sampled sequences, by then
  std::vector<std::int32_t> slots;     // of the rows, each once
  std::vector<int> versions;           // of those slots
  int basis_version;
  int parameters_version;
};

KeptPass keep_pass(const Adapters& adapters, const Parameters& parameters, const ScoreBatch& batch, PackedScore packed,
                   DeviceBatch device, std::optional<SampledRows> sampled, const SampledSequences* sequences) {
  std::vector<std::int32_t> slots = packed.batch.adapter;
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  std::vector<int> versions;
  for (const std::int32_t slot : slots) versions.push_back(adapters.version(slot));
  return {batch,
          std::move(packed),
          std::move(device),
          std::move(sampled),
          sequences ? sequences->losses() : 0,
          std::move(slots),
          std::move(versions),
          adapters.basis_version(),
          parameters.version()};
}

void check_unchanged(const Adapters& adapters, const Parameters& parameters, const KeptPass& pass) {
  bool same = pass.basis_version == adapters.basis_version() && pass.parameters_version == parameters.version();
  for (std::size_t i = 0; same && i < pass.slots.size(); ++i) {
    same = adapters.version(pass.slots[i]) == pass.versions[i];
  }
  check(same, "ERR_ARGUMENT",
        "backward: expected the adapters and weights of the forward pass, found that they were changed since");
}

/// The first row of every part, and the row after the last one.
std::vector<std::int32_t> rows_of_parts(const KeptPass& pass, const std::vector<std::int32_t>& parts) {
  const Batch& batch = pass.packed.batch;
  check(parts.size() == pass.batch.parents.size(), "ERR_ARGUMENT", "backward: parts: expected ",
        pass.batch.parents.size(), " numbers, one a sequence, found ", parts.size());
  std::vector<std::int32_t> rows;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto next = static_cast<std::int32_t>(rows.size());
    const bool starts = parts[i] == next;
    check(starts || (i > 0 && parts[i] == next - 1), "ERR_ARGUMENT", "backward: parts: sequence ", i,
          ": expected the part of the one before or ", next, ", found ", parts[i]);
    if (starts) rows.push_back(batch.span_row[i]);
    const std::int32_t parent = pass.batch.parents[i];
    check(parent < 0 || parts[static_cast<std::size_t>(parent)] == parts[i], "ERR_ARGUMENT",
          "backward: parts: sequence ", i, ": expected the part of its parent, found ", parts[i]);
    const std::int32_t slot = batch.adapter[static_cast<std::size_t>(batch.span_row[i])];
    check(slot >= 0 && slot == batch.adapter[static_cast<std::size_t>(rows.back())], "ERR_ARGUMENT",
          "backward: parts: sequence ", i, ": expected a part to be of one adapter, found slot ", slot);
  }
  rows.push_back(batch.rows());
  return rows;
}

/// One number a token, NaN where it is not scored.
std::vector<float> spread(const std::vector<float>& values, const ScoredTokens& scored, std::size_t tokens) {
  std::vector<float> all(tokens, std::numeric_limits<float>::quiet_NaN());
  for (std::size_t i = 0; i < values.size(); ++i) all[static_cast<std::size_t>(scored.token[i])] = values[i];
  return all;
}

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

void check_finite(const HeadPass::Result& result, const ScoredTokens& scored) {
  for (std::size_t i = 0; i < result.logprobs.size(); ++i) {
    check(std::isfinite(result.logprobs[i]) && std::isfinite(result.entropies[i]), "ERR_NUMERIC", "forward: token ",
          scored.token[i], ": expected a finite log-probability and entropy, found ", result.logprobs[i], " and ",
          result.entropies[i]);
  }
}

}  // namespace

struct Trainer::State {
  Model& model;
  Adapters& adapters;
  Parameters& parameters;
  const SampledSequences* sampled_sequences;
  Workspace plain, kept, sampled;
  std::optional<KeptPass> pass;

  std::optional<SampledRows> find(const ScoreBatch& batch, const PackedScore& packed) const {
    if (!sampled_sequences) return std::nullopt;
    return sampled_sequences->find(model, adapters, batch, packed);
  }
  Workspace& workspace(const ScoreBatch& batch, const std::optional<SampledRows>& rows) {
    return !batch.keep ? plain : rows ? sampled : kept;
  }
  HeadPass::Result forward(const ScoreBatch& batch, const PackedScore& packed, DeviceBatch& device,
                           const std::optional<SampledRows>& rows, const std::atomic<bool>& abort);
};

/// `rows`: those of the batch where they were sampled, so that the layers have nothing to do.
HeadPass::Result Trainer::State::forward(const ScoreBatch& batch, const PackedScore& packed, DeviceBatch& device,
                                         const std::optional<SampledRows>& rows, const std::atomic<bool>& abort) {
  Workspace& work = workspace(batch, rows);
  try {
    work.fit(model, adapters, parameters, packed, batch, rows.has_value());
    device.upload(*model.backend, packed.batch);
    const float* x = rows ? rows->last(*work.activations)
                          : run_layers(model, adapters, device, *work.cache, *work.activations, abort);
    HeadPass::Result result = work.head->forward(x, packed.scored);
    check_finite(result, packed.scored);
    return result;
  } catch (...) {
    // What was allocated may be all that there was, and the next pass be of another kind.
    work.clear();
    throw;
  }
}

Trainer::Trainer(Model& model, Adapters& adapters, Parameters& parameters, const SampledSequences* sampled)
    : state_(new State{model, adapters, parameters, sampled, {}, {}, {}, {}}) {}
Trainer::~Trainer() = default;

ScoreResult Trainer::forward(const ScoreBatch& batch, const std::atomic<bool>& abort) {
  State& state = *state_;
  check_score_batch(state.model.config, state.adapters, batch);
  PackedScore packed = pack_score_batch(batch);
  if (batch.keep) state.pass.reset();
  std::optional<SampledRows> sampled = state.find(batch, packed);
  DeviceBatch device;
  const HeadPass::Result result = state.forward(batch, packed, device, sampled, abort);
  ScoreResult scores{.logprobs = spread(result.logprobs, packed.scored, batch.tokens.size()),
                     .entropies = spread(result.entropies, packed.scored, batch.tokens.size()),
                     .sampled = sampled.has_value()};
  if (batch.keep) {
    state.pass.emplace(keep_pass(state.adapters, state.parameters, batch, std::move(packed), std::move(device),
                                 std::move(sampled), state.sampled_sequences));
  }
  return scores;
}

std::vector<double> Trainer::backward(const std::vector<float>& d_logprobs, const std::vector<std::int32_t>& parts,
                                      const std::atomic<bool>& abort) {
  State& state = *state_;
  check(state.pass.has_value(), "ERR_ARGUMENT", "backward: expected a kept forward pass before it");
  const std::vector<std::int32_t>& tokens = state.pass->packed.scored.token;
  const auto rows = static_cast<std::size_t>(state.pass->packed.batch.rows());
  check(d_logprobs.size() == rows, "ERR_ARGUMENT", "backward: expected ", rows, " numbers, one a token, found ",
        d_logprobs.size());
  check_unchanged(state.adapters, state.parameters, *state.pass);
  const DType dtype = state.model.backend->dtype();
  const auto scale = static_cast<float>(gradient_scale(dtype));
  std::vector<float> scored;
  for (const std::int32_t token : tokens) scored.push_back(scale * d_logprobs[static_cast<std::size_t>(token)]);
  check(all_finite(scored), "ERR_NUMERIC",
        "backward: expected finite gradients of the log-probabilities, found NaN or infinity");

  std::vector<std::int32_t> part_rows;
  if (!parts.empty()) part_rows = rows_of_parts(*state.pass, parts);

  KeptPass pass = std::move(*state.pass);
  state.pass.reset();
  try {
    if (pass.sampled && pass.losses != state.sampled_sequences->losses()) {
      pass.sampled.reset();
      state.forward(pass.batch, pass.packed, pass.device, pass.sampled, abort);
    }
    Workspace& work = state.workspace(pass.batch, pass.sampled);
    std::optional<PartGradients> by_part;
    if (!parts.empty()) by_part.emplace(state.adapters, *state.model.backend, part_rows);
    auto* d_x = static_cast<float*>(work.d_x.get());
    state.model.backend->zero(d_x, rows * static_cast<std::size_t>(state.model.config.hidden) * sizeof(float));
    const ModelGradient gradient = state.parameters.gradients();
    work.head->backward(scored, gradient, d_x);
    run_layers_backward(state.model, state.adapters, gradient, by_part ? &*by_part : nullptr, pass.device, *work.cache,
                        *work.activations, pass.sampled ? &*pass.sampled : nullptr, d_x, abort);
    check(state.adapters.gradients_finite(), "ERR_NUMERIC", "backward: the gradient of the adapters is NaN or infinite",
          overflow_advice(dtype));
    return by_part ? by_part->gradients() : std::vector<double>();
  } catch (...) {
    state.adapters.zero_gradients();
    state.parameters.zero_gradients();
    throw;
  }
}

std::size_t Trainer::activation_bytes() const {
  return state_->plain.bytes() + state_->kept.bytes() + state_->sampled.bytes();
}

}  // namespace tinylora
