// native_tests [--list] [FILTER...]: runs the tests whose name contains every FILTER.
#include <cstring>
#include <span>

#include "suites.h"

int main(int count, char** arguments) {
  tinylora::test::Tests tests;
  tinylora::test::add_all(tests);
  if (count > 1 && std::strcmp(arguments[1], "--list") == 0) {
    tests.list();
    return 0;
  }
  return tests.run(std::span(arguments, static_cast<std::size_t>(count)).subspan(1));
}
