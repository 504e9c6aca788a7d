"""Reference values for lib/model and the engine: token ids, log-probabilities, gradients, rendered chats.

Run from the repository's root in a Python 3.11 environment with torch 2.13, transformers 5, tokenizers, gguf, numpy, peft:

    python test/golden/make_golden.py            # everything
    python test/golden/make_golden.py tokens     # or some of: tokens, chats, pipelines, models, smollm2, peft, training

Needs ../shared/models and ../shared/data for `tokens` and `smollm2`. Deterministic: it writes the same files again.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> None:
    from make import chats, models, peft, pipelines, smollm2, tokens, training

    parts = {
        "tokens": tokens.make,
        "chats": chats.make,
        "pipelines": pipelines.make,
        "models": models.make,
        "smollm2": smollm2.make,
        "peft": peft.make,
        "training": training.make,
    }
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
