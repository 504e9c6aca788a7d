#include "cuda_orders.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>

#include "check.h"
#include "cuda/cuda_backend.h"

namespace tinylora::test {
namespace {

/// FNV-1a of all bytes read since the last `reset`.
class Hash {
 public:
  void reset() { value_ = 0xcbf29ce484222325; }
  void add(const void* data, std::size_t bytes) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < bytes; ++i) value_ = (value_ ^ p[i]) * 0x100000001b3;
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

Hash& hash() {
  static Hash all;
  return all;
}

class HashedCudaBackend final : public CudaBackend {
 public:
  using CudaBackend::CudaBackend;
  void download(void* host, const void* device, std::size_t bytes) override {
    CudaBackend::download(host, device, bytes);
    hash().add(host, bytes);
  }
};

/// The stand-in's own switch; a GPU's driver has none.
void set_order(unsigned long long seed) {
  void* library = dlopen(std::getenv("TINYLORA_CUDA_DRIVER"), RTLD_NOW);
  expect(library != nullptr, "the driver cannot be opened");
  auto* set = reinterpret_cast<void (*)(unsigned long long)>(dlsym(library, "cudasimSetOrder"));
  if (set != nullptr) set(seed);
  dlclose(library);
}

}  // namespace

std::unique_ptr<Backend> make_hashed_cuda_backend(DType dtype) {
  return std::make_unique<HashedCudaBackend>(dtype, cuda::Device::open());
}

void in_two_orders(const std::function<void()>& body) {
  set_order(1);
  hash().reset();
  body();
  const std::uint64_t first = hash().value();
  set_order(2);
  hash().reset();
  body();
  expect(hash().value() == first, "blocks in another order give other bits");
}

}  // namespace tinylora::test
