// The adapters of an engine: one basis (A, B, P of every adapted module, the tie groups) and one vector v a slot.
//   W' = W + B R_k A,  R_k = sum_i v_i P_i
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"

namespace tinylora {

struct BasisModule {
  int module = 0;        // 7 * layer + type
  int group = 0;         // which run of u numbers of v it uses
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

/// What the gradients of a backward pass are multiplied by, an exact power of two: gradients of log-probabilities are
/// about 1 / tokens, and below 2^-14 fp16 has fewer than its 10 bits of mantissa. Where one overflows, the gradients of
/// weights are not finite, which is reported as an error.
constexpr double gradient_scale(DType dtype) { return dtype == DType::f16 ? 4096 : 1; }

class Adapters {
 public:
  /// Without a basis: every row must name slot -1.
  explicit Adapters(Model& model);

  /// Checks the basis (ERR_ADAPTER) before anything changes. All vectors are zero after it, all versions 0.
  void set_basis(const Basis& basis);
  /// v [groups * u]; R is computed in double, rounded once. Returns the slot's new version, from 1.
  int set_vector(int slot, std::span<const float> v);
  /// The vectors of slots first, first + 1, ..., [n, groups * u]. Returns their new versions.
  std::vector<std::int32_t> set_vectors(int first, std::span<const float> v);
  /// Of the slot's vector; of slot -1, the version of the model's weights.
  int version(int slot) const;
  int slots() const { return basis_.slots; }
  int rank() const { return basis_.rank; }
  /// The number of bases that were set: what was sized or computed for another one is stale.
  int basis_version() const { return basis_version_; }
  bool adapts(int module) const { return entry_of_module_[static_cast<std::size_t>(module)] >= 0; }
  /// The first adapted module of the model; the number of modules where none is adapted.
  int first_module() const;

  /// A [r, in] and B transposed [r, out] of every adapted module, modules ascending. Whoever changes numbers of one
  /// must call `prepare` of it, and `changed` after the last.
  struct Factors {
    int module;
    std::shared_ptr<void> a, b;
  };
  std::vector<Factors> factors() const;
  /// Every slot gets a new version.
  void changed();
  /// Makes the backend's products use the present numbers of one of `factors`.
  void prepare(const void* factor);

  /// The low-rank update of one module, for `linear`; of rank 0 where the module is not adapted. `adapter`: the slot of
  /// each row of the batch, [M] on the backend.
  LoraArgs lora(int module, const std::int32_t* adapter) const;
  /// [slots, r, r] accumulators of one module on the backend, for linear_backward; nullptr where it is not adapted.
  double* d_r(int module);

  void zero_gradients();
  /// dv_i = <P_i, dR> summed over the group's modules, module ascending. [groups * u]
  std::vector<double> gradient(int slot) const;
  /// The same of any dR [adapted modules, count, r, r], at `index` of `count`.
  std::vector<double> gradient_of(std::span<const double> d_r, int count, int index) const;
  /// How many numbers such a dR has, and the index at which those of an adapted module start.
  std::size_t d_r_numbers(int count) const {
    return basis_.modules.size() * static_cast<std::size_t>(count) * square();
  }
  std::size_t d_r_place(int module, int count) const {
    const auto entry = static_cast<std::size_t>(entry_of_module_[static_cast<std::size_t>(module)]);
    return entry * static_cast<std::size_t>(count) * square();
  }
  /// No NaN or infinity in any slot's accumulators.
  bool gradients_finite() const;

 private:
  /// Numbers of one vector v.
  std::size_t vector_size() const {
    return static_cast<std::size_t>(basis_.groups) * static_cast<std::size_t>(basis_.u);
  }
  std::size_t square() const { return static_cast<std::size_t>(basis_.rank) * static_cast<std::size_t>(basis_.rank); }
  std::size_t r_offset(std::size_t entry) const { return entry * static_cast<std::size_t>(basis_.slots) * square(); }
  std::size_t r_count() const { return r_offset(basis_.modules.size()); }
  std::vector<double> download_d_r() const;
  /// R_k of every module for one slot, on the host, from a v that was checked.
  void make_r(int slot, std::span<const float> v);
  void upload_r();
  void check_slot(int slot) const;
  void prepare_a(std::size_t entry);
  void prepare_b(std::size_t entry);
  void prepare(std::shared_ptr<void>& prepared, const std::shared_ptr<void>& factor, int width);

  Model* model_;
  // An "entry" is an adapted module: an index into basis_.modules.
  Basis basis_;  // modules ascending; their a and b are empty here, they are on the backend
  int basis_version_ = 0;
  std::vector<int> versions_;             // [slots]
  std::vector<int> entry_of_module_;      // [modules of the model], -1 where not adapted
  std::vector<std::shared_ptr<void>> a_;  // of each entry [r, in] float
  std::vector<std::shared_ptr<void>> b_;  // of each entry [r, out] float: B transposed
  struct Prepared {
    std::shared_ptr<void> a, b;  // made by Backend::prepare_factor; none where products need none
  };
  std::vector<Prepared> prepared_;  // of each entry
  std::vector<float> r_host_;       // [entries, slots, r, r]
  std::shared_ptr<void> r_;         // the same on the backend
  std::shared_ptr<void> d_r_;       // [entries, slots, r, r] double
};

/// What the slot of a sequence may be with so many slots, in words. -1 is the base model.
std::string expected_slots(int slots);

}  // namespace tinylora
