"""A tiny model as llama.cpp's converter writes it: its names, rows of q and k permuted for Llama, rope divisors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write(path: Path, model, tokenizer, pre: str) -> None:
    from gguf import GGUFWriter, RopeScalingType

    config = model.config
    writer = GGUFWriter(path, config.model_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim != config.hidden_size // config.num_attention_heads:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    add_tokenizer(writer, json.loads(tokenizer.to_str()), config.vocab_size, pre)
    for name, values in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        writer.add_tensor(translate(name), permute(name, values, config).float().numpy())
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer, parsed: dict, vocab: int, pre: str) -> None:
    tokens = {id: token for token, id in parsed["model"]["vocab"].items()}
    kinds = {}
    for token in parsed["added_tokens"]:
        tokens[token["id"]] = token["content"]
        kinds[token["id"]] = 3 if token["special"] else 4
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([tokens.get(id, f"[PAD{id}]") for id in range(vocab)])
    writer.add_token_types([kinds.get(id, 1 if id in tokens else 5) for id in range(vocab)])
    writer.add_token_merges([" ".join(merge) for merge in parsed["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def translate(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}.{kind}"


def permute(name: str, values: torch.Tensor, config) -> torch.Tensor:
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads if "k_proj" in name else 0
    if config.model_type != "llama" or heads == 0:
        return values
    return values.reshape(heads, 2, -1, values.shape[1]).transpose(1, 2).reshape(values.shape).contiguous()


def rope_divisors(config) -> torch.Tensor:
    rope, size = config.rope_parameters, config.hidden_size // config.num_attention_heads
    context, low, high = (rope[key] for key in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    divisors = []
    for i in range(0, size, 2):
        waves = context / (2 * math.pi * rope["rope_theta"] ** (i / size))
        smooth = min(1.0, max(0.0, (waves - low) / (high - low)))
        divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return torch.tensor(divisors, dtype=torch.float32)
