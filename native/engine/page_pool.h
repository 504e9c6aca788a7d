// Which pages of the key/value cache are free. Pages may be promised first and taken when they are needed: of memory
// that the system gives where it is touched, a completion then takes what it fills, not what it may fill.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

namespace tinylora {

class PagePool {
 public:
  explicit PagePool(int pages) : free_(static_cast<std::size_t>(pages)) { std::iota(free_.rbegin(), free_.rend(), 0); }

  /// Free and not promised.
  int available() const { return static_cast<int>(free_.size()) - promised_; }

  /// `count` is at most `available()`.
  std::vector<std::int32_t> take(int count) {
    std::vector<std::int32_t> pages(free_.rbegin(), free_.rbegin() + count);
    free_.resize(free_.size() - static_cast<std::size_t>(count));
    return pages;
  }

  /// `count` is at most `available()`. Each promise is kept by `take_promised` or ended by `forgo`.
  void promise(int count) { promised_ += count; }
  std::int32_t take_promised() {
    --promised_;
    const std::int32_t page = free_.back();
    free_.pop_back();
    return page;
  }
  void forgo(int count) { promised_ -= count; }

  void give_back(std::vector<std::int32_t>& pages) {
    free_.insert(free_.end(), pages.rbegin(), pages.rend());
    pages.clear();
  }

 private:
  std::vector<std::int32_t> free_;  // a stack: `take` begins at its end
  int promised_ = 0;
};

}  // namespace tinylora
