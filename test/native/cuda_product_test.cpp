// Every tiling of the CUDA products gives the same bits, whichever one the number of rows would choose; on sm_90 it
// does no more tensor work than its tiles hold.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/product_sm90.h"
#include "cuda/launch.h"
#include "cuda/product_sm90.h"
#include "linear_case.h"
#include "suites.h"
#include "tensor_work.h"

namespace tinylora::test {
namespace {

struct Tile {
  const char* kernel;
  int rows, columns;
  unsigned threads, shared_bytes;
};

using Run = std::function<void(const cuda::ProductKernelArgs& args, int n)>;

/// One product on the device; the factors of the update are given, as low_rank would make them.
class DeviceProduct {
 public:
  DeviceProduct(CudaBackend& backend, const LinearCase& data, bool backward)
      : n_(backward ? data.shape.in : data.shape.out),
        rank_(data.shape.rank),
        backward_(backward),
        weight_(pack(backend, data)),
        left_(backend, {data.x.begin(), data.x.begin() + data.shape.rows * data.shape.rank}),
        right_(backend, backward ? data.a : data.b),
        residual_(backend, backward ? data.dx : data.y),
        y_(backend, static_cast<std::size_t>(data.shape.rows * n_)) {}

  cuda::ProductTask task() const {
    const auto& packed = dynamic_cast<const cuda::CudaWeight&>(*weight_);
    cuda::ProductTask task{};
    task.w = packed.data();
    task.left = left_.data();
    task.right = right_.data();
    task.residual = residual_.data();
    task.y = y_.data();
    task.n = n_;
    task.n_limit = backward_ ? packed.stride : packed.padded_out;
    task.w_stride = packed.stride;
    task.rank = rank_;
    task.y_float = 1;
    task.pairs = n_ % 2 == 0;
    return task;
  }
  int n() const { return n_; }
  std::vector<float> y() const { return y_.read(); }

 private:
  int n_, rank_;
  bool backward_;
  std::unique_ptr<Weight> weight_;
  Buffer<float> left_, right_, residual_, y_;
};

cuda::ProductKernelArgs args_of(const ActBuffer& x, int rows, int k) {
  cuda::ProductKernelArgs args{};
  args.x = x.data();
  args.x_stride = k;
  args.rows = rows;
  args.k = k;
  return args;
}

/// y of the whole case, [M, n], by one kernel.
std::vector<float> product_by(CudaBackend& backend, const Run& run, const LinearCase& data, bool backward) {
  const ActBuffer x(backend, backward ? data.dy : data.x);
  const DeviceProduct product(backend, data, backward);
  cuda::ProductKernelArgs args = args_of(x, data.shape.rows, backward ? data.shape.out : data.shape.in);
  args.task[args.tasks++] = product.task();
  run(args, product.n());
  return product.y();
}

void tilings(DType dtype, bool backward, const std::vector<Tile>& tiles) {
  const auto backend = make_cuda_backend(dtype);
  const LinearCase data = make_linear({.rows = 130, .in = 216, .out = 264, .rank = 2, .y_float = true, .add = true});
  std::optional<std::vector<float>> first;
  for (const Tile& tile : tiles) {
    const auto run = [&](const cuda::ProductKernelArgs& args, int n) {
      cuda::launch(
          backend->device(), dtype == DType::f32 ? "product_f32" : "product_half", tile.kernel,
          {.grid = {cuda::ceil_div(args.rows, tile.rows), cuda::ceil_div(n, tile.columns)},
           .block = tile.threads,
           .shared_bytes = tile.shared_bytes + cuda::product_factor_bytes(data.shape.rank, tile.rows, tile.columns)},
          args);
    };
    const std::vector<float> y = product_by(*backend, run, data, backward);
    if (!first) first = y;
    expect_same_bits(tile.kernel, y, *first);
  }
}

/// On a device of sm_90 all products run there; with fewer blocks than tiles the ring goes on from tile to tile.
void sm90_tilings(DType dtype, bool backward) {
  const auto backend = make_cuda_backend(dtype);
  const LinearCase data = make_linear({.rows = 130, .in = 216, .out = 520, .rank = 2, .y_float = true, .add = true});
  std::optional<std::vector<float>> first;
  for (const cuda::Sm90Kernel& kernel : cuda::sm90_products(dtype, backward)) {
    const auto run = [&](const cuda::ProductKernelArgs& args, int) {
      cuda::run_sm90_product(backend->device(), kernel, args, dtype, backward);
    };
    tensor_work(kernel.name);
    const std::vector<float> y = product_by(*backend, run, data, backward);
    if (!first) first = y;
    expect_same_bits(kernel.name, y, *first);
    const auto whole = [](int size, int tile) { return std::int64_t{cuda::round_up(size, tile)}; };
    const int n = backward ? data.shape.in : data.shape.out, k = backward ? data.shape.out : data.shape.in;
    const std::int64_t least = whole(data.shape.rows, kernel.rows * kernel.cluster) * whole(n, kernel.columns) *
                               whole(k, cuda::kSm90Depth) / (16 * 8 * 16);
    const auto work = tensor_work(kernel.name);
    expect(!work || *work == least, kernel.name, ": expected ", least, " mma, found ", work.value_or(0));
  }
}

/// Products of one x in one launch have the bits of each alone.
void sm90_tasks(DType dtype) {
  const auto backend = make_cuda_backend(dtype);
  const int rows = 70, in = 216;
  std::vector<LinearCase> cases;
  std::deque<DeviceProduct> products;
  for (const int out : {300, 33, 17, 264}) {
    cases.push_back(make_linear({.rows = rows, .in = in, .out = out, .rank = 2, .y_float = true, .add = true}));
    products.emplace_back(*backend, cases.back(), false);
  }
  const ActBuffer x(*backend, cases[0].x);
  for (const cuda::Sm90Kernel& kernel : cuda::sm90_products(dtype, false)) {
    cuda::ProductKernelArgs together = args_of(x, rows, in);
    for (const DeviceProduct& product : products) together.task[together.tasks++] = product.task();
    cuda::run_sm90_product(backend->device(), kernel, together, dtype, false);
    std::vector<std::vector<float>> all;
    for (const DeviceProduct& product : products) all.push_back(product.y());
    for (std::size_t i = 0; i < products.size(); ++i) {
      cuda::ProductKernelArgs alone = args_of(x, rows, in);
      alone.task[alone.tasks++] = products[i].task();
      cuda::run_sm90_product(backend->device(), kernel, alone, dtype, false);
      expect_same_bits(kernel.name, all[i], products[i].y());
    }
  }
}

/// Of each width the tile with which a multiprocessor copies least; on a real device it is not known which ran.
void sm90_choice(DType dtype) {
  const auto backend = make_cuda_backend(dtype);
  struct Case {
    int rows, columns;  // the latter for each multiprocessor
    const char* tile;
  };
  for (const auto& [rows, columns, tile] : {Case{16, 256, "small"}, Case{64, 16, "small"}, Case{64, 32, "mid32"},
                                            Case{64, 64, "mid64"}, Case{64, 128, "mid"}, Case{256, 256, "large"}}) {
    const LinearCase data = make_linear(
        {.rows = rows, .in = 64, .out = columns * backend->device().multiprocessors(), .y_float = true, .add = true});
    const std::string kernel = std::string("product_") + tile + (dtype == DType::f16 ? "_f16" : "_bf16") + "_sm90";
    const auto run = [&](const cuda::ProductKernelArgs& args, int) {
      cuda::run_sm90_products(backend->device(), args, dtype, false);
    };
    tensor_work(kernel.c_str());
    product_by(*backend, run, data, false);
    const auto work = tensor_work(kernel.c_str());
    expect(!work || *work > 0, rows, " rows of ", data.shape.out, " columns: expected ", kernel);
  }
}

}  // namespace

void add_cuda_product_tests(Tests& tests) {
  const char* driver = std::getenv("TINYLORA_CUDA_DRIVER");
  if (driver == nullptr || *driver == '\0') return;
  const std::vector<Tile> bf16 = {{"product_small_bf16", 16, 8, 32, 24576},
                                  {"product_mid_bf16", 64, 64, 128, 32768},
                                  {"product_large_bf16", 128, 128, 256, 65536}};
  const std::vector<Tile> bf16_backward = {{"product_mid_backward_bf16", 64, 64, 128, 32768},
                                           {"product_large_backward_bf16", 128, 128, 256, 65536}};
  const std::vector<Tile> f32 = {{"product_small_f32", 16, 64, 256, 0}, {"product_mid_f32", 64, 64, 256, 0}};
  tests.add("cuda product: every tiling has the same bits [bf16]", [=] { tilings(DType::bf16, false, bf16); });
  tests.add("cuda product: every tiling of the gradient has the same bits [bf16]",
            [=] { tilings(DType::bf16, true, bf16_backward); });
  const std::vector<Tile> f16 = {{"product_small_f16", 16, 8, 32, 24576},
                                 {"product_mid_f16", 64, 64, 128, 32768},
                                 {"product_large_f16", 128, 128, 256, 65536}};
  const std::vector<Tile> f16_backward = {{"product_mid_backward_f16", 64, 64, 128, 32768},
                                          {"product_large_backward_f16", 128, 128, 256, 65536}};
  tests.add("cuda product: every tiling has the same bits [fp16]", [=] { tilings(DType::f16, false, f16); });
  tests.add("cuda product: every tiling of the gradient has the same bits [fp16]",
            [=] { tilings(DType::f16, true, f16_backward); });
  tests.add("cuda product: every tiling has the same bits [fp32]", [=] { tilings(DType::f32, false, f32); });
  if (!cuda::has_sm90_kernels(make_cuda_backend(DType::bf16)->device())) return;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const std::string on = std::string(" [sm_90a ") + name_of(dtype) + "]";
    tests.add("cuda product: every tiling has the same bits" + on, [=] { sm90_tilings(dtype, false); });
    tests.add("cuda product: products of one x are each alone" + on, [=] { sm90_tasks(dtype); });
    tests.add("cuda product: the tile that copies least" + on, [=] { sm90_choice(dtype); });
    tests.add("cuda product: every tiling of the gradient has the same bits" + on, [=] { sm90_tilings(dtype, true); });
  }
}

}  // namespace tinylora::test
