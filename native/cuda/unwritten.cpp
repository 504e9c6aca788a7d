// Ops without kernels yet.
#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace tinylora {
namespace {

[[noreturn]] void unwritten(const char* op) { fail("ERR_DEVICE", "cuda: ", op, ": no kernel yet"); }

}  // namespace

void CudaBackend::linear(std::span<const LinearArgs>) { unwritten("linear"); }
void CudaBackend::linear_backward(const LinearBackwardArgs&) { unwritten("linear_backward"); }

}  // namespace tinylora
