"""Random blocks of every tensor format and what gguf-py makes of them, as a C++ header for test/native/engine_dequantize_test.cpp.

Run with the Python packages numpy and gguf: python test/golden/make_quant.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

OUT = Path(__file__).parent / "quant" / "blocks.h"
# Format -> where its half floats lie in a block.
FORMATS = {
    "F32": [], "F16": [0], "BF16": [], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
NUMBERS = {1: 96, 32: 192, 256: 512}  # block size -> numbers in the sample


def sample(name: str, halves: list[int], random: np.random.Generator) -> np.ndarray:
    """Blocks [n, bytes]: any bytes, but finite half floats, some of them subnormal, zero or negative."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    count = NUMBERS[block] // block
    if name in ("F32", "BF16"):
        values = random.normal(size=(count, 1)).astype(np.float32)
        values[:4, 0] = [0.0, -0.0, 1e-40, -3e38]
        return quants.quantize(values, GGMLQuantizationType[name]).view(np.uint8).reshape(count, size)
    blocks = random.integers(0, 256, size=(count, size), dtype=np.uint8)
    for place in halves:
        scale = random.normal(scale=0.1, size=count).astype(np.float16)
        scale[: min(3, count - 1)] = np.array([6e-8, -3e-5, -0.0], np.float16)[: min(3, count - 1)]
        blocks[:, place : place + 2] = scale.view(np.uint8).reshape(count, 2)
    return blocks


def literal(values: np.ndarray, width: int) -> str:
    texts = [f"0x{value:0{width}x}" for value in values]
    lines = [", ".join(texts[i : i + 16]) for i in range(0, len(texts), 16)]
    return "{" + ",\n     ".join(lines) + "}"


def main() -> None:
    random = np.random.default_rng(20)
    entries = []
    for name, halves in FORMATS.items():
        blocks = sample(name, halves, random)
        values = quants.dequantize(blocks, GGMLQuantizationType[name]).astype(np.float32).reshape(-1)
        entries.append(f'    {{"{name}",\n     {literal(blocks.reshape(-1), 2)},\n     {literal(values.view(np.uint32), 8)}}},')
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(
        "// Made by test/golden/make_quant.py from gguf-py; do not edit.\n// clang-format off\n#pragma once\n\n"
        "#include <cstdint>\n#include <vector>\n\nnamespace tinylora::test {\n\n"
        "struct QuantSample {\n  const char* type;\n  std::vector<std::uint8_t> bytes;\n"
        "  std::vector<std::uint32_t> bits;  // of the floats\n};\n\n"
        "inline const std::vector<QuantSample>& quant_samples() {\n  static const std::vector<QuantSample> samples = {\n"
        + "\n".join(entries)
        + "\n  };\n  return samples;\n}\n\n}  // namespace tinylora::test\n"
    )


if __name__ == "__main__":
    main()
