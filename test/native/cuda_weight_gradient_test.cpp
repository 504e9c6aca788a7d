// Both tilings of dW give the same bits, whichever one the shape of the weight would choose.
#include <cstdlib>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/weight_gradient.h"
#include "cuda/launch.h"
#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

struct Tile {
  const char* kernel;
  int side;
  unsigned threads, shared_bytes;
};
constexpr Tile kBf16[] = {{"weight_gradient_mid_bf16", 64, 128, 32768},
                          {"weight_gradient_large_bf16", 128, 256, 65536}};
constexpr Tile kF16[] = {{"weight_gradient_mid_f16", 64, 128, 32768}, {"weight_gradient_large_f16", 128, 256, 65536}};

/// dW on top of data.w, by one kernel. Strides of x and dy are multiples of 8 here, as the kernels want them.
std::vector<float> by(CudaBackend& backend, const Tile& tile, const LinearCase& data) {
  const LinearShape& shape = data.shape;
  const ActBuffer x(backend, data.x), dy(backend, data.dy);
  const Buffer<float> d_weight(backend, data.w);
  cuda::WeightGradientKernelArgs args{};
  args.dy = dy.data();
  args.x = x.data();
  args.d_weight = d_weight.data();
  args.rows = shape.rows;
  args.out = args.dy_stride = shape.out;
  args.in = args.x_stride = shape.in;
  args.pairs = 1;
  cuda::launch(backend.device(), "weight_gradient", tile.kernel,
               {.grid = {cuda::ceil_div(shape.out, tile.side), cuda::ceil_div(shape.in, tile.side)},
                .block = tile.threads,
                .shared_bytes = tile.shared_bytes},
               args);
  return d_weight.read();
}

/// Fewer rows than a stage, stages that do not fill the ring, and a ring that goes round; edges inside a tile.
void tilings_have_the_same_bits(DType dtype) {
  const auto backend = make_cuda_backend(dtype);
  const auto& [mid_tile, large_tile] = dtype == DType::bf16 ? kBf16 : kF16;
  for (const int rows : {1, 40, 130, 333}) {
    const LinearCase data = make_linear({.rows = rows, .in = 216, .out = 264});
    const std::vector<float> mid = by(*backend, mid_tile, data);
    expect(mid != data.w, "dW is left as it was");
    expect_same_bits(large_tile.kernel, by(*backend, large_tile, data), mid);
  }
}

}  // namespace

void add_cuda_weight_gradient_tests(Tests& tests) {
  const char* driver = std::getenv("TINYLORA_CUDA_DRIVER");
  if (driver == nullptr || *driver == '\0') return;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    tests.add(std::string("cuda weight gradient: every tiling has the same bits [") + name_of(dtype) + "]",
              [=] { tilings_have_the_same_bits(dtype); });
  }
}

}  // namespace tinylora::test
