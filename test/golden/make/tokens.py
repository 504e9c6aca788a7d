"""tokens.json: ids of SmolLM2's published tokenizer. Hashes for GSM8K (the texts are in ../shared/data), ids for odd texts."""

from __future__ import annotations

from .common import gsm8k, hash_ids, smollm2_tokenizer, write_json
from .texts import ODD, mixtures


def make() -> None:
    tokenizer = smollm2_tokenizer().backend_tokenizer
    encode = lambda text: tokenizer.encode(text).ids  # noqa: E731
    write_json(
        "tokens.json",
        {
            # Of the first training problems: question, then answer.
            "gsm8k": ["".join(hash_ids(encode(row[key])) for key in ("question", "answer")) for row in gsm8k(1000)],
            "odd": [{"text": text, "ids": encode(text), "decoded": decoded(tokenizer, text)} for text in ODD],
            "mixtures": [{"text": text, "hash": hash_ids(encode(text))} for text in mixtures(400)],
        },
    )


def decoded(tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=True)
