// Whose the pages of the sampler's cache are: those of prompts, which they share, those of completions, and those that
// hold what was sampled (sampled_sequences.h) until others need them.
#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "engine/page_pool.h"
#include "engine/prefix_pages.h"
#include "engine/sample_group.h"
#include "engine/sample_pass.h"
#include "engine/sampled_sequences.h"

namespace tinylora {

class SamplePages {
 public:
  /// `pages` of the cache, for at most `max_sequences` completions at a time.
  SamplePages(const Adapters& adapters, int max_sequences, int pages);

  /// The first waiting completions start, as long as there are places and pages for all tokens that they may have. In
  /// strict order: no request may overtake one that does not fit, which could then wait for ever.
  void admit(std::list<SampleGroup>& groups);
  /// For what the next pass stores, with `drafts` drafts behind each running completion.
  void take(std::list<SampleGroup>& groups, int drafts);
  /// The completion ends, whose numbers are finite; its pages stay its own where it is kept.
  void release(SampleGroup& group, Completion& completion);
  /// All completions of the group end, and nobody knows what their pages hold.
  void discard(SampleGroup& group);
  /// Nobody knows what those pages of its prompt hold that no other prompt has.
  void spoil_prompt(const SampleGroup& group);
  /// Zeroes pages that may hold NaN: to be called before a pass.
  void clear_spoiled(SamplePass& pass);

  PrefixPages& prefixes() { return prefixes_; }
  SampledSequences& sampled() { return sampled_; }
  int count() const { return pages_; }

 private:
  bool make_room(const SampleGroup& group, int own, std::list<SampleGroup>& groups);
  bool can_keep(const SampleRequest& request) const;
  void spoil(const std::vector<std::int32_t>& pages);

  const Adapters& adapters_;
  int max_sequences_;
  int pages_;
  PagePool pool_{pages_};
  PrefixPages prefixes_{pool_, pages_};
  SampledSequences sampled_{pool_, prefixes_};
  int active_ = 0;                     // number of starting and running completions
  std::vector<std::int32_t> spoiled_;  // pages that may hold NaN
};

}  // namespace tinylora
