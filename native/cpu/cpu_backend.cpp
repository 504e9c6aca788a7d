// The backend's memory, packing of weights, embed.
#include "cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cpu/aligned.h"
#include "cpu/head_kernels.h"
#include "cpu/product.h"

namespace tinylora {

CpuBackend::CpuBackend(DType dtype, int threads, CpuPath path)
    : dtype_(dtype),
      path_(path),
      pool_(threads),
      product_(product_kernels(path, dtype)),
      head_(head_kernels(path)),
      scratch_(std::make_unique<ProductScratch>(threads)) {}

CpuBackend::~CpuBackend() = default;

std::string CpuBackend::name() const {
  const int threads = pool_.threads();
  return std::string("cpu (") + name_of(path_) + ", " + std::to_string(threads) +
         (threads == 1 ? " thread)" : " threads)");
}

std::shared_ptr<void> CpuBackend::allocate(std::size_t bytes) { return aligned_zeros(bytes); }

void CpuBackend::upload(void* device, const void* host, std::size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void CpuBackend::download(void* host, const void* device, std::size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

void CpuBackend::zero(void* device, std::size_t bytes) {
  if (bytes > 0) std::memset(device, 0, bytes);
}

/// AVX-512 and AMX multiply eight rows while one row's weights arrive; with narrower vectors four rows take longer.
int CpuBackend::cheap_rows() const { return product_.block >= 8 ? 8 : 1; }

std::unique_ptr<Weight> CpuBackend::pack(int out, int in, const RowReader& read_row) {
  return pack_weight(product_, out, in, read_row, pool_);
}

void CpuBackend::repack(Weight& weight, const float* values) {
  packed(&weight, product_, "repack");
  fill_weight(
      static_cast<PackedWeight&>(weight),
      [&](int row, float* to) { std::copy_n(values + std::ptrdiff_t{row} * weight.in, weight.in, to); }, pool_);
}

void CpuBackend::embed(const EmbedArgs& args) {
  const PackedWeight& table = packed(args.table, product_, "embed");
  const auto row = [&](std::int64_t m, int) {
    const int token = args.tokens[m];
    check(token >= 0 && token < table.out, "ERR_ARGUMENT", "embed: token ", m, ": expected 0 to ", table.out - 1,
          ", found ", token);
    table.read_row(token, args.x + m * table.in);
  };
  pool_.run(args.rows, row);
}

std::unique_ptr<CpuBackend> make_cpu_backend(DType dtype, int threads, std::optional<CpuPath> path) {
  check(dtype != DType::f16, "ERR_ARGUMENT", "dtype: expected \"fp32\" or \"bf16\" on the cpu, found \"fp16\"");
  const std::vector<CpuPath>& usable = usable_paths();
  check(!usable.empty(), "ERR_DEVICE", "cpu: expected a processor with AVX2 and FMA, found ", cpu_name());
  const CpuPath chosen = path.value_or(usable.front());
  check(chosen == CpuPath::amx_emulated || std::find(usable.begin(), usable.end(), chosen) != usable.end(),
        "ERR_DEVICE", "cpu: path ", name_of(chosen), ": this machine's best is ", name_of(usable.front()));
  return std::make_unique<CpuBackend>(dtype, threads, chosen);
}

}  // namespace tinylora
