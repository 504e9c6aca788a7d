// Grids of large batches, and what is said where a side of one is too long. Nothing is run.
#include <cstdlib>

#include "cuda/cuda_backend.h"
#include "cuda/grids.h"
#include "cuda/kernels/rows.h"
#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

void expect_grid(const char* what, const cuda::Dim3& got, const cuda::Dim3& want) {
  expect(got.x == want.x && got.y == want.y && got.z == want.z, what, ": expected ", want.x, " x ", want.y, " x ",
         want.z, ", found ", got.x, " x ", got.y, " x ", got.z);
  expect(got.y <= cuda::kMostAside && got.z <= cuda::kMostAside, what, ": no device takes ", got.y, " x ", got.z);
}

void large_batches() {
  SequenceLayout layout;
  layout.rows = layout.spans = 1'000'000;
  layout.max_position = 32'767;
  expect_grid("a million sequences", cuda::page_grid(layout, 8), {1'000'000, 1024, 8});
  layout.max_position = 2'097'119;
  expect_grid("the longest context", cuda::page_grid(layout, 8), {1'000'000, 65'535, 8});
  expect_grid("no rows", cuda::page_grid({}, 8), {0, 0, 8});
  expect_grid("two billion rows", cuda::lora_grid(2'000'000'000, 18'944), {7'812'500, 74, 1});
}

void too_long_a_side() {
  const auto backend = make_cuda_backend(DType::f32);
  const auto launch = [&](cuda::Dim3 grid) {
    cuda::launch(backend->device(), "rows", "gather_rows", {.grid = grid, .block = 32}, cuda::GatherKernelArgs{});
  };
  expect_error("ERR_ARGUMENT",
               "gather_rows: expected at most 65535 blocks along y and z, found a grid of 2 x 65536 x 1", [&] {
                 launch({2, 65'536});
               });
  expect_error("ERR_ARGUMENT", "found a grid of 1 x 2 x 70000", [&] { launch({1, 2, 70'000}); });
}

}  // namespace

void add_cuda_grid_tests(Tests& tests) {
  tests.add("cuda grids: large batches", large_batches);
  const char* driver = std::getenv("TINYLORA_CUDA_DRIVER");
  if (driver != nullptr && *driver != '\0') tests.add("cuda grids: too long a side", too_long_a_side);
}

}  // namespace tinylora::test
