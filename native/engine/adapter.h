// The adapters of an engine: one basis (A, B, P of every adapted module, the tie groups) and one vector v a slot.
//   W' = W + B R_k A,  R_k = sum_i v_i P_i
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/model.h"

namespace tinylora {

struct BasisModule {
  int module = 0;  // 7 * layer + type
  int group = 0;   // which run of u numbers of v it uses
  std::vector<float> a;  // [r, in]
  std::vector<float> b;  // [out, r]
  std::vector<float> p;  // [u, r, r]
};

struct Basis {
  int rank = 0;
  int u = 0;
  int groups = 0;
  int slots = 0;
  std::vector<BasisModule> modules;
};

class Adapters {
 public:
  /// No basis: every row must name slot -1.
  explicit Adapters(Model& model);

  void set_basis(const Basis& basis);
  /// v [groups * u]; R is computed in double, rounded once. Returns the slot's new version, from 1.
  int set_vector(int slot, std::span<const float> v);
  int version(int slot) const;
  int slots() const;

  /// What `linear` needs of one module; rank 0 where the module is not adapted. `adapter` is the batch's [M] on the backend.
  LoraArgs lora(int module, const std::int32_t* adapter) const;
  /// [slots, r, r] accumulators of one module on the backend, for linear_backward.
  double* d_r(int module);

  void zero_gradients();
  /// dv_i = <P_i, dR> summed over the group's modules, module ascending. [groups * u]
  std::vector<double> gradient(int slot) const;

 private:
  Model* model_;
  Basis basis_;
  std::vector<int> versions_;
  std::vector<int> entry_of_module_;             // index into basis_.modules, or -1
  std::vector<std::shared_ptr<void>> a_, b_, r_, d_r_;
};

}  // namespace tinylora
