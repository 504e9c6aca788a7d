#include "engine/draft.h"

#include <algorithm>

namespace tinylora {
namespace {

constexpr std::size_t kLongestEnd = 3;  // tokens that are compared

/// How far back the last `end` tokens of `text` occurred last; 0 where they did not.
std::size_t distance_to_last(std::span<const std::int32_t> text, std::size_t end) {
  const auto tail = text.last(end);
  for (std::size_t distance = 1; distance + end <= text.size(); ++distance) {
    if (std::ranges::equal(text.subspan(text.size() - end - distance, end), tail)) return distance;
  }
  return 0;
}

}  // namespace

std::vector<std::int32_t> draft_tokens(std::span<const std::int32_t> prompt, std::span<const std::int32_t> tokens,
                                       int most) {
  if (most <= 0) return {};
  std::vector<std::int32_t> text(prompt.begin(), prompt.end());
  text.insert(text.end(), tokens.begin(), tokens.end());
  const std::size_t size = text.size();
  for (std::size_t end = std::min(kLongestEnd, size - 1); end > 0; --end) {
    const std::size_t distance = distance_to_last(text, end);
    if (distance == 0) continue;
    for (int i = 0; i < most; ++i) text.push_back(text[text.size() - distance]);  // what repeats goes on
    break;
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(size), text.end()};
}

}  // namespace tinylora
