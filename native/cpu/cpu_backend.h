// The fast CPU backend: every op split over the threads of one pool, its inner loops compiled once an instruction set
// and reached through tables of function pointers (product_kernels.h, head_kernels.h, row_kernels.h).
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/thread_pool.h"
#include "cpu/features.h"
#include "ops/backend.h"

namespace tinylora {

struct ProductKernels;  // product_kernels.h
struct HeadKernels;     // head_kernels.h
struct ProductScratch;  // product.h

class CpuBackend : public Backend {
 public:
  CpuBackend(DType dtype, int threads, CpuPath path);
  ~CpuBackend() override;

  std::string name() const override;
  DType dtype() const override { return dtype_; }
  CpuPath path() const { return path_; }
  ThreadPool& pool() { return pool_; }

  std::shared_ptr<void> allocate(std::size_t bytes) override;
  void upload(void* device, const void* host, std::size_t bytes) override;
  void download(void* host, const void* device, std::size_t bytes) override;
  void zero(void* device, std::size_t bytes) override;
  int cheap_rows() const override;
  std::unique_ptr<Weight> pack(int out, int in, const RowReader& read_row) override;
  std::unique_ptr<GramMatrix> gram_matrix(int out, int in, const RowReader& read_row, ThreadPool& pool) override;

  void embed(const EmbedArgs&) override;
  void rms_norm(const RmsNormArgs&) override;
  void rms_norm_backward(const RmsNormBackwardArgs&) override;
  using Backend::linear;
  void linear(std::span<const LinearArgs> products) override;
  void linear_backward(const LinearBackwardArgs&) override;
  void rope_store(const RopeStoreArgs&) override;
  void rope_store_backward(const RopeStoreBackwardArgs&) override;
  void attention(const AttentionArgs&) override;
  void attention_backward(const AttentionBackwardArgs&) override;
  void swiglu(const SwigluArgs&) override;
  void swiglu_backward(const SwigluBackwardArgs&) override;
  void cast(const CastArgs&) override;
  void gather_rows(const GatherRowsArgs&) override;
  void copy_rows(const CopyRowsArgs&) override;
  void scatter_add_rows(const ScatterAddRowsArgs&) override;
  void head(const HeadArgs&) override;
  void head_backward(const HeadBackwardArgs&) override;
  void head_sample(const HeadSampleArgs&) override;

  void weight_gradient(const WeightGradientArgs&) override;
  void lora_gradient(const LoraGradientArgs&) override;
  void gain_gradient(const GainGradientArgs&) override;
  void head_gain_gradient(const HeadGainGradientArgs&) override;
  void head_gradient(const HeadGradientArgs&) override;
  void sum_squares(const SumSquaresArgs&) override;
  void adamw(const AdamwArgs&) override;
  void sgd(const SgdArgs&) override;
  void repack(Weight&, const float* values) override;

 private:
  DType dtype_;
  CpuPath path_;
  ThreadPool pool_;
  const ProductKernels& product_;
  const HeadKernels& head_;
  std::unique_ptr<ProductScratch> scratch_;
};

/// Without `path`, the best one that the machine has. Fails with ERR_DEVICE where the machine lacks the path.
std::unique_ptr<CpuBackend> make_cpu_backend(DType dtype, int threads, std::optional<CpuPath> path = std::nullopt);

}  // namespace tinylora
