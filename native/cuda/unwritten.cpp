// Ops without kernels yet.
#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace tinylora {
namespace {

[[noreturn]] void unwritten(const char* op) { fail("ERR_DEVICE", "cuda: ", op, ": no kernel yet"); }

}  // namespace

void CudaBackend::linear(std::span<const LinearArgs>) { unwritten("linear"); }
void CudaBackend::linear_backward(const LinearBackwardArgs&) { unwritten("linear_backward"); }

void CudaBackend::rope_store(const RopeStoreArgs&) { unwritten("rope_store"); }
void CudaBackend::rope_store_backward(const RopeStoreBackwardArgs&) { unwritten("rope_store_backward"); }
void CudaBackend::attention(const AttentionArgs&) { unwritten("attention"); }
void CudaBackend::attention_backward(const AttentionBackwardArgs&) { unwritten("attention_backward"); }
void CudaBackend::head(const HeadArgs&) { unwritten("head"); }
void CudaBackend::head_backward(const HeadBackwardArgs&) { unwritten("head_backward"); }
void CudaBackend::head_sample(const HeadSampleArgs&) { unwritten("head_sample"); }

}  // namespace tinylora
