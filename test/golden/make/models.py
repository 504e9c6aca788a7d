"""models/: small random models as Hugging Face folders (and four as GGUF), with log-probabilities, gradients of v and token ids."""

from __future__ import annotations

import copy
import shutil

import torch

from . import adapters, gguf_file, tiny_tokenizers
from .common import FIXTURES, floats, write_json

FOLDER = FIXTURES / "models"
COMMON = dict(
    vocab_size=300,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    bos_token_id=0,
    eos_token_id=1,
)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)

# name -> class, what differs, tokenizer, dtype of the file, size of a shard
MODELS = {
    "llama3": ("Llama", dict(num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=False,
                             rope_parameters=dict(LLAMA3, original_max_position_embeddings=64, rope_theta=500000.0)),
               "llama-bpe", torch.float32, "5GB"),
    "llama3-8k": ("Llama", dict(num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True, max_position_embeddings=16384,
                                rope_parameters=dict(LLAMA3, original_max_position_embeddings=8192, rope_theta=500000.0)),
                  "llama-bpe", torch.float32, "5GB"),
    "llama-tied": ("Llama", dict(num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True,
                                 rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=10000.0)),
                   "smollm", torch.bfloat16, "40KB"),
    "qwen2": ("Qwen2", dict(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False), "qwen2", torch.float32, "5GB"),
    "qwen2-tied": ("Qwen2", dict(num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True), "qwen2", torch.float16, "5GB"),
    "qwen3": ("Qwen3", dict(num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False), "qwen2", torch.bfloat16, "5GB"),
    "qwen3-yarn": ("Qwen3", dict(num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
                                 rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, rope_theta=10000.0)),
                   "qwen2", torch.float32, "5GB"),
    "mistral": ("Mistral", dict(num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, sliding_window=None),
                "llama-bpe", torch.bfloat16, "5GB"),
}
GGUF = ("llama3-8k", "qwen2", "qwen3", "qwen3-yarn")


def make() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    for seed, (name, (kind, differences, pre, dtype, shard)) in enumerate(MODELS.items()):
        model = random_model(kind, differences, seed, dtype)
        tokenizer = tiny_tokenizers.train(pre)
        copy.deepcopy(model).to(dtype).save_pretrained(FOLDER / name, max_shard_size=shard)
        (FOLDER / name / "generation_config.json").unlink(missing_ok=True)
        tokenizer.save(str(FOLDER / name / "tokenizer.json"))
        if name in GGUF:
            gguf_file.write(FOLDER / f"{name}.gguf", model, tokenizer, pre)
        expected = {
            "tokens": tiny_tokenizers.expected(tokenizer),
            "base": base_logprobs(model, seed),
            "adapters": [adapters.case(model.to(torch.float64), seed, *shape) for shape in adapters.SHAPES],
        }
        write_json(f"models/{name}.json", expected)


def random_model(kind: str, differences: dict, seed: int, dtype: torch.dtype):
    """In float32, with weights that `dtype` can hold. (Casting the model would round its rope frequencies too.)"""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**{**COMMON, **differences})
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if name.endswith("bias"):
                parameter.copy_(noise * 0.5)
            elif parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(noise * (1.0 if "embed" in name else 1.5 * parameter.shape[1] ** -0.5))
            parameter.copy_(parameter.to(dtype))
    return model


def base_logprobs(model, seed: int) -> list[dict]:
    """Of two sequences, in float32."""
    random = torch.Generator().manual_seed(100 + seed)
    entries = []
    for length in (97, 19):
        ids = torch.randint(0, COMMON["vocab_size"], (length,), generator=random)
        with torch.no_grad():
            logprobs = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
        entries.append({"ids": ids.tolist(), "logprobs": floats(logprobs)})
    return entries
