// The pages that prompts fill, of the key/value cache: prompts that begin alike have those of what they share together.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "engine/page_pool.h"
#include "ops/attention.h"

namespace tinylora {

/// Keys and values of a page depend on the slot and on the tokens up to its end alone, bit for bit (row invariance), so
/// whoever has the same may read them. A page is there while a prompt has it.
class PrefixPages {
 public:
  PrefixPages(PagePool& pool, int pages) : pool_(pool), pages_(static_cast<std::size_t>(pages)) {}

  /// Pages that `take` would ask of the pool.
  int missing(int slot, std::span<const std::int32_t> prompt) const;
  /// All pages that `prompt` fills, in order. The last token stays out of what is shared: its row gives the first draw,
  /// and is computed, and stored, for each prompt.
  std::vector<std::int32_t> take(int slot, std::span<const std::int32_t> prompt);
  void give_back(std::vector<std::int32_t>& pages);

  bool computed(std::int32_t page) const { return at(page).computed; }
  void set_computed(std::int32_t page) { at(page).computed = true; }
  /// Those that no other prompt has.
  std::vector<std::int32_t> unshared(const std::vector<std::int32_t>& pages) const;

 private:
  struct Content {  // what fixes the numbers of a page
    int slot;
    std::int32_t before;  // the page before it, -1 for the first
    std::array<std::int32_t, kPageSize> tokens;
    auto operator<=>(const Content&) const = default;
  };
  using Index = std::map<Content, std::int32_t>;
  struct Page {
    int prompts = 0;  // that have it
    bool computed = false;
    Index::iterator entry{};
    bool entered = false;
  };

  /// Of the page of `prompt` that follows `pages`.
  static Content content(int slot, const std::vector<std::int32_t>& pages, std::span<const std::int32_t> prompt);
  /// The pages that are there already, from the first.
  std::vector<std::int32_t> find(int slot, std::span<const std::int32_t> prompt) const;
  Page& at(std::int32_t page) { return pages_[static_cast<std::size_t>(page)]; }
  const Page& at(std::int32_t page) const { return pages_[static_cast<std::size_t>(page)]; }

  PagePool& pool_;
  std::vector<Page> pages_;
  Index index_;
};

}  // namespace tinylora
