#include "cpu/truncated_draw.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tinylora {
namespace {

struct Candidate {
  float l;
  int id;
  double e;  // e^(l - largest)
};

/// Likelier first; of equals the lower id.
bool before(const Candidate& a, const Candidate& b) { return a.l > b.l || (a.l == b.l && a.id < b.id); }

/// The k likeliest, and all that tie with the last of them.
void keep_top_k(std::vector<Candidate>& all, int k) {
  if (k <= 0 || static_cast<std::size_t>(k) >= all.size()) return;
  std::nth_element(all.begin(), all.begin() + (k - 1), all.end(), before);
  const float least = all[static_cast<std::size_t>(k - 1)].l;
  std::erase_if(all, [&](const Candidate& c) { return c.l < least; });
}

/// The likeliest until their probabilities reach top_p: a token stays while those before it hold less. At least one.
void keep_top_p(std::vector<Candidate>& all, float top_p) {
  if (top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : all) total += c.e;
  const double wanted = static_cast<double>(top_p) * total;
  // The nucleus is small as a rule, so ever longer heads of the list are put in order until one holds it.
  std::size_t sorted = 0;
  std::size_t kept = 0;
  double held = 0;
  while (kept < all.size() && (kept == 0 || held < wanted)) {
    if (kept == sorted) {
      const std::size_t longer = std::min(all.size(), std::max<std::size_t>(64, 4 * sorted));
      const auto from = all.begin() + static_cast<std::ptrdiff_t>(sorted);
      const auto to = all.begin() + static_cast<std::ptrdiff_t>(longer);
      if (to != all.end()) std::nth_element(from, to, all.end(), before);
      std::sort(from, to, before);
      sorted = longer;
    }
    held += all[kept].e;
    ++kept;
  }
  all.resize(kept);
}

/// Those at least min_p times as likely as the likeliest, whose e is 1.
void keep_min_p(std::vector<Candidate>& all, float min_p) {
  if (min_p <= 0) return;
  std::erase_if(all, [&](const Candidate& c) { return c.e < static_cast<double>(min_p); });
}

}  // namespace

int draw_truncated(const float* l, int vocab, float largest, const SampleRow& how, double uniform) {
  std::vector<Candidate> all(static_cast<std::size_t>(vocab));
  for (int id = 0; id < vocab; ++id) {
    all[static_cast<std::size_t>(id)] = {l[id], id, static_cast<double>(std::exp(l[id] - largest))};
  }
  keep_top_k(all, how.top_k);
  keep_top_p(all, how.top_p);
  keep_min_p(all, how.min_p);

  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  double total = 0;
  for (const Candidate& c : all) total += c.e;
  double left = uniform * total;
  int drawn = all.front().id;
  for (const Candidate& c : all) {
    if (c.e == 0) continue;
    drawn = c.id;
    left -= c.e;
    if (left < 0) break;
  }
  return drawn;
}

}  // namespace tinylora
