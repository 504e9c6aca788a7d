// Draft tokens of a completion (speculative decoding by prompt lookup): what followed when its text last ended as it
// does now, for instance a number or a name of the prompt that is being repeated. A pass runs them behind the last
// token, and as long as the draws agree, each draft saves a pass. By row invariance a draw has the same bits in such a
// pass as in one of its own, and it depends on nothing but its position: drafts change the time, never a token. (But
// for a model that overflows: AMX multiplies the values of keys behind a row by 0, so a draft whose values are not
// finite makes its completion fail.)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tinylora {

/// At most `most` tokens that may follow `prompt` and then `tokens`; none where no end of them occurred before.
std::vector<std::int32_t> draft_tokens(std::span<const std::int32_t> prompt, std::span<const std::int32_t> tokens,
                                       int most);

}  // namespace tinylora
