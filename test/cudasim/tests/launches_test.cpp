// How launches run: few blocks that stand for all, captures and graphs, counts, a fault where it is told.
#include <functional>
#include <thread>

#include "driver/api.h"
#include "tests/check.h"

using namespace cudasim::test;

namespace {

constexpr unsigned kAcross = 9, kDown = 7;

/** For as long as it lives a few blocks stand for all. */
struct Sampling {
  explicit Sampling(uint32_t blocks, const char* dry = "") { cudasimSetSample(blocks, dry); }
  ~Sampling() { cudasimSetSample(0, ""); }
};

uint64_t executed(const std::string& kernel, const std::function<void()>& body) {
  cudasimCountersReset();
  body();
  return counter(kernel, "executed");
}

}  // namespace

TEST("of each axis the middle block and the last run, and counters are those of all") {
  const Buffer number(std::vector<unsigned>(kAcross * kDown));
  const auto launched = [&] { run("block_numbers", {kAcross, 64, 0, kDown}, number.address()); };
  uint64_t few;
  {
    const Sampling sampling(1);
    few = executed("block_numbers", launched);
  }
  const auto found = number.read<unsigned>();
  for (unsigned block = 0; block < kAcross * kDown; ++block) {
    const unsigned x = block % kAcross, y = block / kAcross;
    const bool runs = (x == (kAcross - 1) / 2 || x == kAcross - 1) && (y == (kDown - 1) / 2 || y == kDown - 1);
    check(found[block] == (runs ? block + 1 : 0), "block " + std::to_string(block));
  }
  check(few == executed("block_numbers", launched), "other counters than those of all blocks");
}

TEST("a kernel that is to leave nothing is counted and writes nothing, where few blocks stand for all") {
  const auto launched = [](const Buffer& number) { run("block_numbers", {kAcross, 64, 0, kDown}, number.address()); };
  const auto all = executed("block_numbers", [&] { launched(Buffer(std::vector<unsigned>(kAcross * kDown))); });
  for (const char* others : {"", "block_numbers_", ",lock", "other,"}) {
    const Buffer number(std::vector<unsigned>(kAcross * kDown));
    const Sampling sampling(1, others);
    launched(number);
    check(number.read<unsigned>().back() == kAcross * kDown, std::string("nothing was written with ") + others);
  }
  const Buffer number(std::vector<unsigned>(kAcross * kDown));
  const Sampling sampling(1, "other,block");
  check(executed("block_numbers", [&] { launched(number); }) == all, "other counters");
  for (const unsigned one : number.read<unsigned>()) check(one == 0, "it wrote");
}

TEST("a kernel with atomics in global memory runs whole where few blocks stand for all") {
  const Buffer number(std::vector<unsigned>(kAcross * kDown)), arrived(std::vector<unsigned>(1));
  const auto launched = [&] {
    run("counted_block_numbers", {kAcross, 64, 0, kDown}, number.address(), arrived.address());
  };
  uint64_t sampled;
  {
    const Sampling sampling(1);
    sampled = executed("counted_block_numbers", launched);
  }
  check(arrived.read<unsigned>()[0] == kAcross * kDown, "blocks were left out");
  const auto found = number.read<unsigned>();
  for (unsigned block = 0; block < kAcross * kDown; ++block) {
    check(found[block] == block + 1, "block " + std::to_string(block));
  }
  check(sampled == executed("counted_block_numbers", launched), "other counters than those of all blocks");
}

TEST("a captured graph runs when launched, each time") {
  CUstream stream;
  CUgraph graph;
  CUgraphExec executable;
  const Buffer x(std::vector<int>(4, 1));
  cuStreamCreate(&stream, 0);
  check(cuStreamBeginCapture_v2(stream, 0) == CUDA_SUCCESS, "capture");
  cuMemsetD32Async(x.address(), 5, 4, stream);
  check(cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS, "end of capture");
  check(x.read<int>()[0] == 1, "it ran while it was captured");
  check(cuGraphInstantiateWithFlags(&executable, graph, 0) == CUDA_SUCCESS, "instantiation");
  check(cuGraphLaunch(executable, stream) == CUDA_SUCCESS, "launch");
  check(x.read<int>()[3] == 5, "it did not run");
  cuGraphExecDestroy(executable);
  cuGraphDestroy(graph);
  cuStreamDestroy_v2(stream);
}

TEST("what waits or takes memory is refused while a stream captures, and the capture is lost") {
  CUstream stream;
  CUgraph graph;
  CUdeviceptr memory;
  void* pinned;
  const Buffer x(std::vector<int>(4, 1));
  int copy[4] = {};
  cuStreamCreate(&stream, 0);
  const std::pair<const char*, std::function<CUresult()>> calls[] = {
      {"cuMemAlloc", [&] { return cuMemAlloc_v2(&memory, 64); }},
      {"cuMemAllocAsync", [&] { return cuMemAllocAsync(&memory, 64, stream); }},
      {"cuMemFreeAsync", [&] { return cuMemFreeAsync(x.address(), stream); }},
      {"cuMemHostAlloc", [&] { return cuMemAllocHost_v2(&pinned, 64); }},
      {"cuMemcpyHtoD", [&] { return cuMemcpyHtoD_v2(x.address(), copy, sizeof copy); }},
      {"cuMemcpyDtoH", [&] { return cuMemcpyDtoH_v2(copy, x.address(), sizeof copy); }},
      {"cuStreamSynchronize", [&] { return cuStreamSynchronize(stream); }},
      {"cuCtxSynchronize", [] { return cuCtxSynchronize(); }},
  };
  for (const auto& [name, call] : calls) {
    check(cuStreamBeginCapture_v2(stream, 1) == CUDA_SUCCESS, "capture");
    caught(call(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, std::string(name) + " while a stream captures");
    check(cuStreamEndCapture(stream, &graph) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "a lost capture ended well");
  }
  check(cuStreamSynchronize(stream) == CUDA_SUCCESS, "the stream still captures");
  cuStreamDestroy_v2(stream);
}

TEST("another thread may wait and take memory while a stream captures for its own thread, and not while for all") {
  CUstream stream;
  CUgraph graph;
  cuStreamCreate(&stream, 0);
  for (const int mode : {0 /* global */, 1 /* thread local */, 2 /* relaxed */}) {
    check(cuStreamBeginCapture_v2(stream, mode) == CUDA_SUCCESS, "capture");
    CUresult taken, waited;
    std::thread([&] {
      CUcontext context;
      CUdeviceptr memory;
      cuDevicePrimaryCtxRetain(&context, 0);
      cuCtxSetCurrent(context);
      taken = cuMemAlloc_v2(&memory, 64);
      if (taken == CUDA_SUCCESS) cuMemFree_v2(memory);
      waited = mode == 0 ? taken : cuStreamSynchronize(stream);  // of the capture itself: never
      cuDevicePrimaryCtxRelease_v2(0);
    }).join();
    const std::string which = " in mode " + std::to_string(mode);
    check(taken == (mode == 0 ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS), "memory" + which);
    check(waited == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream was waited for" + which);
    check(cuStreamEndCapture(stream, &graph) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "it ended well" + which);
  }
  cuStreamDestroy_v2(stream);
}

TEST("launches and graphs are counted, and a launch fails where it is told to") {
  CUstream stream;
  CUgraph graph;
  CUgraphExec executable;
  const Buffer x(100 * 4);
  CUdeviceptr address = x.address();
  cudasimCountersReset();
  run("out_of_bounds", {4, 32}, address, 100, 1);
  cuStreamCreate(&stream, 0);
  cuStreamBeginCapture_v2(stream, 1);
  cuMemsetD32Async(address, 5, 4, stream);
  cuStreamEndCapture(stream, &graph);
  cuGraphInstantiateWithFlags(&executable, graph, 0);
  for (int i = 0; i < 3; ++i) cuGraphLaunch(executable, stream);
  check(cudasimLaunches() == 1 && cudasimGraphLaunches() == 3, "other counts");
  cuGraphExecDestroy(executable);
  cuGraphDestroy(graph);
  cuStreamDestroy_v2(stream);
  cudasimFailNext("out_of_bounds");
  check(launch("out_of_bounds", {4, 32}, address, 100, 1) == CUDA_ERROR_ILLEGAL_ADDRESS, "it did not fail");
  run("out_of_bounds", {4, 32}, address, 100, 1);
}
