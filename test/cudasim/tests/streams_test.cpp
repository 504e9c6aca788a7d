// Streams work as late as they may: what nothing waits for has not happened, and what nothing orders comes in the wrong
// order.
#include <algorithm>
#include <string>

#include "driver/api.h"
#include "tests/check.h"

using namespace cudasim::test;

namespace {

constexpr size_t kCount = 4;

/** One of its own, which the default stream does not wait for. */
struct OwnStream {
  OwnStream() { cuStreamCreate(&handle, 1 /* CU_STREAM_NON_BLOCKING */); }
  ~OwnStream() { cuStreamDestroy_v2(handle); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  CUstream handle = nullptr;
};

struct OwnEvent {
  explicit OwnEvent(unsigned flags = 0) { cuEventCreate(&handle, flags); }
  ~OwnEvent() { cuEventDestroy_v2(handle); }
  OwnEvent(const OwnEvent&) = delete;
  OwnEvent& operator=(const OwnEvent&) = delete;
  CUevent handle = nullptr;
};

struct Pinned {
  Pinned() { cuMemAllocHost_v2(reinterpret_cast<void**>(&numbers), kCount * sizeof(int)); }
  ~Pinned() { cuMemFreeHost(numbers); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  void fill(int value) { std::fill_n(numbers, kCount, value); }
  int* numbers = nullptr;
};

Buffer ones() { return Buffer(std::vector<int>(kCount, 1)); }

int first(const Buffer& buffer) { return buffer.read<int>()[0]; }

}  // namespace

TEST("work of a stream has not happened before a wait for it") {
  const OwnStream stream;
  const Buffer x = ones();
  cuMemsetD32Async(x.address(), 5, kCount, stream.handle);
  check(first(x) == 1, "the default stream saw it");
  check(cuStreamSynchronize(stream.handle) == CUDA_SUCCESS && first(x) == 5, "it is missing after the wait");
}

TEST("the default stream waits for streams that block, and they for it") {
  CUstream stream;
  const Buffer x = ones();
  cuStreamCreate(&stream, 0);
  cuMemsetD32Async(x.address(), 5, kCount, stream);
  check(first(x) == 5, "it did not wait");
  cuStreamDestroy_v2(stream);
}

TEST("pinned memory is read when its copy comes, other memory at once") {
  const OwnStream stream;
  const Buffer x = ones(), y = ones();
  Pinned pinned;
  int pageable[kCount] = {2, 2, 2, 2};
  pinned.fill(2);
  cuMemcpyHtoDAsync_v2(x.address(), pinned.numbers, sizeof pageable, stream.handle);
  cuMemcpyHtoDAsync_v2(y.address(), pageable, sizeof pageable, stream.handle);
  pinned.fill(3);
  std::fill_n(pageable, kCount, 3);
  cuStreamSynchronize(stream.handle);
  check(first(x) == 3, "the copy was done too early");
  check(first(y) == 2, "the driver took no copy");
}

TEST("pinned memory is written when its copy comes, other memory at once") {
  const OwnStream stream;
  const Buffer x = ones();
  Pinned pinned;
  int pageable[kCount] = {};
  pinned.fill(0);
  cuMemcpyDtoHAsync_v2(pinned.numbers, x.address(), sizeof pageable, stream.handle);
  check(pinned.numbers[0] == 0, "the copy was done too early");
  cuMemcpyDtoHAsync_v2(pageable, x.address(), sizeof pageable, stream.handle);
  check(pageable[0] == 1 && pinned.numbers[0] == 1, "the second copy did not wait, or the first came after it");
}

TEST("an event brings what was before it, to the host and to another stream, and nothing behind it") {
  const OwnStream one, other;
  const OwnEvent event;
  const Buffer x = ones(), y = ones();
  cuMemsetD32Async(x.address(), 5, kCount, one.handle);
  cuEventRecord(event.handle, one.handle);
  cuMemsetD32Async(x.address(), 6, kCount, one.handle);
  cuStreamWaitEvent(other.handle, event.handle, 0);
  cuMemsetD32Async(y.address(), 7, kCount, other.handle);
  check(first(x) == 1, "the wait of the other stream was one of the host");
  cuStreamSynchronize(other.handle);
  check(first(x) == 5 && first(y) == 7, "the other stream did not wait, or for too much");

  cuEventRecord(event.handle, one.handle);
  cuMemsetD32Async(x.address(), 8, kCount, one.handle);
  cuEventSynchronize(event.handle);
  check(first(x) == 6, "the host did not wait, or for too much");
}

TEST("streams that no event orders do not see each other's work") {
  const OwnStream one, other;
  const Buffer x = ones();
  int found[kCount];
  cuMemsetD32Async(x.address(), 5, kCount, one.handle);
  cuMemcpyDtoHAsync_v2(found, x.address(), sizeof found, other.handle);
  check(found[0] == 1, "they do");
}

TEST("other streams come behind the one that the host waits for, or before it: the order's seed tells") {
  for (const unsigned seed : {0U, 1U}) {
    const OwnStream one, other;
    const Buffer x = ones();
    Pinned found;
    cudasimSetOrder(seed);
    cuMemsetD32Async(x.address(), 5, kCount, one.handle);
    cuMemcpyDtoHAsync_v2(found.numbers, x.address(), kCount * sizeof(int), other.handle);
    cuStreamSynchronize(other.handle);
    cudasimSetOrder(0);
    check(found.numbers[0] == (seed == 0 ? 1 : 5), "seed " + std::to_string(seed));
  }
}

TEST("time between events is there once both have happened, and if they were made for it") {
  const OwnStream stream;
  const OwnEvent begin, end, untimed(2 /* CU_EVENT_DISABLE_TIMING */);
  float milliseconds = -1;
  const auto elapsed = [&](const OwnEvent& to) { return cuEventElapsedTime(&milliseconds, begin.handle, to.handle); };
  check(elapsed(end) == CUDA_ERROR_INVALID_HANDLE, "they were never recorded");
  for (const OwnEvent* event : {&begin, &end, &untimed}) cuEventRecord(event->handle, stream.handle);
  check(elapsed(end) == CUDA_ERROR_NOT_READY, "they have not happened");
  cuStreamSynchronize(stream.handle);
  check(elapsed(end) == CUDA_SUCCESS && milliseconds >= 0, "they have");
  check(elapsed(untimed) == CUDA_ERROR_INVALID_HANDLE, "one has no time");
}

TEST("memory freed in a stream is gone for those that come behind, and back where more is asked for") {
  const OwnStream stream;
  CUdeviceptr memory, more;
  constexpr size_t kMost = size_t{9} << 30;  // of 16 GiB
  check(cuMemAllocAsync(&memory, kMost, stream.handle) == CUDA_SUCCESS, "there is no room");
  cuMemFreeAsync(memory, stream.handle);
  check(cuMemAllocAsync(&more, kMost, stream.handle) == CUDA_SUCCESS, "what was freed did not come back");
  check(cuMemsetD32Async(memory, 0, 1, stream.handle) == CUDA_ERROR_INVALID_VALUE, "it is still there");
  cuMemFreeAsync(more, stream.handle);
  cuStreamSynchronize(stream.handle);
}

TEST("a kernel that fails in a stream shows at the wait, and the rest of the stream is lost") {
  const Buffer x = ones();
  {
    const OwnStream stream;
    cudasimFailNext("out_of_bounds");
    CUdeviceptr address = x.address();
    int count = kCount, fix = 1;
    void* arguments[] = {&address, &count, &fix};
    check(launchOn("out_of_bounds", stream.handle, {1, 32}, arguments) == CUDA_SUCCESS, "it failed at once");
    check(cuMemsetD32Async(x.address(), 5, kCount, stream.handle) == CUDA_SUCCESS, "it failed too early");
    check(cuStreamSynchronize(stream.handle) == CUDA_ERROR_ILLEGAL_ADDRESS, "it did not fail");
    check(cuStreamSynchronize(stream.handle) == CUDA_ERROR_ILLEGAL_ADDRESS, "the context lives");
    cuDevicePrimaryCtxReset_v2(0);
  }
  check(first(x) == 1, "the stream went on");
}
