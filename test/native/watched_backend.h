// The CPU backend, watched: for tests of what the sampler and the trainer make it do.
#pragma once

#include <set>

#include "cpu/cpu_backend.h"

namespace tinylora::test {

/// Remembers which pages were stored to, in how many passes, and how often rows were copied.
class Watched final : public CpuBackend {
 public:
  explicit Watched(int cheap_rows) : CpuBackend(DType::f32, 1, usable_paths().front()), cheap_rows_(cheap_rows) {}
  int cheap_rows() const override { return cheap_rows_; }
  void embed(const EmbedArgs& args) override {
    CpuBackend::embed(args);
    ++passes;
  }
  void rope_store(const RopeStoreArgs& args) override {
    CpuBackend::rope_store(args);
    for (int i = 0; i < args.layout->stores; ++i) pages.insert(args.layout->store_slot[i] / kPageSize);
    rows = args.layout->rows;
  }
  void copy_rows(const CopyRowsArgs& args) override {
    CpuBackend::copy_rows(args);
    ++copies;
  }
  std::set<int> pages;
  int rows = 0;  // of the last pass
  int passes = 0;
  int copies = 0;

 private:
  int cheap_rows_;
};

}  // namespace tinylora::test
