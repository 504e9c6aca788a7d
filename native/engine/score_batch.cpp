#include "engine/score_batch.h"

#include <span>

#include "core/error.h"

namespace tinylora {
namespace {

constexpr std::size_t kMaxTokens = std::size_t{1} << 24;

std::size_t sequences(const ScoreBatch& batch) { return batch.parents.size(); }

int length(const ScoreBatch& batch, std::size_t sequence) {
  return batch.starts[sequence + 1] - batch.starts[sequence];
}

/// Position of the sequence's first token: the length of its parent.
int first_position(const ScoreBatch& batch, std::size_t sequence) {
  const std::int32_t parent = batch.parents[sequence];
  return parent < 0 ? 0 : length(batch, static_cast<std::size_t>(parent));
}

void check_sizes(const ScoreBatch& batch) {
  const std::size_t count = sequences(batch);
  const auto check_size = [](const char* name, std::size_t size, std::size_t expected) {
    check(size == expected, "ERR_ARGUMENT", "score batch: ", name, ": expected ", expected, " numbers, found ", size);
  };
  check_size("starts", batch.starts.size(), count + 1);
  check_size("slots", batch.slots.size(), count);
  check_size("scored", batch.scored.size(), count);
  check_size("temperatures", batch.temperatures.size(), count);
  check(count > 0, "ERR_ARGUMENT", "score batch: expected at least one sequence");
  check(batch.tokens.size() <= kMaxTokens, "ERR_ARGUMENT", "score batch: expected at most ", kMaxTokens,
        " tokens, found ", batch.tokens.size());
  check(batch.starts.front() == 0 && batch.starts.back() == static_cast<std::int64_t>(batch.tokens.size()),
        "ERR_ARGUMENT", "score batch: starts: expected them to run from 0 to ", batch.tokens.size(), ", found ",
        batch.starts.front(), " to ", batch.starts.back());
  for (std::size_t i = 0; i < count; ++i) {
    check(batch.starts[i] < batch.starts[i + 1], "ERR_ARGUMENT", "score batch: sequence ", i,
          ": expected at least one token, found starts ", batch.starts[i], " and ", batch.starts[i + 1]);
  }
}

void check_parent(const ScoreBatch& batch, std::size_t sequence) {
  const std::int32_t parent = batch.parents[sequence];
  if (parent == -1) return;
  check(parent >= 0 && parent < static_cast<std::int64_t>(sequence), "ERR_ARGUMENT", "score batch: sequence ", sequence,
        ": parent: expected -1 or a sequence before it, found ", parent);
  const auto index = static_cast<std::size_t>(parent);
  check(batch.parents[index] == -1, "ERR_ARGUMENT", "score batch: sequence ", sequence, ": parent ", parent,
        ": expected a sequence without parent");
  check(batch.slots[index] == batch.slots[sequence], "ERR_ARGUMENT", "score batch: sequence ", sequence,
        ": slot: expected that of its parent (", batch.slots[index], "), found ", batch.slots[sequence]);
}

void check_sequence(const ModelConfig& config, const Adapters& adapters, const ScoreBatch& batch,
                    std::size_t sequence) {
  check_parent(batch, sequence);
  const std::int32_t slot = batch.slots[sequence];
  check(slot >= -1 && slot < adapters.slots(), "ERR_ARGUMENT", "score batch: sequence ", sequence, ": slot: expected ",
        expected_slots(adapters.slots()), ", found ", slot);
  const std::int64_t end = std::int64_t{first_position(batch, sequence)} + length(batch, sequence);
  check(end <= config.context, "ERR_ARGUMENT", "score batch: sequence ", sequence, ": expected at most ",
        config.context, " tokens (the context length), found ", end);
  const float temperature = batch.temperatures[sequence];
  check(temperature >= kLeastTemperature && temperature <= kMostTemperature, "ERR_ARGUMENT", "score batch: sequence ",
        sequence, ": temperature: expected ", kLeastTemperature, " to ", kMostTemperature, ", found ", temperature);
}

}  // namespace

void check_score_batch(const ModelConfig& config, const Adapters& adapters, const ScoreBatch& batch) {
  check_sizes(batch);
  for (std::size_t sequence = 0; sequence < sequences(batch); ++sequence) {
    check_sequence(config, adapters, batch, sequence);
  }
  for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
    check(batch.tokens[i] >= 0 && batch.tokens[i] < config.vocab, "ERR_ARGUMENT", "score batch: token ", i,
          ": expected an id from 0 to ", config.vocab - 1, ", found ", batch.tokens[i]);
  }
}

namespace {

/// The pages of every sequence: a child's list starts with its parent's full pages.
std::vector<std::vector<std::int32_t>> assign_pages(const ScoreBatch& batch, int& pages) {
  std::vector<std::vector<std::int32_t>> lists(sequences(batch));
  for (std::size_t sequence = 0; sequence < lists.size(); ++sequence) {
    const int first = first_position(batch, sequence);
    const int end = first + length(batch, sequence);
    std::vector<std::int32_t>& list = lists[sequence];
    if (first > 0) {
      const auto& parent = lists[static_cast<std::size_t>(batch.parents[sequence])];
      list.assign(parent.begin(), parent.begin() + first / kPageSize);
    }
    while (static_cast<int>(list.size()) * kPageSize < end) list.push_back(pages++);
  }
  return lists;
}

void append_scored(const ScoreBatch& batch, std::size_t sequence, ScoredTokens& scored) {
  const std::int32_t parent = batch.parents[sequence];
  for (std::int32_t token = batch.starts[sequence]; token < batch.starts[sequence + 1]; ++token) {
    const bool first = token == batch.starts[sequence];
    if (first && parent < 0) continue;  // nothing predicts it
    scored.token.push_back(token);
    scored.row.push_back((first ? batch.starts[static_cast<std::size_t>(parent) + 1] : token) - 1);
    scored.target.push_back(batch.tokens[static_cast<std::size_t>(token)]);
    scored.inv_temperature.push_back(1 / batch.temperatures[sequence]);
  }
}

}  // namespace

PackedScore pack_score_batch(const ScoreBatch& batch) {
  PackedScore packed;
  const auto pages = assign_pages(batch, packed.pages);
  std::vector<std::vector<std::int32_t>> copies(sequences(batch));  // of a parent: the first own page of each child
  for (std::size_t sequence = 0; sequence < sequences(batch); ++sequence) {
    const int first = first_position(batch, sequence);
    if (first % kPageSize == 0) continue;
    copies[static_cast<std::size_t>(batch.parents[sequence])].push_back(
        pages[sequence][static_cast<std::size_t>(first / kPageSize)]);
  }
  for (std::size_t sequence = 0; sequence < sequences(batch); ++sequence) {
    const auto tokens = std::span(batch.tokens)
                            .subspan(static_cast<std::size_t>(batch.starts[sequence]),
                                     static_cast<std::size_t>(length(batch, sequence)));
    append_span(packed.batch, tokens, first_position(batch, sequence), batch.slots[sequence], pages[sequence],
                copies[sequence]);
    if (batch.scored[sequence] != 0) append_scored(batch, sequence, packed.scored);
  }
  return packed;
}

}  // namespace tinylora
