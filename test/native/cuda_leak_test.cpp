// What the tests before this one left on the device: nothing. On the stand-in, which keeps count.
#include "cuda/cuda_backend.h"
#include "simulated_driver.h"
#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

void nothing_is_left(const SimulatedDriver& driver) {
  const std::string before = driver.leaks();
  expect(before.empty(), "earlier tests left ", before);
  {
    const auto backend = make_cuda_backend(DType::f32);
    const Buffer<float> kept(*backend, 4);
    const std::string held = driver.leaks();  // what a test would find that kept them
    for (const char* what :
         {"1 device allocation,", "pinned buffer", "stream", "event", "1 reference to the context"}) {
      expect(held.find(what) != std::string::npos, "expected ", what, ", found ", held);
    }
  }
  const std::string after = driver.leaks();
  expect(after.empty(), "this one left ", after);
}

}  // namespace

void add_cuda_leak_tests(Tests& tests) {
  const SimulatedDriver driver = SimulatedDriver::find();
  if (driver) tests.add("cuda: nothing is left on the device", [=] { nothing_is_left(driver); });
}

}  // namespace tinylora::test
