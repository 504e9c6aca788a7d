#include "machine/grid.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "machine/block.h"

namespace cudasim {
namespace {

constexpr uint32_t kTurn = 1 << 14;  // instructions of one warp before the next has its turn

class Grid {
 public:
  Grid(const Launch& launch, std::vector<SiteCounters>& sites)
      : launch_(launch), sample_(launch.program.usesGlobalAtomics ? 0 : launch.sample), sites_(sites) {
    const Dim3 &grid = launch.grid, &cluster = launch.cluster;
    clusters_ = {grid.x / cluster.x, grid.y / cluster.y, grid.z / cluster.z};
    chooseClusters();
    if (launch.orderSeed != 0) std::shuffle(order_.begin(), order_.end(), std::mt19937_64(launch.orderSeed));
  }

  LaunchResult run(uint32_t threads) {
    const Program& program = launch_.program;  // sums of floats repeat, and counters do
    const bool serial = program.addsGlobalFloats || (program.usesGlobalAtomics && launch_.sample != 0);
    const auto count = serial ? 1 : std::min<uint64_t>(threads, order_.size());
    std::vector<std::thread> others;
    for (uint64_t i = 1; i < count; ++i) others.emplace_back([this] { work(); });
    work();
    for (std::thread& other : others) other.join();
    for (const auto& [begin, end] : written_) launch_.memory.markDefined(begin, end - begin);
    return {std::move(failure_), WrittenRanges(std::move(written_))};
  }

 private:
  void work() {
    Worker worker(launch_, globalOrder_);
    std::deque<Block> blocks;
    Cluster cluster;
    for (uint32_t i = 0; i < launch_.cluster.count(); ++i) {
      cluster.blocks.push_back(&blocks.emplace_back(worker, cluster, i));
    }
    for (uint64_t next = next_++; next < order_.size() && !failed_; next = next_++) {
      cluster.reset();
      runCluster(blocks, order_[next].cluster);
      if (sample_ != 0) keep(worker, order_[next].weight);
    }
    keep(worker, 1);
    const std::lock_guard guard(lock_);
    written_.insert(written_.end(), worker.written.begin(), worker.written.end());
  }

  void keep(Worker& worker, uint32_t weight) {
    const std::lock_guard guard(lock_);
    for (size_t pc = 0; pc < sites_.size(); ++pc) sites_[pc].add(worker.sites[pc], weight);
    std::fill(worker.sites.begin(), worker.sites.end(), SiteCounters{});
  }

  struct Share {
    uint32_t cluster;
    uint32_t weight;  // how many clusters it stands for
  };

  /** All clusters, or a few: along each axis the last, which may be cut short, and the middles of equal runs. */
  void chooseClusters() {
    const auto along = [&](uint32_t count) {
      std::vector<Share> chosen;
      const uint32_t others = count - 1, runs = sample_ == 0 ? others : std::min(sample_, others);
      for (uint32_t i = 0; i < runs; ++i) {
        const auto begin = static_cast<uint32_t>(uint64_t{others} * i / runs);
        const auto end = static_cast<uint32_t>(uint64_t{others} * (i + 1) / runs);
        chosen.push_back({(begin + end) / 2, end - begin});
      }
      chosen.push_back({others, 1});
      return chosen;
    };
    const auto xs = along(clusters_.x), ys = along(clusters_.y), zs = along(clusters_.z);
    order_.reserve(xs.size() * ys.size() * zs.size());
    for (const Share& z : zs) {
      for (const Share& y : ys) {
        for (const Share& x : xs) {
          order_.push_back(
              {(z.cluster * clusters_.y + y.cluster) * clusters_.x + x.cluster, x.weight * y.weight * z.weight});
        }
      }
    }
  }

  void runCluster(std::deque<Block>& blocks, uint64_t cluster) {
    const Dim3& size = launch_.cluster;
    const auto x = static_cast<uint32_t>(cluster % clusters_.x),
               y = static_cast<uint32_t>(cluster / clusters_.x % clusters_.y);
    const auto z = static_cast<uint32_t>(cluster / clusters_.x / clusters_.y);
    for (uint32_t i = 0; i < blocks.size(); ++i) {
      blocks[i].start({x * size.x + i % size.x, y * size.y + i / size.x % size.y, z * size.z + i / size.x / size.y});
    }
    const auto done = [&] {
      return std::all_of(blocks.begin(), blocks.end(), [](const Block& b) { return b.done(); });
    };
    Block* current = &blocks.front();
    try {
      uint64_t rounds = 0;
      while (!done() && !failed_) {
        bool moved = false;
        for (Block& block : blocks) {
          current = &block;
          moved |= block.run(kTurn);
        }
        if (!moved && !done()) {
          std::string text = "deadlock: no warp can go on";
          for (const Block& block : blocks) text += block.positions() + block.mbarriers.describe();
          throw Fault{FaultKind::Synchronisation, text};
        }
        if (++rounds > launch_.instructionLimit / kTurn) {
          throw Fault{FaultKind::Synchronisation, "the block does not end" + current->positions()};
        }
      }
    } catch (const Fault& fault) {
      fail(*current, fault);
    }
  }

  void fail(const Block& block, const Fault& fault) {
    const std::lock_guard guard(lock_);
    if (failed_.exchange(true)) return;
    const Dim3& at = block.index;
    std::string report = "kernel " + launch_.program.kernel + ", block (" + std::to_string(at.x) + ", " +
                         std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
    const Warp* warp = block.running();
    if (warp != nullptr) {
      if (fault.lane >= 0) {
        const uint32_t thread = kLanes * warp->index + static_cast<uint32_t>(fault.lane);
        const Dim3& size = launch_.block;
        report += ", thread (" + std::to_string(thread % size.x) + ", " + std::to_string(thread / size.x % size.y) +
                  ", " + std::to_string(thread / size.x / size.y) + ")";
      } else {
        report += ", warp " + std::to_string(warp->index);
      }
      report += ": " + launch_.program.describe(fault.pc >= 0 ? static_cast<uint32_t>(fault.pc) : warp->pc - 1);
    }
    failure_ = LaunchFailure{fault.kind, report + ": " + fault.what};
  }

  const Launch& launch_;
  const uint32_t sample_;  // of blocks that wait for one another's atomics none can be left out
  std::vector<SiteCounters>& sites_;
  Dim3 clusters_;
  std::vector<Share> order_;
  std::atomic<uint64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex lock_;
  std::optional<LaunchFailure> failure_;
  GlobalOrder globalOrder_;
  std::vector<std::pair<uint64_t, uint64_t>> written_;  // Worker::written of all
};

}  // namespace

LaunchResult runGrid(const Launch& launch, uint32_t threads, std::vector<SiteCounters>& sites) {
  return Grid(launch, sites).run(threads);
}

std::string Program::describe(uint32_t pc) const {
  if (pc >= code.size()) return "the end";
  const Position& position = positions[pc];
  std::string text = forms[code[pc].form] + " (PTX line " + std::to_string(position.ptxLine);
  const auto file = static_cast<size_t>(position.source.file);
  if (position.source.line != 0 && file < files.size()) {
    text += ", " + files[file] + ":" + std::to_string(position.source.line);
  }
  return text + ")";
}

}  // namespace cudasim
