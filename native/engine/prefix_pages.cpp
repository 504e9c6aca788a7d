#include "engine/prefix_pages.h"

#include <algorithm>
#include <iterator>

namespace tinylora {
namespace {

std::size_t full_pages(std::span<const std::int32_t> prompt) { return prompt.size() / kPageSize; }

}  // namespace

int PrefixPages::missing(int slot, std::span<const std::int32_t> prompt) const {
  return static_cast<int>(full_pages(prompt) - find(slot, prompt).size());
}

std::vector<std::int32_t> PrefixPages::take(int slot, std::span<const std::int32_t> prompt) {
  std::vector<std::int32_t> pages = find(slot, prompt);
  for (const std::int32_t page : pages) ++at(page).prompts;
  for (const std::int32_t page : pool_.take(static_cast<int>(full_pages(prompt) - pages.size()))) {
    const auto [entry, entered] = index_.emplace(content(slot, pages, prompt), page);
    at(page) = {.prompts = 1, .computed = false, .kept = false, .entry = entry, .entered = entered};
    pages.push_back(page);
  }
  return pages;
}

void PrefixPages::give_back(std::vector<std::int32_t>& pages) {
  std::vector<std::int32_t> free;
  for (const std::int32_t page : pages) {
    Page& one = at(page);
    if (--one.prompts > 0) continue;
    if (one.entered) index_.erase(one.entry);
    free.push_back(page);
  }
  pool_.give_back(free);
  pages.clear();
}

bool PrefixPages::kept(int slot, std::span<const std::int32_t> prompt) const {
  return std::ranges::all_of(find(slot, prompt), [&](std::int32_t p) { return at(p).kept || !at(p).computed; });
}

std::vector<std::int32_t> PrefixPages::unshared(const std::vector<std::int32_t>& pages) const {
  std::vector<std::int32_t> own;
  std::copy_if(pages.begin(), pages.end(), std::back_inserter(own), [&](std::int32_t p) { return at(p).prompts == 1; });
  return own;
}

std::vector<std::int32_t> PrefixPages::find(int slot, std::span<const std::int32_t> prompt) const {
  std::vector<std::int32_t> pages;
  while (pages.size() < full_pages(prompt.first(prompt.size() - 1))) {
    const auto entry = index_.find(content(slot, pages, prompt));
    if (entry == index_.end()) break;
    pages.push_back(entry->second);
  }
  return pages;
}

PrefixPages::Content PrefixPages::content(int slot, const std::vector<std::int32_t>& pages,
                                          std::span<const std::int32_t> prompt) {
  Content content{.slot = slot, .before = pages.empty() ? -1 : pages.back(), .tokens = {}};
  std::ranges::copy(prompt.subspan(pages.size() * kPageSize, kPageSize), content.tokens.begin());
  return content;
}

}  // namespace tinylora
