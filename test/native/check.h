// The harness of the native tests: named tests, a filter, one line a test.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <functional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tinylora::test {

/// Ends the running test when the condition does not hold; the parts are joined into the reason.
template <typename... Parts>
void expect(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream reason;
  (reason << ... << parts);
  throw std::runtime_error(reason.str());
}

/// What the process prints if the running test does not end: a kernel that waits for ever would be waited for.
inline std::string& epitaph() {
  static std::string line;
  return line;
}

/// The largest share of a tolerance that a comparison of the running test has used; reported beside its name.
inline double& share_used() {
  static double share = 0;
  return share;
}

class Tests {
 public:
  void add(std::string name, std::function<void()> body) { tests_.push_back({std::move(name), std::move(body)}); }

  void list() const {
    for (const auto& test : tests_) std::printf("%s\n", test.name.c_str());
  }

  /// Runs the tests whose name contains every filter; prints `ok NAME` or `FAILED NAME: reason`. Returns the exit code.
  /// A test that takes more than kMostSeconds ends the process.
  int run(std::span<const char* const> filters) const {
    int passed = 0, failed = 0;
    std::signal(SIGALRM, end_of_patience);
    for (const auto& test : tests_) {
      const auto holds = [&](const char* filter) { return test.name.find(filter) != std::string::npos; };
      if (!std::all_of(filters.begin(), filters.end(), holds)) continue;
      const auto start = std::chrono::steady_clock::now();
      const auto cpu = std::clock();
      share_used() = 0;
      epitaph() = "FAILED " + test.name + ":\tnot done after " + std::to_string(kMostSeconds) + " s\n";
      alarm(kMostSeconds);
      const std::string reason = outcome(test);
      alarm(0);
      if (reason.empty()) {
        ++passed;
        std::printf("ok %s\t%.0f ms, %.0f of CPU", test.name.c_str(), milliseconds_since(start),
                    1000.0 * static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC);
        if (share_used() > 0) std::printf(", %.0f %% of the tolerance", 100 * share_used());
        std::printf("\n");
      } else {
        ++failed;
        std::printf("FAILED %s:\t%s\n", test.name.c_str(), reason.c_str());
      }
      std::fflush(stdout);
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
  }

 private:
  static constexpr unsigned kMostSeconds = 600;

  struct Test {
    std::string name;
    std::function<void()> body;
  };

  static std::string outcome(const Test& test) {
    try {
      test.body();
      return "";
    } catch (const std::exception& error) {
      return std::string(error.what()).empty() ? "failed without a reason" : error.what();
    }
  }

  static void end_of_patience(int) {
    if (write(STDOUT_FILENO, epitaph().data(), epitaph().size()) < 0) _exit(2);
    _exit(1);
  }

  static double milliseconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

  std::vector<Test> tests_;
};

}  // namespace tinylora::test
