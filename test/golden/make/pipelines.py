"""pipelines.json: small tokenizers with steps that few published ones have, each with ids and texts that the Rust library gives."""

from __future__ import annotations

import hashlib
import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from .common import hash_ids, write_json
from .texts import ODD
from .tiny_tokenizers import TEXT

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = {"Replace": {"pattern": {"String": "▁"}, "content": " "}, "ByteFallback": {}, "Fuse": {}}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def make() -> None:
    write_json("pipelines.json", {name: entry(tokenizer) for name, tokenizer in pipelines().items()})


def entry(tokenizer: dict) -> dict:
    rust = Tokenizer.from_str(json.dumps(tokenizer))
    ids = [rust.encode(text).ids for text in ODD]
    decoded = [hashlib.sha256(rust.decode(one).encode()).hexdigest()[:12] for one in ids]
    added = [token["id"] for token in tokenizer["added_tokens"]]
    spelt = {"ids": added, "text": rust.decode(added, skip_special_tokens=False)}
    return {"json": tokenizer, "ids": [hash_ids(one) for one in ids], "decoded": decoded, "added": spelt}


def pipelines() -> dict[str, dict]:
    return {
        "metaspace": {**words(), "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}},
        "metaspace-old": {**words(), "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}},
        "no-prefix": {**words(strip=False, added=["<a▁b>"]), "normalizer": SPACES},
        "unigram": unigram(),
        "prefix-space": {**letters(), "pre_tokenizer": byte_level(True, True)},
        "with-previous": split("MergedWithPrevious", {"String": "e"}),
        "with-next": split("MergedWithNext", {"Regex": "[\\s.]"}),
        "contiguous": split("Contiguous", {"Regex": "\\p{Lu}|a"}),
        "removed": split("Removed", {"String": "."}),
        "inverted-isolated": split("Isolated", {"Regex": "\\p{N}"}, invert=True),
        "inverted-with-previous": split("MergedWithPrevious", {"String": "e"}, invert=True),
        "inverted-with-next": split("MergedWithNext", {"String": "e"}, invert=True),
        "inverted-removed": split("Removed", {"Regex": "\\p{L}+|\\s"}, invert=True),
        "punctuation": steps({"type": "Punctuation", "behavior": "Isolated"}),
        "punctuation-removed": steps({"type": "Punctuation", "behavior": "Removed"}),
        "whitespace": steps({"type": "Whitespace"}, prefix=True),
        "whitespace-split": steps({"type": "WhitespaceSplit"}, prefix=True),
        "added-twice": added_twice(),
    }


def words(strip: bool = True, added: list[str] = []) -> dict:
    """Of the kind of sentencepiece's BPE."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=["<unk>", *BYTES], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return finished(tokenizer, strip, added)


def unigram() -> dict:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=320, special_tokens=["<unk>", *BYTES], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    made = finished(tokenizer, True, [])
    return {**made, "model": {**made["model"], "byte_fallback": True}}


def finished(tokenizer: Tokenizer, strip: bool, added: list[str]) -> dict:
    made = json.loads(tokenizer.to_str())
    decoding = [{"type": name, **options} for name, options in WORDS.items()]
    decoder = {"type": "Sequence", "decoders": [*decoding, *([STRIP] if strip else [])]}
    first = tokenizer.get_vocab_size()
    tokens = [added_token(first + i, text) for i, text in enumerate(added)]
    # The bytes are for the model, not for texts that spell them.
    kept = [token for token in made["added_tokens"] if token["content"] not in BYTES]
    return {**made, "pre_tokenizer": None, "decoder": decoder, "added_tokens": [*kept, *tokens]}


def letters() -> dict:
    """Of the kind of GPT-2's: bytes as letters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=298, initial_alphabet=alphabet, show_progress=False))
    return json.loads(tokenizer.to_str())


def split(behavior: str, pattern: dict, invert: bool = False) -> dict:
    return steps({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert})


def steps(step: dict, prefix: bool = False) -> dict:
    """`prefix`: every piece has a space before it, so that ids tell where the text is cut."""
    return {**letters(), "pre_tokenizer": {"type": "Sequence", "pretokenizers": [step, byte_level(prefix, False)]}}


def byte_level(prefix: bool, regex: bool) -> dict:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def added_twice() -> dict:
    """The vocabulary has it under another id, which is the one that counts."""
    return {**letters(), "added_tokens": [added_token(298, "the")]}


def added_token(id: int, content: str) -> dict:
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], False)
    return {"id": id, "content": content, **flags}
