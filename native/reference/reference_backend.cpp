// The backend class around the ops of reference.h: plain host memory, no threads.
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "reference/reference.h"

namespace tinylora {
namespace {

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(DType dtype) : dtype_(dtype) {}

  std::string name() const override { return "reference"; }
  DType dtype() const override { return dtype_; }

  std::shared_ptr<void> allocate(std::size_t bytes) override {
    const std::size_t size = (bytes / 64 + 1) * 64;
    void* memory = size > bytes ? std::aligned_alloc(64, size) : nullptr;
    check(memory != nullptr, "ERR_MEMORY", "reference backend: cannot allocate ", bytes, " bytes");
    std::memset(memory, 0, size);
    return {memory, std::free};
  }
  void upload(void* device, const void* host, std::size_t bytes) override { copy(device, host, bytes); }
  void download(void* host, const void* device, std::size_t bytes) override { copy(host, device, bytes); }
  void zero(void* device, std::size_t bytes) override {
    if (bytes > 0) std::memset(device, 0, bytes);
  }

  std::unique_ptr<Weight> pack(int out, int in, const RowReader& read_row) override {
    check(out > 0 && in > 0, "ERR_ARGUMENT", "pack: expected a matrix, found ", out, " x ", in);
    auto weight = std::make_unique<reference::PlainWeight>(out, in, dtype_);
    for (int row = 0; row < out; ++row) {
      float* values = weight->values.data() + reference::at(static_cast<std::size_t>(row), in);
      read_row(row, values);
      for (int i = 0; i < in; ++i) values[i] = rounded(values[i], dtype_);
    }
    return weight;
  }

  std::unique_ptr<GramMatrix> gram_matrix(int out, int in, const RowReader& read_row, ThreadPool&) override {
    return reference::gram_matrix(out, in, read_row);
  }

  void embed(const EmbedArgs& args) override { reference::embed(args); }
  void rms_norm(const RmsNormArgs& args) override { reference::rms_norm(dtype_, args); }
  void rms_norm_backward(const RmsNormBackwardArgs& args) override { reference::rms_norm_backward(args); }
  using Backend::linear;
  void linear(std::span<const LinearArgs> products) override {
    for (const LinearArgs& args : products) reference::linear(dtype_, args);
  }
  void linear_backward(const LinearBackwardArgs& args) override { reference::linear_backward(dtype_, args); }
  void rope_store(const RopeStoreArgs& args) override { reference::rope_store(dtype_, args); }
  void rope_store_backward(const RopeStoreBackwardArgs& args) override { reference::rope_store_backward(dtype_, args); }
  void attention(const AttentionArgs& args) override { reference::attention(dtype_, args); }
  void attention_backward(const AttentionBackwardArgs& args) override { reference::attention_backward(dtype_, args); }
  void swiglu(const SwigluArgs& args) override { reference::swiglu(dtype_, args); }
  void swiglu_backward(const SwigluBackwardArgs& args) override { reference::swiglu_backward(dtype_, args); }
  void cast(const CastArgs& args) override { reference::cast(dtype_, args); }
  void gather_rows(const GatherRowsArgs& args) override { reference::gather_rows(args); }
  void copy_rows(const CopyRowsArgs& args) override { reference::copy_rows(args); }
  void scatter_add_rows(const ScatterAddRowsArgs& args) override { reference::scatter_add_rows(args); }
  void head(const HeadArgs& args) override { reference::head(dtype_, args); }
  void head_backward(const HeadBackwardArgs& args) override { reference::head_backward(dtype_, args); }
  void head_sample(const HeadSampleArgs& args) override { reference::head_sample(dtype_, args); }

  void weight_gradient(const WeightGradientArgs& args) override { reference::weight_gradient(dtype_, args); }
  void lora_gradient(const LoraGradientArgs& args) override { reference::lora_gradient(dtype_, args); }
  void gain_gradient(const GainGradientArgs& args) override { reference::gain_gradient(args); }
  void head_gain_gradient(const HeadGainGradientArgs& args) override { reference::head_gain_gradient(args); }
  void head_gradient(const HeadGradientArgs& args) override { reference::head_gradient(dtype_, args); }
  void sum_squares(const SumSquaresArgs& args) override { reference::sum_squares(args); }
  void adamw(const AdamwArgs& args) override { reference::adamw(args); }
  void sgd(const SgdArgs& args) override { reference::sgd(args); }
  void repack(Weight& weight, const float* values) override {
    auto& plain = dynamic_cast<reference::PlainWeight&>(weight);
    for (std::size_t i = 0; i < plain.values.size(); ++i) {
      plain.values[i] = rounded(values[i], dtype_);
    }
  }

 private:
  static void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  DType dtype_;
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend(DType dtype) { return std::make_unique<ReferenceBackend>(dtype); }

}  // namespace tinylora

namespace tinylora::reference {

const PlainWeight& plain(const Weight* weight) {
  const auto* packed = dynamic_cast<const PlainWeight*>(weight);
  check(packed != nullptr, "ERR_ARGUMENT", "reference backend: expected a weight that it packed itself");
  return *packed;
}

std::vector<float> ActIn::read(std::size_t first, int count) const {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = (*this)[first + i];
  return values;
}

double dot(const float* a, const float* b, int count) {
  double lanes[8] = {};
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) lanes[lane] += double{a[i + lane]} * double{b[i + lane]};
  }
  for (; i < count; ++i) lanes[i % 8] += double{a[i]} * double{b[i]};
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace tinylora::reference
