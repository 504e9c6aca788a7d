#include "engine/adapter.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "engine/model_shape.h"

namespace tinylora {
namespace {

constexpr int kMaxU = 1 << 16;
constexpr std::size_t kMaxNumbers = std::size_t{1} << 31;  // of all R together

void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  check(value >= least && value <= most, "ERR_ADAPTER", "adapter basis: ", name, ": expected ", least, " to ", most,
        ", found ", value);
}

void check_matrix(int module, const char* name, const std::vector<float>& values, std::size_t expected) {
  check(values.size() == expected, "ERR_ADAPTER", "adapter basis: module ", module, ": ", name, ": expected ", expected,
        " numbers, found ", values.size());
  check(std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }), "ERR_ADAPTER",
        "adapter basis: module ", module, ": ", name, ": expected finite numbers, found NaN or infinity");
}

void check_basis(const ModelConfig& config, const Basis& basis) {
  check_range("rank", basis.rank, 1, kMaxRank);
  check_range("u", basis.u, 1, kMaxU);
  check_range("slots", basis.slots, 1, 1 << 16);
  const int modules = config.layers * module_types;
  check_range("modules", static_cast<std::int64_t>(basis.modules.size()), 1, modules);
  check_range("groups", basis.groups, 1, static_cast<std::int64_t>(basis.modules.size()));
  const auto rank = static_cast<std::size_t>(basis.rank);
  check(basis.modules.size() * static_cast<std::size_t>(basis.slots) * rank * rank <= kMaxNumbers, "ERR_ADAPTER",
        "adapter basis: ", basis.slots, " slots of rank ", basis.rank, " are more than fit");
  std::vector<bool> seen(static_cast<std::size_t>(modules));
  for (const BasisModule& entry : basis.modules) {
    check_range("module", entry.module, 0, modules - 1);
    check(!seen[static_cast<std::size_t>(entry.module)], "ERR_ADAPTER", "adapter basis: module ", entry.module,
          ": found a second time");
    seen[static_cast<std::size_t>(entry.module)] = true;
    check_range("group", entry.group, 0, basis.groups - 1);
    const LinearShape shape = linear_shape(config, entry.module % module_types);
    check_matrix(entry.module, "A", entry.a, rank * static_cast<std::size_t>(shape.in));
    check_matrix(entry.module, "B", entry.b, rank * static_cast<std::size_t>(shape.out));
    check_matrix(entry.module, "P", entry.p, static_cast<std::size_t>(basis.u) * rank * rank);
  }
}

/// [rows, columns] -> [columns, rows]
std::vector<float> transposed(const std::vector<float>& matrix, std::size_t columns) {
  const std::size_t rows = matrix.size() / columns;
  std::vector<float> result(matrix.size());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column)
      result[column * rows + row] = matrix[row * columns + column];
  }
  return result;
}

void check_finite(std::span<const float> v) {
  for (std::size_t i = 0; i < v.size(); ++i) {
    check(std::isfinite(v[i]), "ERR_NUMERIC", "adapter vector: expected finite numbers, found ", v[i], " at ", i);
  }
}

/// Of each tie group's u numbers of v those from the first to the last that is not zero. Adapters with other
/// projections beside them have few: all P lie in one basis (lib/adapter/projections.ts), and a term 0 * P changes no
/// sum.
struct Range {
  std::size_t first, last;
};
std::vector<Range> used_ranges(std::span<const float> v, std::size_t u) {
  const auto used = [](float x) { return x != 0; };
  std::vector<Range> ranges;
  for (; !v.empty(); v = v.subspan(u)) {
    const auto group = v.first(u);
    const auto first = std::find_if(group.begin(), group.end(), used) - group.begin();
    const auto after = group.rend() - std::find_if(group.rbegin(), group.rend(), used);
    ranges.push_back({static_cast<std::size_t>(first), static_cast<std::size_t>(after)});
  }
  return ranges;
}

}  // namespace

Adapters::Adapters(Model& model)
    : model_(&model), entry_of_module_(static_cast<std::size_t>(model.config.layers * module_types), -1) {}

void Adapters::set_basis(const Basis& basis) {
  check_basis(model_->config, basis);
  // Everything that can fail (memory) comes first: on an error the old basis stays in use, whole.
  Adapters next(*model_);
  next.basis_ = basis;
  std::sort(next.basis_.modules.begin(), next.basis_.modules.end(),
            [](const BasisModule& left, const BasisModule& right) { return left.module < right.module; });
  for (std::size_t entry = 0; entry < next.basis_.modules.size(); ++entry) {
    BasisModule& module = next.basis_.modules[entry];
    next.entry_of_module_[static_cast<std::size_t>(module.module)] = static_cast<int>(entry);
    next.a_.push_back(uploaded(*model_->backend, module.a));
    next.b_.push_back(uploaded(*model_->backend, transposed(module.b, static_cast<std::size_t>(basis.rank))));
    module.a = {};
    module.b = {};
    next.prepared_.emplace_back();
    next.prepare_a(entry);
    next.prepare_b(entry);
  }
  next.versions_.assign(static_cast<std::size_t>(basis.slots), 0);
  next.r_host_.assign(next.r_count(), 0);
  next.r_ = model_->backend->allocate(next.r_count() * sizeof(float));
  next.d_r_ = model_->backend->allocate(next.r_count() * sizeof(double));
  next.basis_version_ = basis_version_ + 1;
  *this = std::move(next);
}

int Adapters::set_vector(int slot, std::span<const float> v) {
  check_slot(slot);
  check(v.size() == vector_size(), "ERR_ADAPTER", "adapter vector: expected ", vector_size(), " numbers, found ",
        v.size());
  check_finite(v);
  make_r(slot, v);
  upload_r();
  return ++versions_[static_cast<std::size_t>(slot)];
}

std::vector<std::int32_t> Adapters::set_vectors(int first, std::span<const float> v) {
  check_slot(first);
  const std::size_t numbers = vector_size();
  check(!v.empty() && v.size() % numbers == 0, "ERR_ADAPTER", "adapter vectors: expected a multiple of ", numbers,
        " numbers, found ", v.size());
  if (v.size() / numbers > static_cast<std::size_t>(basis_.slots - first)) check_slot(basis_.slots);
  check_finite(v);  // all of them before the first is used: after an error no slot has changed
  const auto count = static_cast<int>(v.size() / numbers);
  for (int i = 0; i < count; ++i) make_r(first + i, v.subspan(static_cast<std::size_t>(i) * numbers, numbers));
  upload_r();
  std::vector<std::int32_t> versions;
  for (int i = 0; i < count; ++i) versions.push_back(++versions_[static_cast<std::size_t>(first + i)]);
  return versions;
}

void Adapters::make_r(int slot, std::span<const float> v) {
  const auto u = static_cast<std::size_t>(basis_.u);
  const std::vector<Range> used = used_ranges(v, u);
  for (std::size_t entry = 0; entry < basis_.modules.size(); ++entry) {
    const BasisModule& module = basis_.modules[entry];
    const auto group = static_cast<std::size_t>(module.group);
    float* r = r_host_.data() + r_offset(entry) + static_cast<std::size_t>(slot) * square();
    for (std::size_t cell = 0; cell < square(); ++cell) {
      double sum = 0;
      for (std::size_t i = used[group].first; i < used[group].last; ++i) {
        sum += static_cast<double>(v[group * u + i]) * static_cast<double>(module.p[i * square() + cell]);
      }
      r[cell] = static_cast<float>(sum);
    }
  }
}

void Adapters::upload_r() { model_->backend->upload(r_.get(), r_host_.data(), r_host_.size() * sizeof(float)); }

int Adapters::version(int slot) const {
  if (slot == -1) return model_->version;
  check_slot(slot);
  return versions_[static_cast<std::size_t>(slot)];
}

int Adapters::first_module() const {
  return basis_.modules.empty() ? static_cast<int>(entry_of_module_.size()) : basis_.modules.front().module;
}

std::vector<Adapters::Factors> Adapters::factors() const {
  std::vector<Factors> factors;
  for (std::size_t entry = 0; entry < basis_.modules.size(); ++entry) {
    factors.push_back({basis_.modules[entry].module, a_[entry], b_[entry]});
  }
  return factors;
}

void Adapters::prepare(const void* factor) {
  for (std::size_t entry = 0; entry < basis_.modules.size(); ++entry) {
    if (factor == a_[entry].get()) prepare_a(entry);
    if (factor == b_[entry].get()) prepare_b(entry);
  }
}

void Adapters::prepare_a(std::size_t entry) {
  prepare(prepared_[entry].a, a_[entry], linear_shape(model_->config, basis_.modules[entry].module % module_types).in);
}

void Adapters::prepare_b(std::size_t entry) {
  prepare(prepared_[entry].b, b_[entry], linear_shape(model_->config, basis_.modules[entry].module % module_types).out);
}

void Adapters::prepare(std::shared_ptr<void>& prepared, const std::shared_ptr<void>& factor, int width) {
  const std::size_t bytes = model_->backend->prepared_bytes(basis_.rank, width);
  if (bytes == 0) return;
  if (prepared == nullptr) prepared = model_->backend->allocate(bytes);
  model_->backend->prepare_factor(static_cast<const float*>(factor.get()), basis_.rank, width, prepared.get());
}

void Adapters::changed() {
  for (int& version : versions_) ++version;
}

LoraArgs Adapters::lora(int module, const std::int32_t* adapter) const {
  if (!adapts(module)) return {};
  const auto entry = static_cast<std::size_t>(entry_of_module_[static_cast<std::size_t>(module)]);
  return {.rank = basis_.rank,
          .a = static_cast<const float*>(a_[entry].get()),
          .b = static_cast<const float*>(b_[entry].get()),
          .r = static_cast<const float*>(r_.get()) + r_offset(entry),
          .adapter = adapter,
          .adapters = basis_.slots,
          .a_prepared = prepared_[entry].a.get(),
          .b_prepared = prepared_[entry].b.get()};
}

double* Adapters::d_r(int module) {
  if (!adapts(module)) return nullptr;
  const auto entry = static_cast<std::size_t>(entry_of_module_[static_cast<std::size_t>(module)]);
  return static_cast<double*>(d_r_.get()) + r_offset(entry);
}

void Adapters::zero_gradients() {
  if (d_r_ != nullptr) model_->backend->zero(d_r_.get(), r_count() * sizeof(double));
}

std::vector<double> Adapters::gradient(int slot) const {
  check_slot(slot);
  return gradient_of(download_d_r(), basis_.slots, slot);
}

std::vector<double> Adapters::gradient_of(std::span<const double> d_r, int count, int index) const {
  const auto u = static_cast<std::size_t>(basis_.u);
  const double scale = gradient_scale(model_->backend->dtype());
  std::vector<double> gradient(vector_size());
  for (std::size_t entry = 0; entry < basis_.modules.size(); ++entry) {
    const BasisModule& module = basis_.modules[entry];
    const double* d =
        d_r.data() + (entry * static_cast<std::size_t>(count) + static_cast<std::size_t>(index)) * square();
    for (std::size_t i = 0; i < u; ++i) {
      double sum = 0;
      for (std::size_t cell = 0; cell < square(); ++cell) {
        sum += static_cast<double>(module.p[i * square() + cell]) * d[cell];
      }
      gradient[static_cast<std::size_t>(module.group) * u + i] += sum / scale;
    }
  }
  return gradient;
}

bool Adapters::gradients_finite() const {
  const std::vector<double> d_r = download_d_r();
  return std::all_of(d_r.begin(), d_r.end(), [](double value) { return std::isfinite(value); });
}

std::vector<double> Adapters::download_d_r() const {
  std::vector<double> values(r_count());
  if (!values.empty()) model_->backend->download(values.data(), d_r_.get(), values.size() * sizeof(double));
  return values;
}

void Adapters::check_slot(int slot) const {
  check(slot >= 0 && slot < basis_.slots, "ERR_ARGUMENT", "adapter slot: expected ",
        basis_.slots == 0 ? "a basis first" : "0 to " + std::to_string(basis_.slots - 1), ", found ", slot);
}

std::string expected_slots(int slots) {
  return slots == 0 ? "-1, the base model, since no adapter is attached" : "-1 to " + std::to_string(slots - 1);
}

}  // namespace tinylora
