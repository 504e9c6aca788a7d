// Tests by name, and what they need: a module, buffers on the device, launches that must or must not fail.
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "driver/cuda.h"

namespace cudasim::test {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Test {
  std::string name;
  std::function<void()> body;
};
std::vector<Test>& tests();

struct Register {
  Register(const char* name, std::function<void()> body) { tests().push_back({name, std::move(body)}); }
};

#define CUDASIM_JOIN_(a, b) a##b
#define CUDASIM_JOIN(a, b) CUDASIM_JOIN_(a, b)
/** TEST("name") { ... } */
#define TEST(name)                                                                                            \
  static void CUDASIM_JOIN(test_, __LINE__)();                                                                \
  static const ::cudasim::test::Register CUDASIM_JOIN(entry_, __LINE__)(name, CUDASIM_JOIN(test_, __LINE__)); \
  static void CUDASIM_JOIN(test_, __LINE__)()

void check(bool holds, const std::string& what);

/** Memory on the device, freed at the end of the scope. */
class Buffer {
 public:
  explicit Buffer(size_t bytes);
  template <class T>
  explicit Buffer(const std::vector<T>& from) : Buffer(from.size() * sizeof(T)) {
    write(from.data());
  }
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  CUdeviceptr address() const { return address_; }
  template <class T>
  std::vector<T> read() const {
    std::vector<T> to(bytes_ / sizeof(T));
    readInto(to.data());
    return to;
  }

 private:
  void write(const void* from);
  void readInto(void* to) const;
  CUdeviceptr address_ = 0;
  size_t bytes_;
};

struct Shape {
  unsigned grid, block, shared = 0;
  unsigned gridY = 1;
};

/** Of any of the folder's modules. */
CUfunction function(const std::string& name);

/** Leaves a launch with a stream. */
CUresult launchOn(const std::string& kernel, CUstream stream, Shape shape, void** arguments);

/** The error that the launch ends with. Arguments: addresses, numbers. */
CUresult launchRaw(const std::string& kernel, Shape shape, std::vector<void*> arguments);

template <class... A>
CUresult launch(const std::string& kernel, Shape shape, A... arguments) {
  return launchRaw(kernel, shape, {static_cast<void*>(&arguments)...});
}

/** Runs clean. */
template <class... A>
void run(const std::string& kernel, Shape shape, A... arguments) {
  const CUresult result = launch(kernel, shape, arguments...);
  check(result == CUDA_SUCCESS, kernel + " ended with error " + std::to_string(result));
}

/** Ends with the error, and a report that holds the text. */
void caught(CUresult result, CUresult expected, const std::string& text);

/** A number out of the counters of a kernel: "mma", "wavefronts". */
uint64_t counter(const std::string& kernel, const std::string& name);

/** Numbers that look random and are the same each time. */
std::vector<float> numbers(size_t count, uint32_t seed);

}  // namespace cudasim::test
