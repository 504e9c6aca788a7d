// The parts of the sampler, each alone: free pages, shared beginnings, drafts, stop strings.
#include <numeric>

#include "engine/draft.h"
#include "engine/page_pool.h"
#include "engine/prefix_pages.h"
#include "engine/stop_matcher.h"
#include "suites.h"

namespace tinylora::test {
namespace {

void page_pool_gives_each_page_once() {
  PagePool pool(5);
  auto first = pool.take(2);
  auto second = pool.take(3);
  expect(first == std::vector<std::int32_t>{0, 1} && second == std::vector<std::int32_t>{2, 3, 4}, "wrong pages");
  expect(pool.available() == 0 && pool.take(0).empty(), "pages out of nothing");
  pool.give_back(first);
  expect(first.empty() && pool.available() == 2, "pages were not given back");
  expect(pool.take(2) == std::vector<std::int32_t>{0, 1}, "other pages came back");
}

void promised_pages_are_kept_for_whom_they_are_promised() {
  PagePool pool(5);
  pool.promise(3);
  expect(pool.available() == 2, "promised pages are available");
  expect(pool.take_promised() == 0 && pool.available() == 2, "a promise was kept twice");
  expect(pool.take(2) == std::vector<std::int32_t>{1, 2} && pool.available() == 0, "wrong pages");
  expect(pool.take_promised() == 3, "a promised page was given away");
  pool.forgo(1);
  expect(pool.available() == 1, "a promise goes on");
}

void prefixes_are_shared_by_content() {
  PagePool pool(8);
  PrefixPages prefixes(pool, 8);
  std::vector<std::int32_t> prompt(2 * kPageSize + 5);
  std::iota(prompt.begin(), prompt.end(), 0);
  auto other = prompt, short_one = prompt, moved = prompt;
  other.back() = other[2 * kPageSize] = -1;  // after two pages
  short_one.resize(2 * kPageSize);           // its last token is the end of the second page
  moved.insert(moved.begin(), -1);

  auto first = prefixes.take(0, prompt);
  expect(first == std::vector<std::int32_t>{0, 1}, "wrong pages");
  expect(prefixes.missing(0, other) == 0 && prefixes.missing(1, other) == 2 && prefixes.missing(0, moved) == 2 &&
             prefixes.missing(0, short_one) == 1,
         "wrong pages are missing");
  auto second = prefixes.take(0, other), third = prefixes.take(0, short_one), fourth = prefixes.take(1, prompt);
  expect(second == first && third == std::vector<std::int32_t>{0, 2} && fourth == std::vector<std::int32_t>{3, 4},
         "wrong pages are shared");
  expect(prefixes.unshared(first).empty() && prefixes.unshared(third) == std::vector<std::int32_t>{2}, "wrong owners");

  expect(prefixes.kept(0, prompt), "a page that is still to be computed");
  prefixes.set_computed(0, true);
  prefixes.set_computed(1, false);
  expect(prefixes.kept(0, short_one) && !prefixes.kept(0, other), "wrong pages are kept");
  prefixes.give_back(first);
  prefixes.give_back(third);
  expect(pool.available() == 4 && prefixes.computed(0), "pages in use were given back");
  prefixes.give_back(second);
  prefixes.give_back(fourth);
  expect(pool.available() == 8 && prefixes.missing(0, prompt) == 2, "pages were not given back");
  for (const std::int32_t page : prefixes.take(0, std::vector<std::int32_t>(8 * kPageSize))) {
    expect(!prefixes.computed(page), "a new page has the old one's numbers");
  }
}

void stop_matcher_sees_matches_across_tokens() {
  const auto matches_at = [](const std::vector<std::string>& stops, const std::vector<std::string>& tokens) {
    StopMatcher matcher;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (matcher.add(tokens[i], stops)) return static_cast<int>(i);
    }
    return -1;
  };
  expect(matches_at({"end"}, {"the ", "e", "n", "d", "."}) == 3, "a match over three tokens");
  expect(matches_at({"end"}, {"the end of"}) == 0, "a match inside a token");
  expect(matches_at({"aab"}, {"a", "a", "a", "b"}) == 3, "a match that begins anew");
  expect(matches_at({"never", "b"}, {"a", "b"}) == 1, "the second string");
  expect(matches_at({"abcd", "x"}, {"a", "b", "c", "d"}) == 3, "the longer of two strings, token by token");
  expect(matches_at({"\xe2\x82\xac"}, {"\xe2", "\x82", "\xac"}) == 2, "a character in three bytes");
  expect(matches_at({"ab"}, {"a", "", "b"}) == 2, "a token without bytes between");
  expect(matches_at({"ab"}, {"a", "c", "b"}) == -1, "no match");
  expect(matches_at({}, {"a"}) == -1, "no strings");
}

void drafts_are_what_followed_before() {
  const auto drafts = [](const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& tokens, int most) {
    return draft_tokens(prompt, tokens, most);
  };
  using Tokens = std::vector<std::int32_t>;
  expect(drafts({1, 2, 3, 4}, {1, 2}, 2) == Tokens{3, 4}, "a beginning of the prompt again");
  expect(drafts({1, 2, 3, 4}, {1, 2}, 5) == Tokens{3, 4, 1, 2, 3}, "what repeats goes on");
  expect(drafts({7}, {5, 5}, 3) == Tokens{5, 5, 5}, "one token again and again");
  expect(drafts({1, 2, 9, 3, 2, 7}, {1, 2}, 1) == Tokens{9}, "the longer end decides");
  expect(drafts({2, 9, 2, 7}, {2}, 1) == Tokens{7}, "of two places the last");
  expect(drafts({1, 2, 3}, {4}, 3).empty() && drafts({1}, {}, 3).empty(), "a draft of nothing");
  expect(drafts({1, 1}, {1}, 0).empty(), "a draft that nobody wants");
}

}  // namespace

void add_engine_sampler_parts_tests(Tests& tests) {
  tests.add("sampler: page pool", page_pool_gives_each_page_once);
  tests.add("sampler: promised pages", promised_pages_are_kept_for_whom_they_are_promised);
  tests.add("sampler: prefixes", prefixes_are_shared_by_content);
  tests.add("sampler: what drafts are", drafts_are_what_followed_before);
  tests.add("sampler: stop strings", stop_matcher_sees_matches_across_tokens);
}

}  // namespace tinylora::test
