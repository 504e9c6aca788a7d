"""smollm2.json: per-token log-probabilities of SmolLM2 by transformers in float32, on the weights of the GGUF file."""

from __future__ import annotations

import torch

from .common import SMOLLM2, gsm8k, smollm2_tokenizer, write_json


def make() -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name, dtype=torch.float32).eval()
    tokenizer = smollm2_tokenizer()
    rows = gsm8k(3)
    chat = [{"role": "user", "content": rows[2]["question"]}, {"role": "assistant", "content": rows[2]["answer"]}]
    texts = [
        rows[0]["question"] + "\n" + rows[0]["answer"],
        tokenizer.apply_chat_template(chat, tokenize=False),
        "The quick brown fox jumps over the lazy dog. 日本語 🎉   x² + 1234 = ½\n\n\tdef f(x): return x",
    ]
    entries = []
    for text in texts:
        ids = tokenizer.backend_tokenizer.encode(text).ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        logprobs = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        entries.append({"ids": ids, "logprobs": [round(value, 6) for value in logprobs.tolist()]})
    write_json("smollm2.json", entries)
