"""Places, and how fixtures are written."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parents[1]
SHARED = FIXTURES.parents[2] / "shared"
SMOLLM2 = SHARED / "models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf"


def write_json(name: str, value) -> None:
    path = FIXTURES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{") + "\n")


def floats(values) -> str:
    """float32, little-endian, base64."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def doubles(values) -> list[float]:
    return [float(f"{value:.12g}") for value in np.asarray(values, np.float64).reshape(-1)]


def hash_ids(ids: list[int]) -> str:
    return hashlib.sha256(np.asarray(ids, "<i4").tobytes()).hexdigest()[:12]


def gsm8k(count: int) -> list[dict]:
    with (SHARED / "data/gsm8k/train.jsonl").open() as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count))]


def smollm2_tokenizer():
    """The tokenizer of the GGUF file with SmolLM2's published pipeline: transformers forgets that digits are split."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    fast = AutoTokenizer.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name)
    fast.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    return fast
