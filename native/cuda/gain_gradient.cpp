// gain_gradient and head_gain_gradient.
#include "cuda/kernels/gain_gradient.h"

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {

using cuda::ceil_div;
using cuda::launch;

void CudaBackend::gain_gradient(const GainGradientArgs& args) {
  launch(*device_, "gain_gradient", "gain_gradient",
         {.grid = {ceil_div(args.width, cuda::kColumnSumWidth)}, .block = cuda::kColumnSumThreads}, args);
}

void CudaBackend::head_gain_gradient(const HeadGainGradientArgs& args) {
  const RopeStoreBackwardArgs& back = *args.back;
  const SequenceLayout& layout = *back.layout;
  cuda::check_heads("head_gain_gradient", back.heads, back.kv_heads, back.head_dim);
  const auto add = [&](cuda::HeadGainTask task) {
    if (task.d_gain == nullptr || task.count == 0) return;
    const unsigned runs = ceil_div(task.count, cuda::kHeadGainRun);
    const auto sums = device_->scratch(std::size_t{runs} * static_cast<std::size_t>(back.head_dim) * sizeof(double));
    task.head_dim = back.head_dim;
    task.epsilon = back.epsilon;
    task.position = layout.position;
    task.cos = back.cos;
    task.sin = back.sin;
    task.runs = static_cast<double*>(sums.get());
    launch(*device_, "head_gain_gradient", "head_gain_runs", {.grid = {runs}, .block = cuda::kHeadGainWarps * 32},
           task);
    launch(*device_, "head_gain_gradient", "head_gain_sum", {.grid = {}, .block = cuda::kMaxHeadDim}, task);
  };

  cuda::HeadGainTask queries{};
  queries.count = layout.rows;
  queries.heads = back.heads;
  queries.x = back.q;
  queries.dy = back.dq_out;
  queries.d_gain = args.d_q_gain;
  add(queries);
  cuda::HeadGainTask keys{};
  keys.count = layout.stores;
  keys.heads = back.kv_heads;
  keys.item_row = layout.store_row;
  keys.item_slot = layout.store_slot;
  keys.x = back.k;
  keys.dy = back.d_keys;
  keys.d_gain = args.d_k_gain;
  add(keys);
}

}  // namespace tinylora
