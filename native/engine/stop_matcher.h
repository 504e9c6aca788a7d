// Watches the text of a completion for stop strings, also across the borders of tokens.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace tinylora {

class StopMatcher {
 public:
  /// True when the text so far, with `bytes` behind it, contains one of the strings for the first time.
  bool add(std::string_view bytes, const std::vector<std::string>& stops) {
    if (stops.empty()) return false;
    tail_ += bytes;
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (tail_.find(stop) != std::string::npos) return true;
      longest = std::max(longest, stop.size());
    }
    if (tail_.size() >= longest) tail_.erase(0, tail_.size() - longest + 1);
    return false;
  }

 private:
  std::string tail_;  // what a match that is yet to end may begin with
};

}  // namespace tinylora
