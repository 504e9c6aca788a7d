"""peft/: TinyLoRA adapters that PEFT saved, with PEFT's own log-probabilities and gradients of v, and LoRA adapters.

    python test/golden/make_golden.py peft

The other direction, PEFT reading what `tinylora-native export` wrote, is peft_check.py's.
"""

from __future__ import annotations

import torch
from peft import LoraConfig, TinyLoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from .common import FIXTURES, doubles, floats, write_json

FOLDER = FIXTURES / "peft"
# name -> base model, u, weight_tying, targets
CASES = {
    "llama3": ("llama3", 5, 0.5, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    "qwen2": ("qwen2", 13, 0.75, ["down_proj", "v_proj", "q_proj"]),
}

# name -> base model, r, lora_alpha, rslora, targets
LORA_CASES = {
    "lora-llama3": ("llama3", 3, 6, False, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    "lora-qwen2": ("qwen2", 2, 3, True, ["down_proj", "v_proj", "q_proj"]),
}


def make() -> None:
    make_tinylora()
    make_lora()


def make_lora() -> None:
    for name, (base, r, alpha, rslora, targets) in LORA_CASES.items():
        torch.manual_seed(8)
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / "models" / base, dtype=torch.float32)
        config = LoraConfig(r=r, lora_alpha=alpha, use_rslora=rslora, target_modules=targets, task_type="CAUSAL_LM")
        model = get_peft_model(model, config).eval()
        for key, value in model.named_parameters():
            if "lora_B" in key:
                value.data = 0.1 * torch.randn(value.shape)
        ids = torch.randint(2, 290, (1, 24))
        with torch.no_grad():
            logprobs = model(ids).logits.double().log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        save(model, name, base)
        write_json(f"peft/{name}.json", {"model": base, "ids": ids[0].tolist(), "logprobs": doubles(logprobs)})


def save(model, name: str, base: str) -> None:
    model.save_pretrained(FOLDER / name)
    (FOLDER / name / "README.md").unlink(missing_ok=True)
    config_file = FOLDER / name / "adapter_config.json"
    config_file.write_text(config_file.read_text().replace(str(FIXTURES / "models" / base), base))


def make_tinylora() -> None:
    for name, (base, u, tying, targets) in CASES.items():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / "models" / base, dtype=torch.float32)
        config = TinyLoraConfig(r=2, u=u, weight_tying=tying, projection_seed=42, target_modules=targets, task_type="CAUSAL_LM")
        model = get_peft_model(model, config).eval()
        vectors = [(key, value) for key, value in model.named_parameters() if "tinylora_v" in key]
        for _, value in vectors:
            value.data = 0.5 * torch.randn(u)
            value.requires_grad_(True)
        ids = torch.randint(2, 290, (1, 24))
        logits = model(ids).logits.double().log_softmax(-1)
        logprobs = logits[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        coefficients = torch.randn(len(logprobs))
        (logprobs * coefficients.double()).sum().backward()
        save(model, name, base)
        write_json(f"peft/{name}.json", {
            "model": base,
            "ids": ids[0].tolist(),
            "logprobs": doubles(logprobs.detach()),
            "coefficients": floats(coefficients),
            "gradient": doubles(torch.cat([value.grad for _, value in sorted(vectors, key=lambda pair: int(pair[0].split(".")[-1]))])),
        })
