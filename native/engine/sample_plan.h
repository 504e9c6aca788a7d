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
  struct Target {
    SampleGroup* group;
    int completion;
  };
  Batch batch;
  std::vector<std::int32_t> prompt_pages;  // pages of prompts that the pass completes
  std::vector<Draw> draws;
  std::vector<Target> targets;  // of the draws
};

/// One row for every running completion, then as much of the prompts of the starting ones as fits.
SamplePlan plan_pass(std::list<SampleGroup>& groups, const PrefixPages& prefixes);

}  // namespace tinylora
