#include "engine/sample_plan.h"

#include <algorithm>
#include <span>

#include "engine/draft.h"

namespace tinylora {
namespace {

/// Of the token that follows the completion's `tokens` first ones, `last` being the last of these.
void add_draw(SamplePlan& plan, SampleGroup& group, int index, std::int32_t row, std::size_t tokens,
              std::int32_t last) {
  const SampleRequest& request = group.request;
  plan.draws.push_back({.row = row,
                        .how = {.temperature = request.temperature,
                                .top_k = request.top_k,
                                .top_p = request.top_p,
                                .min_p = request.min_p,
                                .seed = request.seed,
                                .sequence = request.first_sequence + static_cast<std::uint64_t>(index),
                                .position = static_cast<std::uint32_t>(request.prompt.size() + tokens)}});
  plan.targets.push_back({&group, index, tokens, last});
}

void add_decode(SamplePlan& plan, SampleGroup& group, int index, int drafts) {
  const SampleRequest& request = group.request;
  const Completion& completion = group.completions[static_cast<std::size_t>(index)];
  const auto drawn = static_cast<int>(completion.tokens.size());
  std::vector<std::int32_t> tokens = draft_tokens(request.prompt, completion.tokens, group.most_drafts(drawn, drafts));
  tokens.insert(tokens.begin(), completion.tokens.back());
  std::vector<std::int32_t> pages = group.prompt_pages;
  pages.insert(pages.end(), completion.pages.begin(), completion.pages.end());
  const std::int32_t first_row = plan.batch.rows();
  append_span(plan.batch, tokens, group.prompt_length() + drawn - 1, request.slot, pages);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    add_draw(plan, group, index, first_row + static_cast<std::int32_t>(i), completion.tokens.size() + i, tokens[i]);
  }
}

/// The position at which the prefill of a prompt goes on: after the pages that are computed already, or will be in this
/// pass for a prompt before it. The rows of a partly filled page are computed again for completions that start later,
/// with the same bits; so is the last row of the prompt, which gives the first token.
int prefill_begin(const SamplePlan& plan, const SampleGroup& group, const PrefixPages& prefixes) {
  const auto is_missing = [&](std::int32_t page) {
    return !prefixes.computed(page) && std::ranges::find(plan.prompt_pages, page) == plan.prompt_pages.end();
  };
  const auto computed = std::ranges::find_if(group.prompt_pages, is_missing) - group.prompt_pages.begin();
  return std::min(static_cast<int>(computed) * kPageSize, group.prompt_length() - 1);
}

/// Appends the next piece of a prompt, at most `rows` rows. The end of the prompt draws the first token of all starting
/// completions.
void add_prefill(SamplePlan& plan, SampleGroup& group, const PrefixPages& prefixes, int rows) {
  const int begin = prefill_begin(plan, group, prefixes);
  const int length = group.prompt_length();
  const bool last = length - begin <= rows;
  // Whole pages but for the end: only the rows of the last, partly filled page are stored in more than one place.
  const int end = last ? length : (begin + rows) / kPageSize * kPageSize;
  if (end <= begin) return;
  std::vector<int> starting;
  for (int index = 0; index < static_cast<int>(group.completions.size()); ++index) {
    if (group.completions[static_cast<std::size_t>(index)].state == Completion::starting) starting.push_back(index);
  }
  std::vector<std::int32_t> pages = group.prompt_pages;
  std::vector<std::int32_t> copies;
  if (last && length % kPageSize != 0) {  // the rest of the prompt goes to each completion's first page
    for (const int index : starting) {
      const std::int32_t page = group.completions[static_cast<std::size_t>(index)].pages.front();
      (index == starting.front() ? pages : copies).push_back(page);
    }
  }
  const auto tokens =
      std::span(group.request.prompt).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  append_span(plan.batch, tokens, begin, group.request.slot, pages, copies);
  for (int page = begin / kPageSize; page < end / kPageSize; ++page) {
    plan.prompt_pages.push_back(group.prompt_pages[static_cast<std::size_t>(page)]);
  }
  if (!last) return;
  for (const int index : starting) add_draw(plan, group, index, plan.batch.rows() - 1, 0, -1);
}

}  // namespace

SamplePlan plan_pass(std::list<SampleGroup>& groups, const PrefixPages& prefixes, int drafts) {
  SamplePlan plan;
  for (SampleGroup& group : groups) {
    for (int index = 0; index < static_cast<int>(group.completions.size()); ++index) {
      if (group.completions[static_cast<std::size_t>(index)].state == Completion::running)
        add_decode(plan, group, index, drafts);
    }
  }
  int left = kPrefillRows;
  for (SampleGroup& group : groups) {
    const auto starting = [](const Completion& completion) { return completion.state == Completion::starting; };
    if (std::none_of(group.completions.begin(), group.completions.end(), starting)) continue;
    const int before = plan.batch.rows();
    add_prefill(plan, group, prefixes, left);
    left -= plan.batch.rows() - before;
  }
  return plan;
}

}  // namespace tinylora
