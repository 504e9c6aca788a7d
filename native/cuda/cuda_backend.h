// The CUDA backend: every op is one kernel or a few, queued on the device's stream. The host side of an op group is one
// file (rows.cpp, norm.cpp, linear.cpp, ...), its kernels are kernels/<file>.cu.
//
// Errors: a kernel that fails shows at the next wait, and then the context is lost; see Device.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels/weight_gradient.h"
#include "cuda/scratch.h"
#include "ops/backend.h"

namespace tinylora {

namespace cuda {

struct ProductKernelArgs;  // kernels/product.h
struct LowRankArgs;        // kernels/low_rank.h
struct AttentionTask;      // kernels/attention.h
struct AttentionUpdate;    // kernels/attention.h
struct AttentionKernels;   // attention.cpp
struct ExponentialSum;     // kernels/head.h
struct HeadProduct;        // kernels/head.h
struct HeadStatsTask;      // kernels/head.h
struct HeadProductTask;    // kernels/head.h
struct AlignedRows;        // head_sm90.h

/// Rows and columns of a weight in memory are multiples of these, the padding zeros: tiles need no bounds on W.
inline constexpr int kPadOut = 64;
inline constexpr int kPadIn = 64;

/// Row-major [padded_out, stride] in the weight's dtype; element (o, i) at o * stride + i.
class CudaWeight final : public Weight {
 public:
  CudaWeight(int rows, int columns, DType type, std::shared_ptr<void> memory);

  void* data() const { return memory_.get(); }
  const int padded_out;
  const int stride;

 private:
  std::shared_ptr<void> memory_;
};

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace cuda

class CudaBackend : public Backend {
 public:
  CudaBackend(DType dtype, std::shared_ptr<cuda::Device> device);

  std::string name() const override;
  DType dtype() const override { return dtype_; }
  cuda::Device& device() { return *device_; }

  /// An act array [rows, width] that products read.
  struct RowsOf {
    const void* data;
    int rows;
    int width;
  };

  std::shared_ptr<void> allocate(std::size_t bytes) override { return device_->allocate(bytes); }
  void upload(void* device, const void* host, std::size_t bytes) override { device_->upload(device, host, bytes); }
  void download(void* host, const void* device, std::size_t bytes) override { device_->download(host, device, bytes); }
  void zero(void* device, std::size_t bytes) override { device_->zero(device, bytes); }
  void synchronize() override { device_->synchronize(); }
  void replay(std::shared_ptr<void>& recording, const std::function<void()>& record) override;
  bool replays() const override { return true; }
  std::size_t prepared_bytes(int rank, int width) const override;
  void prepare_factor(const float* factor, int rank, int width, void* prepared) override;
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
  /// bf16 or fp16: products run on tensor cores.
  bool half() const { return dtype_ != DType::f32; }
  /// The entry point for this dtype.
  const char* pick(const char* bf16, const char* f16, const char* f32) const { return by_dtype(bf16, f16, f32); }
  template <typename T>
  const T& by_dtype(const T& bf16, const T& f16, const T& f32) const {
    return dtype_ == DType::f32 ? f32 : dtype_ == DType::bf16 ? bf16 : f16;
  }
  const cuda::CudaWeight& packed(const Weight* weight, const char* op) const;

  void cast_rows(const CastArgs&, LinearBackwardArgs& reader);

  // attention.cpp
  void attention_decode(const cuda::AttentionTask&, const cuda::AttentionKernels&);
  void attention_many(const cuda::AttentionTask&, const cuda::AttentionKernels&);

  // head.cpp
  /// Statistics of all chunks, and sums of e^l W in dx; returns the sums of e^l, which lie in sums [2, rows].
  const cuda::ExponentialSum* head_with_sums(const cuda::HeadStatsTask& scan, float* dx, cuda::ExponentialSum* sums);

  /// dx = or += e^l W of a group of chunks.
  void add_exponentials(const cuda::HeadProductTask& task);

  // head_stats.cpp
  bool has_sm90_head() const;
  cuda::AlignedRows aligned_rows(const cuda::HeadProduct& product);
  /// Statistics of `chunks` chunks from the task's first one.
  void head_stats(const cuda::HeadStatsTask& task, int chunks);

  // linear.cpp
  void set_product_input(cuda::ProductKernelArgs& args, const void* x, int rows, int k);
  void run_products(cuda::ProductKernelArgs& args, bool backward);

  // low_rank.cpp
  /// What a kernel that writes x, or reads it, makes for those products that have an update and no `left` yet; sets it.
  /// `aligned`: the kernel's other arrays allow wide moves.
  cuda::LowRankArgs low_rank_of(const char* op, const RowsOf& x, std::span<LinearArgs> products, cuda::Scratch& memory,
                                bool aligned);
  /// The same in the backward pass, one product for each of the gradients or none at all. dR is still to be added.
  std::array<cuda::LowRankArgs, 3> low_rank_of(const char* op, std::span<const RowsOf> gradients,
                                               std::span<LinearBackwardArgs> products, cuda::Scratch& memory,
                                               bool aligned);
  /// The same for attention, whose warps make it head by head; at most one product.
  cuda::AttentionUpdate attention_update(const AttentionArgs& args);
  /// a or b of a product, [rank, width].
  struct Factor {
    const float* values;
    const void* prepared;
    int rank;
    int width;
  };
  /// What the kernels read of each: the floats, or its terms, made here where they are not prepared.
  std::vector<const void*> right_of(std::span<const Factor> factors);
  void add_rank_gradients(std::span<const LinearBackwardArgs> products);
  void low_rank(const RowsOf& x, const cuda::LowRankArgs& args);

  // weight_gradient.cpp
  void add_outer_product(cuda::WeightGradientKernelArgs args);

  DType dtype_;
  std::shared_ptr<cuda::Device> device_;
  // z R^T, or s R and s, of products with an update: of the next products, made by the op that writes their input.
  cuda::Scratch prepared_;
  cuda::Scratch left_;                          // the same, made by the products themselves
  cuda::Scratch terms_;                         // of A and B that were not prepared (prepare_factor)
  cuda::Scratch padded_;                        // a copy of x with aligned rows
  cuda::Scratch stats_, logits_, sample_rows_;  // head_sample.cpp
  cuda::Scratch attention_parts_;               // attention.cpp
  cuda::Scratch arrived_;                       // attention_update
};

/// Throws as Device::open does.
std::unique_ptr<CudaBackend> make_cuda_backend(DType dtype, int ordinal = cuda::kFirstUsable,
                                               const std::string& driver_file = {});

}  // namespace tinylora
