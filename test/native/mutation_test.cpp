// The tests under test: a reference that is made slightly wrong in one op must fail that op's tests. If one of these
// fails, a test has gone blind.
#include <cmath>
#include <limits>

#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

enum class Harm {
  wrong,       // the last output is off by 1e-4
  by_rows,     // in calls of fewer than 8 rows the last output is the next float
  by_threads,  // with 5 threads the last output is the next float
};

/// The fp32 reference with one harmed op.
class Mutant final : public Backend {
 public:
  Mutant(std::string op, Harm harm, int threads) : op_(std::move(op)), harm_(harm), threads_(threads) {}

  std::string name() const override { return "mutant"; }
  DType dtype() const override { return DType::f32; }
  std::shared_ptr<void> allocate(std::size_t bytes) override { return inner_->allocate(bytes); }
  void upload(void* to, const void* from, std::size_t bytes) override { inner_->upload(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { inner_->download(to, from, bytes); }
  void zero(void* device, std::size_t bytes) override { inner_->zero(device, bytes); }
  std::unique_ptr<Weight> pack(int out, int in, const RowReader& rows) override { return inner_->pack(out, in, rows); }

  std::unique_ptr<GramMatrix> gram_matrix(int out, int in, const RowReader& rows, ThreadPool& pool) override {
    return std::make_unique<MutantGram>(*this, out, in, inner_->gram_matrix(out, in, rows, pool));
  }

  void embed(const EmbedArgs& args) override {
    inner_->embed(args);
    harm("embed", args.rows, args.x, args.rows * args.table->in);
  }
  void rms_norm(const RmsNormArgs& args) override {
    inner_->rms_norm(args);
    harm("rms_norm", args.rows, args.y, args.rows * args.width);
  }
  void rms_norm_backward(const RmsNormBackwardArgs& args) override {
    inner_->rms_norm_backward(args);
    harm("rms_norm_backward", args.rows, args.dx, args.rows * args.width);
  }
  using Backend::linear;
  void linear(std::span<const LinearArgs> products) override {
    inner_->linear(products);
    for (const LinearArgs& args : products) harm("linear", args.rows, args.y, args.rows * args.weight->out);
  }
  void linear_backward(const LinearBackwardArgs& args) override {
    inner_->linear_backward(args);
    harm("linear_backward", args.rows, args.dx, args.rows * args.weight->in);
  }
  void rope_store(const RopeStoreArgs& args) override {
    inner_->rope_store(args);
    harm("rope_store", args.layout->rows, args.q_out, args.layout->rows * args.heads * args.head_dim);
  }
  void rope_store_backward(const RopeStoreBackwardArgs& args) override {
    inner_->rope_store_backward(args);
    harm("rope_store_backward", args.layout->rows, args.dk, args.layout->rows * args.kv_heads * args.head_dim);
  }
  void attention(const AttentionArgs& args) override {
    inner_->attention(args);
    harm("attention", args.layout->rows, args.out, args.layout->rows * args.heads * args.head_dim);
  }
  void attention_backward(const AttentionBackwardArgs& args) override {
    inner_->attention_backward(args);
    harm("attention_backward", args.layout->rows, args.dq_out, args.layout->rows * args.heads * args.head_dim);
  }
  void swiglu(const SwigluArgs& args) override {
    inner_->swiglu(args);
    harm("swiglu", args.rows, args.h, args.rows * args.width);
  }
  void swiglu_backward(const SwigluBackwardArgs& args) override {
    inner_->swiglu_backward(args);
    harm("swiglu_backward", args.rows, args.d_gate, args.rows * args.width);
  }
  void cast(const CastArgs& args) override {
    inner_->cast(args);
    harm("cast", 0, args.y, static_cast<int>(args.count));
  }
  void gather_rows(const GatherRowsArgs& args) override {
    inner_->gather_rows(args);
    harm("gather_rows", args.count, args.y, args.count * args.width);
  }
  void copy_rows(const CopyRowsArgs& args) override {
    inner_->copy_rows(args);
    const CopyRowsArgs::Array& last = args.arrays.back();
    harm("copy_rows", args.count, static_cast<float*>(last.to), static_cast<int>(last.bytes / sizeof(float)));
  }
  void scatter_add_rows(const ScatterAddRowsArgs& args) override {
    inner_->scatter_add_rows(args);
    harm("scatter_add_rows", args.count, args.y, args.width);
  }
  void head(const HeadArgs& args) override {
    inner_->head(args);
    harm("head", args.rows, args.logp, args.rows);
  }
  void head_backward(const HeadBackwardArgs& args) override {
    inner_->head_backward(args);
    harm("head_backward", args.rows, args.dx, args.rows * args.weight->in);
  }
  void head_sample(const HeadSampleArgs& args) override {
    inner_->head_sample(args);
    harm("head_sample", args.rows, args.logp, args.rows);
  }
  void weight_gradient(const WeightGradientArgs& args) override {
    inner_->weight_gradient(args);
    harm("weight_gradient", args.rows, args.d_weight, args.out * args.in);
    harm("weight_gradient of the bias", args.rows, args.d_bias, args.out);
  }
  void lora_gradient(const LoraGradientArgs& args) override {
    inner_->lora_gradient(args);
    harm("lora_gradient of A", args.rows, args.d_a, args.lora.rank * args.in);
    harm("lora_gradient of B", args.rows, args.d_b, args.lora.rank * args.out);
  }
  void gain_gradient(const GainGradientArgs& args) override {
    inner_->gain_gradient(args);
    harm("gain_gradient", args.rows, args.d_gain, args.width);
  }
  void head_gain_gradient(const HeadGainGradientArgs& args) override {
    inner_->head_gain_gradient(args);
    harm("head_gain_gradient of q", args.back->layout->rows, args.d_q_gain, args.back->head_dim);
    harm("head_gain_gradient of k", args.back->layout->rows, args.d_k_gain, args.back->head_dim);
  }
  void head_gradient(const HeadGradientArgs& args) override {
    inner_->head_gradient(args);
    harm("head_gradient", args.back->rows, args.d_weight, args.back->weight->out * args.back->weight->in);
  }
  void sum_squares(const SumSquaresArgs& args) override {
    inner_->sum_squares(args);
    if (op_ != "sum_squares") return;
    if (harm_ == Harm::wrong) *args.sum *= 1 + 1e-4;
    if (harm_ == Harm::by_threads && threads_ == 5) *args.sum = std::nextafter(*args.sum, INFINITY);
  }
  void adamw(const AdamwArgs& args) override {
    inner_->adamw(args);
    harm("adamw", 0, args.weight, static_cast<int>(args.count));
    harm("adamw's first moment", 0, args.first, static_cast<int>(args.count));
    harm("adamw's second moment", 0, args.second, static_cast<int>(args.count));
  }
  void sgd(const SgdArgs& args) override {
    inner_->sgd(args);
    harm("sgd", 0, args.weight, static_cast<int>(args.count));
    harm("sgd's buffer", 0, args.buffer, static_cast<int>(args.count));
  }
  void repack(Weight& weight, const float* values) override {
    std::vector<float> changed(values, values + std::ptrdiff_t{weight.out} * weight.in);
    harm("repack", 0, changed.data(), static_cast<int>(changed.size()));
    inner_->repack(weight, changed.data());
  }

 private:
  class MutantGram final : public GramMatrix {
   public:
    MutantGram(const Mutant& mutant, int out, int in, std::unique_ptr<GramMatrix> inner)
        : GramMatrix(out, in), mutant_(mutant), in_(in), inner_(std::move(inner)) {}
    void multiply(const double* x, double* z) override {
      inner_->multiply(x, z);
      mutant_.harm("gram", 0, z, in_);
    }
    const double* y() override { return inner_->y(); }

   private:
    const Mutant& mutant_;
    int in_;
    std::unique_ptr<GramMatrix> inner_;
  };

  void harm(const std::string& op, int rows, void* output, int count) const {
    harm(op, rows, static_cast<float*>(output), count);
  }
  template <typename T>
  void harm(const std::string& op, int rows, T* output, int count) const {
    if (op != op_ || count == 0 || output == nullptr) return;
    T& last = output[count - 1];
    if (harm_ == Harm::wrong) last += static_cast<T>(1e-4F) * (1 + std::abs(last));
    if ((harm_ == Harm::by_rows && rows < 8) || (harm_ == Harm::by_threads && threads_ == 5)) {
      last = std::nextafter(last, std::numeric_limits<T>::infinity());
    }
  }

  std::unique_ptr<Backend> inner_ = make_reference_backend(DType::f32);
  std::string op_;
  Harm harm_;
  int threads_;
};

struct Mutation {
  const char* op;
  Harm harm;
  const char* test;  // that must fail
};

const Mutation kMutations[] = {
    {"cast", Harm::wrong, "cast: rounds as the host does"},
    {"embed", Harm::wrong, "embed: exact"},
    {"gather_rows", Harm::wrong, "gather_rows: exact"},
    {"copy_rows", Harm::wrong, "copy_rows: exact"},
    {"scatter_add_rows", Harm::by_threads, "scatter_add_rows: exact"},
    {"swiglu", Harm::wrong, "swiglu: numerics"},
    {"swiglu", Harm::by_rows, "swiglu: invariance"},
    {"swiglu_backward", Harm::wrong, "swiglu: numerics"},
    {"swiglu_backward", Harm::by_threads, "swiglu: invariance"},
    {"rms_norm", Harm::wrong, "rms_norm: numerics"},
    {"rms_norm", Harm::by_rows, "rms_norm: invariance"},
    {"rms_norm_backward", Harm::wrong, "rms_norm: numerics"},
    {"rms_norm_backward", Harm::by_threads, "rms_norm: invariance"},
    {"linear", Harm::wrong, "linear: numerics"},
    {"linear", Harm::by_rows, "linear: invariance"},
    {"linear", Harm::by_threads, "linear: invariance"},
    {"linear_backward", Harm::wrong, "linear: numerics"},
    {"linear_backward", Harm::by_threads, "linear: invariance"},
    {"rope_store", Harm::wrong, "attention: numerics"},
    {"rope_store", Harm::by_rows, "attention: invariance"},
    {"rope_store_backward", Harm::wrong, "attention backward: numerics"},
    {"rope_store_backward", Harm::by_threads, "attention backward: threads"},
    {"attention", Harm::wrong, "attention: numerics"},
    {"attention", Harm::by_rows, "attention: invariance"},
    {"attention", Harm::by_threads, "attention: invariance"},
    {"attention_backward", Harm::wrong, "attention backward: numerics"},
    {"attention_backward", Harm::by_threads, "attention backward: threads"},
    {"head", Harm::wrong, "head: numerics"},
    {"head", Harm::by_rows, "head: invariance"},
    {"head_backward", Harm::wrong, "head: numerics"},
    {"head_backward", Harm::by_threads, "head: invariance"},
    {"head_sample", Harm::by_rows, "head_sample: scores are those of the head"},
    {"head_sample", Harm::wrong, "head_sample: scores are those of the head"},
    {"weight_gradient", Harm::wrong, "weight gradient: numerics"},
    {"weight_gradient", Harm::by_threads, "weight gradient: threads"},
    {"weight_gradient of the bias", Harm::wrong, "weight gradient: numerics"},
    {"weight_gradient of the bias", Harm::by_threads, "weight gradient: threads"},
    {"lora_gradient of A", Harm::wrong, "lora gradient: numerics"},
    {"lora_gradient of A", Harm::by_threads, "lora gradient: numerics"},
    {"lora_gradient of B", Harm::wrong, "lora gradient: numerics"},
    {"lora_gradient of B", Harm::by_threads, "lora gradient: numerics"},
    {"gain_gradient", Harm::wrong, "gain gradient: numerics"},
    {"gain_gradient", Harm::by_threads, "gain gradient: numerics"},
    {"head_gain_gradient of q", Harm::wrong, "attention backward: numerics"},
    {"head_gain_gradient of q", Harm::by_threads, "attention backward: threads"},
    {"head_gain_gradient of k", Harm::wrong, "attention backward: numerics"},
    {"head_gain_gradient of k", Harm::by_threads, "attention backward: threads"},
    {"head_gradient", Harm::wrong, "head gradient: numerics"},
    {"head_gradient", Harm::by_threads, "head gradient: numerics"},
    {"sum_squares", Harm::wrong, "optimisers: numerics"},
    {"sum_squares", Harm::by_threads, "sum of squares: in order"},
    {"adamw", Harm::wrong, "optimisers: numerics"},
    {"adamw", Harm::by_threads, "optimisers: numerics"},
    {"adamw's first moment", Harm::wrong, "optimisers: numerics"},
    {"adamw's second moment", Harm::wrong, "optimisers: numerics"},
    {"sgd", Harm::wrong, "optimisers: numerics"},
    {"sgd", Harm::by_threads, "optimisers: numerics"},
    {"sgd's buffer", Harm::wrong, "optimisers: numerics"},
    {"repack", Harm::wrong, "repack: as packed"},
    {"gram", Harm::wrong, "svd: the largest triplets"},
    {"gram", Harm::by_threads, "gram: the reference's bits"},
};

void expect_caught(const Mutation& mutation) {
  const Candidate candidate = {"mutant", [&](DType, int threads) -> std::unique_ptr<Backend> {
                                 return std::make_unique<Mutant>(mutation.op, mutation.harm, threads);
                               }};
  for (const BackendTest& test : backend_tests()) {
    if (test.name != mutation.test) continue;
    try {
      test.body(candidate, DType::f32);
    } catch (const std::runtime_error&) {
      return;
    }
    expect(false, "the test accepted a wrong ", mutation.op);
  }
  expect(false, "there is no such test");
}

}  // namespace

void add_mutation_tests(Tests& tests) {
  const char* harms[] = {"wrong", "changing with the rows", "changing with the threads"};
  for (const Mutation& mutation : kMutations) {
    const std::string harm = harms[static_cast<int>(mutation.harm)];
    tests.add(std::string("mutation: ") + mutation.op + " " + harm + " is caught by " + mutation.test,
              [&mutation] { expect_caught(mutation); });
  }
}

}  // namespace tinylora::test
