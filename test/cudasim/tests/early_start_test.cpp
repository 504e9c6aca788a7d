// Programmatic dependent launch: launches that may begin before the one before them is done.
#include "driver/api.h"
#include "tests/check.h"

using namespace cudasim::test;

namespace {

constexpr unsigned kBlocks = 3, kThreads = 64, kNumbers = kBlocks * kThreads;

/** Leaves a launch with the default stream that need not wait for the one before. */
template <class... A>
CUresult launchEarly(const std::string& kernel, A... arguments) {
  void* all[] = {static_cast<void*>(&arguments)...};
  CUlaunchAttribute early{};
  early.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  early.value.programmaticStreamSerializationAllowed = 1;
  const CUlaunchConfig config{kBlocks, 1, 1, kThreads, 1, 1, 0, nullptr, &early, 1};
  const CUresult started = cuLaunchKernelEx(&config, function(kernel), all, nullptr);
  return started != CUDA_SUCCESS ? started : cuCtxSynchronize();
}

template <class... A>
void caughtEarly(const std::string& report, const std::string& kernel, A... arguments) {
  const CUresult result = launchEarly(kernel, arguments...);
  cuDevicePrimaryCtxReset_v2(0);
  caught(result, CUDA_ERROR_LAUNCH_FAILED, report);
}

/** What a launch has just written that has no other after it. */
struct Written {
  Buffer x{std::vector<float>(kNumbers, 1)}, y{kNumbers * 4};
  Written() { run("adds_one", {kBlocks, kThreads}, x.address(), y.address(), 0); }
};

}  // namespace

TEST("a launch that waits for the one before has its numbers") {
  const Written before;
  const Buffer z(kNumbers * 4);
  check(launchEarly("adds_one", before.y.address(), z.address(), 0) == CUDA_SUCCESS, cudasimLastReport());
  check(z.read<float>() == std::vector<float>(kNumbers, 3), "other numbers");
}

TEST("a read before the wait of what the launch before wrote") {
  const Written before;
  const Buffer z(kNumbers * 4);
  caughtEarly("a read of what the launch before wrote without griddepcontrol.wait", "adds_one", before.y.address(),
              z.address(), 1);
}

TEST("a read before the wait of what no launch wrote") {
  const Written before;
  const Buffer z(kNumbers * 4);
  check(launchEarly("adds_fixed", before.x.address(), before.y.address(), z.address()) == CUDA_SUCCESS,
        cudasimLastReport());
  check(z.read<float>() == std::vector<float>(kNumbers, 3), "other numbers");
}

TEST("a read after the wait of what the launch before wrote, through the read-only path") {
  const Written before;
  const Buffer z(kNumbers * 4);
  caughtEarly("a read of what the launch before wrote, through the read-only path", "adds_one", before.y.address(),
              z.address(), 5);
}

TEST("a read through the read-only path of what no launch wrote") {
  const Written before;
  const Buffer z(kNumbers * 4);
  check(launchEarly("adds_one", before.x.address(), z.address(), 5) == CUDA_SUCCESS, cudasimLastReport());
  check(z.read<float>() == std::vector<float>(kNumbers, 2), "other numbers");
}

TEST("a write before the wait") {
  const Buffer x(std::vector<float>(kNumbers, 1)), z(kNumbers * 4);
  caughtEarly("a write without griddepcontrol.wait", "adds_one", x.address(), z.address(), 2);
}

TEST("the next launch let come before the wait") {
  const Buffer x(std::vector<float>(kNumbers, 1)), z(kNumbers * 4);
  caughtEarly("griddepcontrol.launch_dependents before griddepcontrol.wait", "adds_one", x.address(), z.address(), 3);
}

TEST("a block that never waits") {
  const Buffer x(std::vector<float>(kNumbers, 1)), z(kNumbers * 4);
  caughtEarly("a block ended without griddepcontrol.wait", "adds_one", x.address(), z.address(), 4);
}

TEST("one thread that waits, and one that does not") {
  const Buffer x(std::vector<float>(kNumbers, 1)), z(kNumbers * 4);
  check(launchEarly("one_waits", x.address(), z.address(), 0) == CUDA_SUCCESS, cudasimLastReport());
  caughtEarly("a write without griddepcontrol.wait", "one_waits", x.address(), z.address(), 1);
}

TEST("an ordinary launch need not wait") {
  const Buffer x(std::vector<float>(kNumbers, 1)), z(kNumbers * 4);
  for (const int early : {1, 2, 3, 4}) run("adds_one", {kBlocks, kThreads}, x.address(), z.address(), early);
}
