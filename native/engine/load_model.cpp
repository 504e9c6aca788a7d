// From tensor sources to a model on a backend: check everything, map the files, widen row by row, hash, pack.
#include <algorithm>
#include <map>
#include <mutex>

#include "core/error.h"
#include "engine/fingerprint.h"
#include "engine/model_shape.h"
#include "engine/models/family.h"
#include "engine/rope_table.h"
#include "engine/tensor_rows.h"

namespace tinylora {
namespace {

/// Bytes of a matrix after which its progress is told.
constexpr std::int64_t kTold = std::int64_t{1} << 22;

/// The tensors by name, the mapped files, and the fingerprint that grows with every tensor read.
class Loader {
 public:
  Loader(Backend& backend, const ModelConfig& config, const std::vector<TensorSource>& tensors,
         const Progress& progress)
      : backend_(backend), config_(config), progress_(progress), fingerprint_(config) {
    for (const TensorSource& source : tensors) {
      check(sources_.emplace(source.name, &source).second, "ERR_MODEL", "tensor ", source.name, " in ", source.file,
            ": found a second time");
    }
  }

  std::unique_ptr<Model> load() {
    check_names();
    auto model = std::make_unique<Model>();
    model->config = config_;
    model->config.context = std::min(config_.context, kMaxContext);
    model->backend = &backend_;
    check_tied_head();
    model->embedding = matrix(embedding_shape(config_));
    if (!config_.tied_embeddings) model->separate_head = matrix(head_shape(config_));
    model->final_norm = vector(final_norm_shape(config_));
    for (int layer = 0; layer < config_.layers; ++layer) model->layers.push_back(load_layer(layer));
    const RopeTable rope = rope_table(model->config, model->config.context);
    model->rope_cos = upload(rope.cos);
    model->rope_sin = upload(rope.sin);
    model->fingerprint = fingerprint_.text();
    model->weight_bytes = weight_bytes_;
    return model;
  }

 private:
  bool qk_norm() const { return find_family(config_.family)->qk_norm; }

  std::vector<TensorShape> needed() const {
    std::vector<TensorShape> shapes{embedding_shape(config_), final_norm_shape(config_)};
    if (!config_.tied_embeddings) shapes.push_back(head_shape(config_));
    for (int layer = 0; layer < config_.layers; ++layer) {
      shapes.push_back(input_norm_shape(config_, layer));
      shapes.push_back(post_norm_shape(config_, layer));
      if (qk_norm()) shapes.push_back(q_norm_shape(config_, layer));
      if (qk_norm()) shapes.push_back(k_norm_shape(config_, layer));
      for (int type = 0; type < module_types; ++type) {
        shapes.push_back(weight_shape(config_, layer, type));
        if (has_bias(config_, type)) shapes.push_back(bias_shape(config_, layer, type));
      }
    }
    return shapes;
  }

  /// Checks all tensors before the first is read, so that a bad file is refused at once. A tensor that the model does
  /// not need is refused too: it may belong to a variant of the model that computes something else.
  void check_names() {
    std::map<std::string, const TensorSource*> left = sources_;
    for (const TensorShape& shape : needed()) {
      const TensorRows rows = open(shape);
      total_bytes_ += bytes_of(shape);
      left.erase(shape.name);
    }
    if (has_copied_head()) total_bytes_ += bytes_of(head_shape(config_));
    for (const auto& [name, source] : left) {
      check(is_harmless_extra(config_, name), "ERR_MODEL", "tensor ", name, " in ", source->file,
            ": expected only the tensors of a ", config_.family, " model with ", config_.layers, " layers");
    }
  }

  /// Files may contain the embedding a second time, as the head that is tied to it. Where its numbers differ, some
  /// readers would use them as the head and others would not, so such files are refused.
  void check_tied_head() {
    if (!has_copied_head()) return;
    const TensorShape shape = head_shape(config_);
    const TensorRows head = open(shape);
    const TensorRows embedding = open(embedding_shape(config_));
    std::vector<float> found(static_cast<std::size_t>(shape.columns)), wanted(found.size());
    for (int row = 0; row < shape.rows; ++row) {
      tell_before(bytes_of(shape) / shape.rows);
      head.read(row, found.data());
      embedding.read(row, wanted.data());
      check(found == wanted, "ERR_MODEL", "tensor ", shape.name, " in ", sources_.at(shape.name)->file,
            ": expected a copy of model.embed_tokens.weight, as embeddings are tied (tie_word_embeddings), found row ",
            row, " to differ");
    }
    finish(head, shape);
  }

  bool has_copied_head() const { return config_.tied_embeddings && sources_.contains(head_shape(config_).name); }

  std::int64_t bytes_of(const TensorShape& shape) const {
    return static_cast<std::int64_t>(sources_.at(shape.name)->bytes);
  }

  TensorRows open(const TensorShape& shape) {
    const auto found = sources_.find(shape.name);
    check(found != sources_.end(), "ERR_MODEL", "tensor ", shape.name, ": missing from the model's files");
    std::shared_ptr<const MappedFile>& file = files_[found->second->file];
    if (file == nullptr) file = std::make_shared<MappedFile>(found->second->file);
    return {file, *found->second, shape};
  }

  Layer load_layer(int index) {
    Layer layer;
    layer.input_norm = vector(input_norm_shape(config_, index));
    layer.post_norm = vector(post_norm_shape(config_, index));
    if (qk_norm()) layer.q_norm = vector(q_norm_shape(config_, index));
    if (qk_norm()) layer.k_norm = vector(k_norm_shape(config_, index));
    for (int type = 0; type < module_types; ++type) {
      layer.linear[type].weight = matrix(weight_shape(config_, index, type));
      if (has_bias(config_, type)) layer.linear[type].bias = vector(bias_shape(config_, index, type));
    }
    return layer;
  }

  std::unique_ptr<Weight> matrix(const TensorShape& shape) {
    const TensorRows rows = open(shape);
    const std::int64_t row_bytes = bytes_of(shape) / shape.rows;
    const std::uint64_t name = Fingerprint::hash_name(shape.name);
    const auto width = static_cast<std::size_t>(shape.columns);
    auto weight = backend_.pack(shape.rows, shape.columns, [&](int row, float* values) {
      tell_before(row_bytes);
      rows.read(row, values);
      rows.check_holds(backend_.dtype(), row, {values, width});
      fingerprint_.add_row(name, row, {values, width});
    });
    weight_bytes_ += static_cast<std::size_t>(shape.rows) * width * size_of(backend_.dtype());
    finish(rows, shape);
    return weight;
  }

  std::shared_ptr<void> vector(const TensorShape& shape) {
    const TensorRows rows = open(shape);
    std::vector<float> values(static_cast<std::size_t>(shape.rows));
    for (int row = 0; row < shape.rows; ++row) rows.read(row, &values[static_cast<std::size_t>(row)]);
    fingerprint_.add_row(Fingerprint::hash_name(shape.name), 0, values);
    finish(rows, shape);
    return upload(values);
  }

  std::shared_ptr<void> upload(const std::vector<float>& values) {
    weight_bytes_ += values.size() * sizeof(float);
    return uploaded(backend_, values);
  }

  /// Before each row of a matrix, on any thread: the embedding of a 7B model takes seconds.
  void tell_before(std::int64_t row_bytes) {
    const std::lock_guard lock(telling_);
    if (progress_ && !ended_ && read_bytes_ >= told_bytes_ + kTold) {
      told_bytes_ = read_bytes_;
      ended_ = true;  // stays so where the report throws
      progress_(done_bytes_ + read_bytes_, total_bytes_);
      ended_ = false;
    }
    read_bytes_ += row_bytes;
  }

  void finish(const TensorRows& rows, const TensorShape& shape) {
    rows.forget();
    done_bytes_ += bytes_of(shape);
    read_bytes_ = told_bytes_ = 0;
    if (progress_) progress_(done_bytes_, total_bytes_);
  }

  Backend& backend_;
  const ModelConfig& config_;
  const Progress& progress_;
  std::map<std::string, const TensorSource*> sources_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
  Fingerprint fingerprint_;
  std::size_t weight_bytes_ = 0;
  std::int64_t done_bytes_ = 0;
  std::int64_t total_bytes_ = 0;
  std::mutex telling_;
  std::int64_t read_bytes_ = 0;  // of the matrix under way
  std::int64_t told_bytes_ = 0;
  bool ended_ = false;  // a report threw: other threads, which read on until they hear of it, tell no more
};

}  // namespace

std::unique_ptr<Model> load_model(Backend& backend, const ModelConfig& config, const std::vector<TensorSource>& tensors,
                                  const Progress& progress) {
  check_config(config);
  return Loader(backend, config, tensors, progress).load();
}

RowReader module_rows(const std::vector<TensorSource>& tensors, const ModelConfig& config, int module) {
  check(module >= 0 && module < config.layers * module_types, "ERR_ARGUMENT", "module: expected 0 to ",
        config.layers * module_types - 1, ", found ", module);
  const TensorShape shape = weight_shape(config, module / module_types, module % module_types);
  return [rows = open_tensor(tensors, shape)](int row, float* values) { rows.read(row, values); };
}

}  // namespace tinylora
