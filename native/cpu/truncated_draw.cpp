#include "cpu/truncated_draw.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

namespace tinylora {
namespace {

struct Candidate {
  float l;
  float e;  // e^(l - largest), above 0
  int id;
};

/// Likelier first; of equals the lower id.
bool before(const Candidate& a, const Candidate& b) { return a.l > b.l || (a.l == b.l && a.id < b.id); }

/// 0 for e = 1, one more for each halving.
int halvings(float e) { return 127 - static_cast<int>(std::bit_cast<std::uint32_t>(e) >> 23); }

/// Drops candidates so unlikely that those above them already measure `wanted`, which spares sorting the whole
/// vocabulary. One power of two more is kept than the measure asks for: two candidates whose l differ may have e
/// rounded to either side of a power of two, and l decides.
template <class Measure>
void drop_hopeless(std::vector<Candidate>& all, double wanted, const Measure& measure) {
  std::array<double, 128> measured = {};
  for (const Candidate& c : all) measured[static_cast<std::size_t>(halvings(c.e))] += measure(c);
  int last = 0;
  for (double sum = measured[0]; sum < wanted && last < 127;) sum += measured[static_cast<std::size_t>(++last)];
  std::erase_if(all, [&](const Candidate& c) { return halvings(c.e) > last + 1; });
}

/// The k likeliest, and all that tie with the last of them.
void keep_top_k(std::vector<Candidate>& all, int k) {
  if (k <= 0 || static_cast<std::size_t>(k) >= all.size()) return;
  drop_hopeless(all, k, [](const Candidate&) { return 1.0; });
  std::nth_element(all.begin(), all.begin() + (k - 1), all.end(), before);
  const float least = all[static_cast<std::size_t>(k - 1)].l;
  std::erase_if(all, [&](const Candidate& c) { return c.l < least; });
}

/// The likeliest until their probabilities reach top_p: a token stays while those before it hold less. At least one.
void keep_top_p(std::vector<Candidate>& all, float top_p) {
  if (top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : all) total += static_cast<double>(c.e);
  const double wanted = static_cast<double>(top_p) * total;
  drop_hopeless(all, wanted, [](const Candidate& c) { return static_cast<double>(c.e); });
  std::sort(all.begin(), all.end(), before);
  std::size_t kept = 0;
  double held = 0;
  while (kept < all.size() && (kept == 0 || held < wanted)) held += static_cast<double>(all[kept++].e);
  all.resize(kept);
}

/// Those at least min_p times as likely as the likeliest, whose e is 1.
void keep_min_p(std::vector<Candidate>& all, float min_p) {
  if (min_p > 0) std::erase_if(all, [&](const Candidate& c) { return c.e < std::min(min_p, 1.0F); });
}

}  // namespace

int draw_truncated(const float* l, const float* e, int vocab, const SampleRow& how, double uniform) {
  std::vector<Candidate> all;
  all.reserve(static_cast<std::size_t>(vocab));
  for (int id = 0; id < vocab; ++id) {
    if (e[id] > 0) all.push_back({l[id], e[id], id});
  }
  keep_top_k(all, how.top_k);
  keep_top_p(all, how.top_p);
  keep_min_p(all, how.min_p);

  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  double total = 0;
  for (const Candidate& c : all) total += static_cast<double>(c.e);
  double left = uniform * total;
  for (const Candidate& c : all) {
    left -= static_cast<double>(c.e);
    if (left < 0) return c.id;
  }
  return all.back().id;
}

}  // namespace tinylora
