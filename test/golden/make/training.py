"""training.json: gradients of weights (full fine-tuning), of LoRA's A and B in peft, and of LoRA-XS's R, in float64."""

from __future__ import annotations

import numpy as np
import torch

from .common import FIXTURES, doubles, floats, write_json

NAMES = ["llama3", "llama-tied", "qwen2", "qwen2-tied", "qwen3"]
RANK, ALPHA = 4, 6.0
LENGTHS = (41, 9, 70)
MOST = 40  # entries of each tensor that are kept, spread evenly


def make() -> None:
    write_json("training.json", {name: case(name, seed) for seed, name in enumerate(NAMES)})


def case(name: str, seed: int) -> dict:
    random = torch.Generator().manual_seed(7000 + seed)
    model = load(name)
    sequences = [torch.randint(0, 300, (length,), generator=random) for length in LENGTHS]
    coefficients = [torch.randn(length - 1, generator=random) for length in LENGTHS]

    loss(model, sequences, coefficients).backward()
    full = {key: sample(parameter.grad) for key, parameter in model.named_parameters()}
    return {
        "sequences": [ids.tolist() for ids in sequences],
        "coefficients": floats(torch.cat(coefficients)),
        "full": full,
        "lora": lora(name, random, sequences, coefficients),
        "lora_xs": lora_xs(name, random, sequences, coefficients),
    }


def load(name: str):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(FIXTURES / "models" / name, dtype=torch.float64, attn_implementation="eager").eval()


def loss(model, sequences, coefficients) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for ids, weights in zip(sequences, coefficients):
        logprobs = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
        total = total + (weights.double() * logprobs).sum()
    return total


def sample(gradient: torch.Tensor) -> dict:
    flat = gradient.detach().reshape(-1)
    places = np.arange(min(MOST, flat.numel())) * flat.numel() // min(MOST, flat.numel())
    return {"norm": float(flat.norm()), "places": places.tolist(), "values": doubles(flat[torch.from_numpy(places)])}


def linears(model) -> list[tuple[str, torch.nn.Linear]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"]


def lora(name: str, random, sequences, coefficients) -> dict:
    from peft import LoraConfig, get_peft_model

    base = load(name)
    targets = sorted({key.rsplit(".", 1)[1] for key, _ in linears(base)})
    model = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets)).to(torch.float64).eval()
    factors = {}
    for key, parameter in model.named_parameters():
        if "lora_" not in key:
            continue
        parameter.data = (0.2 * torch.randn(parameter.shape, generator=random)).double()
        short = key.removeprefix("base_model.model.").removesuffix(".default.weight")
        factors[short] = parameter
    loss(model, sequences, coefficients).backward()
    return {
        "rank": RANK,
        "alpha": ALPHA,
        "values": {key: floats(parameter.detach().float()) for key, parameter in factors.items()},
        "gradients": {key: sample(parameter.grad) for key, parameter in factors.items()},
    }


def lora_xs(name: str, random, sequences, coefficients) -> dict:
    """y + x A^T R^T B^T with fixed A and B."""
    model = load(name)
    modules = {}
    for key, linear in linears(model):
        a = (0.3 * torch.randn(RANK, linear.in_features, generator=random)).double()
        b = (0.3 * torch.randn(linear.out_features, RANK, generator=random)).double()
        r = (0.3 * torch.randn(RANK, RANK, generator=random)).double().requires_grad_()
        linear.register_forward_hook(lambda _, x, y, a=a, b=b, r=r: y + x[0] @ a.T @ r.T @ b.T)
        modules[key] = (a, b, r)
    loss(model, sequences, coefficients).backward()
    return {
        key: {"a": floats(a), "b": floats(b), "r": floats(r.detach()), "gradient": doubles(r.grad)}
        for key, (a, b, r) in modules.items()
    }
