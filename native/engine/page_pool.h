// Which pages of the key/value cache are free.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

namespace tinylora {

class PagePool {
 public:
  explicit PagePool(int pages) : free_(static_cast<std::size_t>(pages)) { std::iota(free_.rbegin(), free_.rend(), 0); }

  int available() const { return static_cast<int>(free_.size()); }

  /// `count` is at most `available()`.
  std::vector<std::int32_t> take(int count) {
    std::vector<std::int32_t> pages(free_.rbegin(), free_.rbegin() + count);
    free_.resize(free_.size() - static_cast<std::size_t>(count));
    return pages;
  }

  void give_back(std::vector<std::int32_t>& pages) {
    free_.insert(free_.end(), pages.rbegin(), pages.rend());
    pages.clear();
  }

 private:
  std::vector<std::int32_t> free_;  // a stack: `take` begins at its end
};

}  // namespace tinylora
