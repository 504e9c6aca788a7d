// Requests on their way from the thread that submits them to the one that samples. Every member may be called from any
// thread.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <set>

#include "engine/adapter.h"
#include "engine/sample_group.h"

namespace tinylora {

class SampleInbox {
 public:
  /// Takes over the only group of `entry`: to move it from list to list takes no memory that might be missing. Fails
  /// with ERR_ARGUMENT where an unfinished request has its id.
  void put(std::list<SampleGroup>& entry);
  /// The request is to end; nothing where it has.
  void cancel(std::int64_t id);
  /// Moves what was put to the end of `groups`, each with the version of its slot. Returns the
  /// requests that are to end.
  std::set<std::int64_t> take(std::list<SampleGroup>& groups, const Adapters& adapters);
  /// The request has ended.
  void forget(std::int64_t id);

  /// Whether every request has ended.
  bool idle() const;
  /// Whether a request has neither ended nor been cancelled.
  bool busy() const;
  /// The same of the requests of this slot.
  bool uses(int slot) const;

 private:
  mutable std::mutex mutex_;
  std::list<SampleGroup> put_;
  std::map<std::int64_t, int> slot_of_;  // of every request that has not ended
  std::set<std::int64_t> cancelled_;     // those of them that are to end
};

}  // namespace tinylora
