// Ops without kernels yet.
#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace tinylora {
namespace {

[[noreturn]] void unwritten(const char* op) { fail("ERR_DEVICE", "cuda: ", op, ": no kernel yet"); }

}  // namespace


void CudaBackend::attention_backward(const AttentionBackwardArgs&) { unwritten("attention_backward"); }
void CudaBackend::head_backward(const HeadBackwardArgs&) { unwritten("head_backward"); }

}  // namespace tinylora
