#include "engine/sample_inbox.h"

#include <algorithm>

#include "core/error.h"

namespace tinylora {

void SampleInbox::put(std::list<SampleGroup>& entry) {
  const SampleRequest& request = entry.front().request;
  const std::lock_guard lock(mutex_);
  check(slot_of_.emplace(request.id, request.slot).second, "ERR_ARGUMENT", "request ", request.id,
        ": expected an id that no unfinished request has");
  put_.splice(put_.end(), entry);
}

void SampleInbox::cancel(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  if (slot_of_.contains(id)) cancelled_.insert(id);
}

std::set<std::int64_t> SampleInbox::take(std::list<SampleGroup>& groups, const Adapters& adapters) {
  const std::lock_guard lock(mutex_);
  for (SampleGroup& group : put_) group.version = adapters.version(group.request.slot);
  groups.splice(groups.end(), put_);
  return cancelled_;
}

void SampleInbox::forget(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  slot_of_.erase(id);
  cancelled_.erase(id);
}

bool SampleInbox::idle() const {
  const std::lock_guard lock(mutex_);
  return slot_of_.empty();
}

bool SampleInbox::busy() const {
  const std::lock_guard lock(mutex_);
  return slot_of_.size() > cancelled_.size();
}

bool SampleInbox::uses(int slot) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(slot_of_.begin(), slot_of_.end(),
                     [&](const auto& entry) { return entry.second == slot && !cancelled_.contains(entry.first); });
}

}  // namespace tinylora
