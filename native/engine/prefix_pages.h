// The pages of the key/value cache that prompts fill. Prompts of one slot that begin with the same tokens share the
// pages of what they have in common.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "engine/page_pool.h"
#include "ops/attention.h"

namespace tinylora {

/// Keys and values of a page depend only on the slot and on the tokens up to the page's end, bit for bit (row
/// invariance), so every prompt with the same slot and tokens may read them. A page is freed when no prompt has it.
class PrefixPages {
 public:
  PrefixPages(PagePool& pool, int pages) : pool_(pool), pages_(static_cast<std::size_t>(pages)) {}

  /// How many pages `take` would take from the pool.
  int missing(int slot, std::span<const std::int32_t> prompt) const;
  /// All pages that `prompt` fills, in order. A page that ends with the prompt's last token is never shared: the row of
  /// that token gives the first draw, so it is computed and stored for each prompt.
  std::vector<std::int32_t> take(int slot, std::span<const std::int32_t> prompt);
  void give_back(std::vector<std::int32_t>& pages);

  bool computed(std::int32_t page) const { return at(page).computed; }
  /// `kept`: so were the activations of its rows.
  void set_computed(std::int32_t page, bool kept) {
    at(page).computed = true;
    at(page).kept = kept;
  }
  /// Whether the activations of all computed pages that `take` would share are kept.
  bool kept(int slot, std::span<const std::int32_t> prompt) const;
  /// Those of `pages` that only one prompt has.
  std::vector<std::int32_t> unshared(const std::vector<std::int32_t>& pages) const;

 private:
  struct Content {  // what determines the numbers of a page
    int slot;
    std::int32_t before;  // the page before it, -1 for the first
    std::array<std::int32_t, kPageSize> tokens;
    auto operator<=>(const Content&) const = default;
  };
  using Index = std::map<Content, std::int32_t>;
  struct Page {
    int prompts = 0;  // number of prompts that have it
    bool computed = false, kept = false;
    Index::iterator entry{};
    bool entered = false;  // whether `entry` is its entry; false where another page has the same content
  };

  /// Content of the page of `prompt` that follows `pages`.
  static Content content(int slot, const std::vector<std::int32_t>& pages, std::span<const std::int32_t> prompt);
  /// The leading pages of `prompt` that other prompts have already.
  std::vector<std::int32_t> find(int slot, std::span<const std::int32_t> prompt) const;
  Page& at(std::int32_t page) { return pages_[static_cast<std::size_t>(page)]; }
  const Page& at(std::int32_t page) const { return pages_[static_cast<std::size_t>(page)]; }

  PagePool& pool_;
  std::vector<Page> pages_;
  Index index_;
};

}  // namespace tinylora
