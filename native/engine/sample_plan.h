// What the next pass of the sampler computes, and for whom.
#pragma once

#include <list>
#include <vector>

#include "engine/prefix_pages.h"
#include "engine/sample_group.h"
#include "engine/sample_pass.h"

namespace tinylora {

/// Most rows of prompts in one pass: bounds the activations and the time of a step.
inline constexpr int kPrefillRows = 512;

struct SamplePlan {
  /// Whom a draw is for. It counts where the completion has `tokens` tokens by then, `last` being the last of them (-1
  /// for none): behind a draft, if the draw before agreed with it.
  struct Target {
    SampleGroup* group;
    int completion;
    std::size_t tokens;
    std::int32_t last;
  };
  Batch batch;
  std::vector<std::int32_t> prompt_pages;  // pages of prompts that the pass completes
  std::vector<Draw> draws;
  std::vector<Target> targets;  // of the draws
};

/// The last token of every running completion with at most `drafts` drafts behind it, for which it has pages, then as
/// much of the prompts of the starting ones as fits.
SamplePlan plan_pass(std::list<SampleGroup>& groups, const PrefixPages& prefixes, int drafts);

}  // namespace tinylora
