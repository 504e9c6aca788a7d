// cudasim_tests <folder of PTX> [--list]: one line a test, "ok NAME" or "FAILED NAME: why". With --leak instead: no
// test, and memory, a module and the context are left behind. With --shared: the bytes of shared memory of a block.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "driver/api.h"
#include "tests/check.h"

namespace cudasim::test {
namespace {

std::string folder;

std::string text(const std::string& name) {
  std::ifstream in(folder + "/" + name + ".ptx");
  if (!in) throw Failure("no " + name + ".ptx");
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

void expectSuccess(CUresult result, const char* what) {
  check(result == CUDA_SUCCESS, std::string(what) + " returned " + std::to_string(result));
}

void setUp() {
  setenv("CUDASIM_ARCH", "90", 0);  // runs the kernels of sm_80 too
  expectSuccess(cuInit(0), "cuInit");
  CUcontext context;
  expectSuccess(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
  expectSuccess(cuCtxSetCurrent(context), "cuCtxSetCurrent");
}

std::map<std::string, CUmodule> modules;

}  // namespace

std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

void check(bool holds, const std::string& what) {
  if (!holds) throw Failure(what);
}

Buffer::Buffer(size_t bytes) : bytes_(bytes) { expectSuccess(cuMemAlloc_v2(&address_, bytes), "cuMemAlloc"); }
Buffer::~Buffer() { cuMemFree_v2(address_); }
void Buffer::write(const void* from) { expectSuccess(cuMemcpyHtoD_v2(address_, from, bytes_), "cuMemcpyHtoD"); }
void Buffer::readInto(void* to) const { expectSuccess(cuMemcpyDtoH_v2(to, address_, bytes_), "cuMemcpyDtoH"); }

CUfunction function(const std::string& name) {
  for (const char* file : {"basic", "gemm", "mistakes", "bulk_copy_sm90", "wgmma_sm90", "cluster_sm90", "early_sm90"}) {
    CUmodule& module = modules[file];
    if (module == nullptr) expectSuccess(cuModuleLoadData(&module, text(file).c_str()), "cuModuleLoadData");
    CUfunction found;
    const CUresult result = cuModuleGetFunction(&found, module, name.c_str());
    if (result == CUDA_SUCCESS) return found;
    if (result != CUDA_ERROR_NOT_FOUND) throw Failure(cudasimLastReport());
  }
  throw Failure("no kernel " + name);
}

CUresult launchOn(const std::string& kernel, CUstream stream, Shape shape, void** arguments) {
  return cuLaunchKernel(function(kernel), shape.grid, shape.gridY, 1, shape.block, 1, 1, shape.shared, stream,
                        arguments, nullptr);
}

CUresult launchRaw(const std::string& kernel, Shape shape, std::vector<void*> arguments) {
  const CUresult started = launchOn(kernel, nullptr, shape, arguments.data());
  const CUresult result = started != CUDA_SUCCESS ? started : cuCtxSynchronize();
  cuDevicePrimaryCtxReset_v2(0);
  return result;
}

void caught(CUresult result, CUresult expected, const std::string& what) {
  check(result == expected, "ended with " + std::to_string(result) + " instead of " + std::to_string(expected));
  const std::string report = cudasimLastReport();
  check(report.find(what) != std::string::npos, "reported: " + report);
}

uint64_t counter(const std::string& kernel, const std::string& name) {
  const std::string all = cudasimCounters();
  const size_t at = all.find("\"" + kernel + "\":{"), value = all.find("\"" + name + "\":", at);
  check(at != std::string::npos && value != std::string::npos, "no counter " + name + " of " + kernel);
  return std::stoull(all.substr(value + name.size() + 3));
}

std::vector<float> numbers(size_t count, uint32_t seed) {
  std::vector<float> made(count);
  for (float& value : made) {
    seed = seed * 1664525 + 1013904223;
    value = static_cast<float>(static_cast<int>(seed >> 8) % 2001 - 1000) / 256.0f;
  }
  return made;
}

}  // namespace cudasim::test

int main(int count, char** arguments) {
  using namespace cudasim::test;
  if (count > 2 && std::strcmp(arguments[2], "--list") == 0) {
    for (const Test& test : tests()) std::printf("%s\n", test.name.c_str());
    return 0;
  }
  if (count < 2) return 2;
  folder = arguments[1];
  setUp();
  if (count > 2 && std::strcmp(arguments[2], "--leak") == 0) {
    CUmodule module;
    CUdeviceptr left;
    if (cuModuleLoadData(&module, text("basic").c_str()) != CUDA_SUCCESS) return 1;
    return cuMemAlloc_v2(&left, 16) == CUDA_SUCCESS ? 0 : 1;
  }
  if (count > 2 && std::strcmp(arguments[2], "--shared") == 0) {
    int bytes = 0;
    cuDeviceGetAttribute(&bytes, 97 /* MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */, 0);
    std::printf("%d\n", bytes);
    return 0;
  }
  int failed = 0;
  for (const Test& test : tests()) {
    try {
      test.body();
      std::printf("ok %s\n", test.name.c_str());
    } catch (const std::exception& error) {
      std::printf("FAILED %s: %s\n", test.name.c_str(), error.what());
      ++failed;
    }
    std::fflush(stdout);
  }
  for (const auto& [name, module] : modules) cuModuleUnload(module);
  cuDevicePrimaryCtxRelease_v2(0);
  return failed != 0;
}
