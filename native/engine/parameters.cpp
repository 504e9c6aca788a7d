#include "engine/parameters.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/error.h"
#include "engine/model_shape.h"
#include "engine/models/family.h"
#include "engine/overflow_advice.h"
#include "engine/tensor_rows.h"

namespace tinylora {
namespace {

/// One weight of the model: where it is, and where the pointer to its gradient is.
struct Place {
  TensorShape shape;
  Weight* weight = nullptr;                 // of a matrix, else null
  std::shared_ptr<void>* vector = nullptr;  // of a vector, else null
  float** gradient = nullptr;
  int first_module = 0;  // the backward pass must reach the output of this module (ModelGradient::first_module)
};

/// Calls visit(Place) for every weight of the model.
template <class Visit>
void for_each_place(Model& model, ModelGradient& gradient, const Visit& visit) {
  const ModelConfig& config = model.config;
  const Family& family = *find_family(config.family);
  const int modules = config.layers * module_types;
  visit(Place{embedding_shape(config), model.embedding.get(), nullptr, &gradient.embedding, -1});
  if (model.separate_head)
    visit(Place{head_shape(config), model.separate_head.get(), nullptr, &gradient.head, modules});
  visit(Place{final_norm_shape(config), nullptr, &model.final_norm, &gradient.final_norm, modules});
  for (int index = 0; index < config.layers; ++index) {
    Layer& layer = model.layers[static_cast<std::size_t>(index)];
    LayerGradient& own = gradient.layers[static_cast<std::size_t>(index)];
    const int first = index * module_types;
    visit(Place{input_norm_shape(config, index), nullptr, &layer.input_norm, &own.input_norm, first});
    visit(Place{post_norm_shape(config, index), nullptr, &layer.post_norm, &own.post_norm, first + gate_proj});
    if (family.qk_norm) {
      visit(Place{q_norm_shape(config, index), nullptr, &layer.q_norm, &own.q_norm, first});
      visit(Place{k_norm_shape(config, index), nullptr, &layer.k_norm, &own.k_norm, first});
    }
    for (int type = 0; type < module_types; ++type) {
      Linear& linear = layer.linear[type];
      LinearGradient& target = own.linear[type];
      visit(Place{weight_shape(config, index, type), linear.weight.get(), nullptr, &target.weight, first + type});
      if (linear.bias) visit(Place{bias_shape(config, index, type), nullptr, &linear.bias, &target.bias, first + type});
    }
  }
}

ModelGradient no_gradient(const Model& model) {
  ModelGradient gradient;
  gradient.layers.resize(static_cast<std::size_t>(model.config.layers));
  gradient.first_module = model.config.layers * module_types;
  return gradient;
}

/// What a part of a tensor holds is this factor times the number that it stands for.
double scale_of(const Model& model, Parameters::Part part) {
  return part == Parameters::gradient ? gradient_scale(model.backend->dtype()) : 1;
}

}  // namespace

Parameters::Parameters(Model& model, Adapters& adapters)
    : model_(&model), adapters_(&adapters), gradients_(no_gradient(model)) {}

void Parameters::clear() { replace({}, no_gradient(*model_), false); }

void Parameters::train_basis() {
  const std::vector<Adapters::Factors> factors = adapters_->factors();
  check(!factors.empty(), "ERR_ARGUMENT", "train: expected an adapter basis first, found none");
  ModelGradient targets = no_gradient(*model_);
  std::vector<Entry> entries;
  for (const Adapters::Factors& factor : factors) {
    const int type = factor.module % module_types;
    const TensorShape shape = weight_shape(model_->config, factor.module / module_types, type);
    const std::string name = shape.name.substr(0, shape.name.rfind(".weight"));
    LinearGradient& target = targets.layers[static_cast<std::size_t>(factor.module / module_types)].linear[type];
    const auto add = [&](const char* suffix, int columns, const std::shared_ptr<void>& values, float*& place) {
      entries.push_back(make_entry({name + suffix, adapters_->rank(), columns}, values));
      place = entries.back().data(Part::gradient);
    };
    add(".lora_A", shape.columns, factor.a, target.a);
    add(".lora_B", shape.rows, factor.b, target.b);
  }
  replace(std::move(entries), std::move(targets), true);
}

void Parameters::train_weights(const std::vector<std::string>& names, const std::vector<TensorSource>& sources) {
  check(!names.empty(), "ERR_ARGUMENT", "train: expected at least one weight");
  std::vector<std::string> left = names;
  ModelGradient targets = no_gradient(*model_);
  std::vector<Entry> entries;
  std::vector<std::function<void()>> adopt;  // once everything that can fail is done
  for_each_place(*model_, targets, [&](const Place& place) {
    const auto named = std::find(left.begin(), left.end(), place.shape.name);
    if (named == left.end()) return;
    left.erase(named);
    Entry entry = make_entry({place.shape.name, place.shape.rows, place.shape.columns, place.shape.vector},
                             read_source(place.shape, sources));
    entry.weight = place.weight;
    *place.gradient = entry.data(Part::gradient);
    targets.first_module = std::min(targets.first_module, place.first_module);
    if (place.vector) adopt.push_back([vector = place.vector, values = entry.memory[master]] { *vector = values; });
    entries.push_back(std::move(entry));
  });
  check(left.empty(), "ERR_ARGUMENT", "train: ", left.empty() ? "" : left.front(),
        ": no weight of this model, or named twice");
  if (!model_->separate_head) targets.head = targets.embedding;
  for (const auto& step : adopt) step();
  replace(std::move(entries), std::move(targets), false);
  changed();
  for (const Entry& entry : entries_) publish(entry);
}

std::vector<Parameters::Tensor> Parameters::tensors() const {
  std::vector<Tensor> tensors;
  for (const Entry& entry : entries_) tensors.push_back(entry.tensor);
  return tensors;
}

ModelGradient Parameters::gradients() const {
  ModelGradient gradients = gradients_;
  gradients.first_module = std::min(gradients.first_module, adapters_->first_module());
  return gradients;
}

void Parameters::zero_gradients() {
  for (const Entry& entry : entries_) model_->backend->zero(entry.data(Part::gradient), entry.bytes());
}

double Parameters::gradient_norm() const {
  const std::shared_ptr<void> memory = model_->backend->allocate(sizeof(double));
  double total = 0;
  for (const Entry& entry : entries_) {
    auto* sum = static_cast<double*>(memory.get());
    model_->backend->sum_squares(
        {.count = static_cast<std::int64_t>(entry.tensor.count()), .x = entry.data(Part::gradient), .sum = sum});
    double squares = 0;
    model_->backend->download(&squares, sum, sizeof(squares));
    total += squares;
  }
  return std::sqrt(total) / scale_of(*model_, gradient);
}

double Parameters::update(const UpdateOptions& options) {
  check(!entries_.empty(), "ERR_ARGUMENT", "update: expected weights that are trained, found none");
  check_update_options(options);
  const double norm = gradient_norm();
  check(std::isfinite(norm), "ERR_NUMERIC", "update: the gradient is NaN or infinite",
        overflow_advice(model_->backend->dtype()));
  const double cut = options.max_norm > 0 && norm > options.max_norm ? options.max_norm / norm : 1;
  const double scale = cut / scale_of(*model_, gradient);
  const auto updates = static_cast<double>(options.updates);
  changed();
  for (const Entry& entry : entries_) {
    const auto count = static_cast<std::int64_t>(entry.tensor.count());
    const double decay = entry.tensor.vector ? 0 : options.decay;
    if (options.adamw) {
      model_->backend->adamw({.count = count,
                              .rate = static_cast<float>(options.rate),
                              .decay = static_cast<float>(decay),
                              .scale = static_cast<float>(scale),
                              .beta1 = static_cast<float>(options.beta1),
                              .beta2 = static_cast<float>(options.beta2),
                              .epsilon = static_cast<float>(options.epsilon),
                              .correction1 = static_cast<float>(1 - std::pow(options.beta1, updates)),
                              .correction2 = static_cast<float>(1 - std::pow(options.beta2, updates)),
                              .gradient = entry.data(gradient),
                              .first = entry.data(first_moment),
                              .second = entry.data(second_moment),
                              .weight = entry.data(master)});
    } else {
      model_->backend->sgd({.count = count,
                            .rate = static_cast<float>(options.rate),
                            .decay = static_cast<float>(decay),
                            .scale = static_cast<float>(scale),
                            .momentum = static_cast<float>(options.momentum),
                            .gradient = entry.data(gradient),
                            .buffer = entry.data(first_moment),
                            .weight = entry.data(master)});
    }
    publish(entry);
  }
  return norm;
}

std::vector<float> Parameters::read(int tensor, Part part) const {
  const Entry& found = entry(tensor);
  std::vector<float> values(found.tensor.count());
  model_->backend->download(values.data(), found.data(part), found.bytes());
  for (float& value : values) value /= static_cast<float>(scale_of(*model_, part));
  return values;
}

void Parameters::write(int tensor, Part part, const std::vector<float>& values) {
  const Entry& found = entry(tensor);
  check(values.size() == found.tensor.count(), "ERR_ARGUMENT", found.tensor.name, ": expected ", found.tensor.count(),
        " numbers, found ", values.size());
  check(std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }), "ERR_NUMERIC",
        found.tensor.name, ": expected finite numbers, found NaN or infinity");
  std::vector<float> scaled;
  if (scale_of(*model_, part) != 1) scaled = values;
  for (float& value : scaled) value *= static_cast<float>(scale_of(*model_, part));
  if (part == master) changed();
  model_->backend->upload(found.data(part), scaled.empty() ? values.data() : scaled.data(), found.bytes());
  if (part == master) publish(found);
}

void Parameters::save() {
  saved_.clear();
  std::vector<Saved> saved(entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    for (const Part part : kKept) saved[i][part] = read(static_cast<int>(i), part);
  }
  saved_ = std::move(saved);
}

void Parameters::restore() {
  check(saved_.size() == entries_.size(), "ERR_ARGUMENT", "restore: expected saved weights, found none");
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    for (const Part part : kKept) write(static_cast<int>(i), part, saved_[i][part]);
  }
}

Parameters::Entry Parameters::make_entry(const Tensor& tensor, std::shared_ptr<void> values) const {
  Entry entry;
  entry.tensor = tensor;
  entry.memory[master] = std::move(values);
  for (const Part part : {gradient, first_moment, second_moment}) {
    entry.memory[part] = model_->backend->allocate(entry.bytes());
  }
  return entry;
}

std::shared_ptr<void> Parameters::read_source(const TensorShape& shape,
                                              const std::vector<TensorSource>& sources) const {
  const TensorRows rows = open_tensor(sources, shape);
  std::vector<float> values(static_cast<std::size_t>(shape.rows) * static_cast<std::size_t>(shape.columns));
  for (int row = 0; row < shape.rows; ++row) {
    rows.read(row, values.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(shape.columns));
  }
  rows.forget();
  return uploaded(*model_->backend, values);
}

void Parameters::replace(std::vector<Entry> entries, ModelGradient gradients, bool basis) {
  entries_ = std::move(entries);
  saved_.clear();
  gradients_ = std::move(gradients);
  basis_ = basis;
  ++version_;
}

const Parameters::Entry& Parameters::entry(int tensor) const {
  check(tensor >= 0 && static_cast<std::size_t>(tensor) < entries_.size(), "ERR_ARGUMENT", "trained tensor: expected ",
        entries_.empty() ? "weights that are trained first" : "0 to " + std::to_string(entries_.size() - 1), ", found ",
        tensor);
  return entries_[static_cast<std::size_t>(tensor)];
}

void Parameters::publish(const Entry& entry) {
  if (entry.weight) model_->backend->repack(*entry.weight, entry.data(master));
  if (basis_) adapters_->prepare(entry.data(master));
}

void Parameters::changed() {
  if (!basis_) ++model_->version;
  adapters_->changed();
}

}  // namespace tinylora
