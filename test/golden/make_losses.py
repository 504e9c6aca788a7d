"""Writes losses.json: losses, their gradients and advantages as TRL's GRPOTrainer computes them, and updates as torch's
AdamW and SGD make them, in float64.

Run in a Python environment with torch and trl:  python test/golden/make_losses.py
"""

import itertools
import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import nanstd

torch.set_default_dtype(torch.float64)
SEQUENCES, LONGEST, MAX_COMPLETION_LENGTH = 4, 6, 16


def loss_case(seed: int, passes: int = 1, masked: bool = False, spread: float = 0.4, **options) -> dict:
    """One batch through TRL's own _compute_loss, cut into `passes` micro batches of equal size."""
    options = {
        "loss_type": "dapo", "beta": 0.0, "use_bias_correction_kl": True, "epsilon": 0.2, "epsilon_high": None,
        "delta": None, "importance_sampling_level": "token", "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05,
        "max_completion_length": MAX_COMPLETION_LENGTH, **options,
    }  # fmt: skip
    random = torch.Generator().manual_seed(seed)
    shape = (SEQUENCES, LONGEST)
    lengths = torch.randint(1, LONGEST + 1, (SEQUENCES,), generator=random)
    logps = -3 * torch.rand(shape, generator=random)
    old = logps + spread * torch.randn(shape, generator=random)
    reference = logps + spread * torch.randn(shape, generator=random)
    advantages = torch.randn(SEQUENCES, generator=random)
    advantages[seed % SEQUENCES] = 0.0 if seed % 3 == 0 else advantages[seed % SEQUENCES]
    if seed % 5 == 0:
        old[0] = logps[0]  # the first update: every ratio is 1
    kept = torch.ones(SEQUENCES)
    if masked:
        kept[seed % SEQUENCES] = 0.0
    mask = (torch.arange(LONGEST) < lengths[:, None]).double() * kept[:, None]

    leaf = logps.clone().requires_grad_()
    trainer = stand_in(options, passes)
    total, kl = 0.0, 0.0
    for rows in torch.arange(SEQUENCES).chunk(passes):
        trainer._get_per_token_logps_and_entropies = lambda *_, rows=rows, **__: (leaf[rows], torch.zeros(len(rows), LONGEST), None)
        inputs = {
            "prompt_ids": torch.zeros(len(rows), 1), "prompt_mask": torch.ones(len(rows), 1),
            "completion_ids": torch.zeros(len(rows), LONGEST), "completion_mask": mask[rows],
            "advantages": advantages[rows], "old_per_token_logps": old[rows], "ref_per_token_logps": reference[rows],
            "num_items_in_batch": mask.sum(),
        }  # fmt: skip
        loss = GRPOTrainer._compute_loss(trainer, None, inputs)
        loss.backward()
        total += loss.item()
    return {
        "options": options,
        "passes": passes,
        "sequences": [
            {
                "logprobs": logps[i, :n].tolist(), "old": old[i, :n].tolist(), "reference": reference[i, :n].tolist(),
                "advantage": advantages[i].item(), "masked": kept[i].item() == 0,
                "gradient": leaf.grad[i, :n].tolist(),
            }
            for i, n in enumerate(lengths.tolist())
        ],
        "loss": total,
        "metrics": {name: sum(values) / len(values) for name, values in trainer._metrics["train"].items()} if passes == 1 else {},
    }  # fmt: skip


def stand_in(options: dict, passes: int) -> SimpleNamespace:
    """The attributes of a GRPOTrainer that _compute_loss reads."""
    args = SimpleNamespace(steps_per_generation=passes, **options)
    epsilon_high = options["epsilon"] if options["epsilon_high"] is None else options["epsilon_high"]
    accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x)
    return SimpleNamespace(
        args=args, accelerator=accelerator, epsilon_low=options["epsilon"], epsilon_high=epsilon_high,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, aux_loss_enabled=False,
        vllm_importance_sampling_correction=False, _entropy_bonus_enabled=False, model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=passes, _metrics={"train": defaultdict(list)},
        **{name: options[name] for name in ("loss_type", "beta", "importance_sampling_level", "max_completion_length")},
    )  # fmt: skip


def advantage_case(seed: int, scale: str, aggregation: str, missing: bool, equal: bool) -> dict:
    """As in GRPOTrainer._generate_and_score_completions."""
    group, groups, functions = 4, 3, 2
    random = torch.Generator().manual_seed(seed)
    scores = (3 * torch.rand(group * groups, functions, generator=random)).round(decimals=2)
    weights = torch.tensor([1.0, 0.25])
    if equal:
        scores[:group] = 0.5
    if missing:
        scores[torch.rand(scores.shape, generator=random) < 0.2] = torch.nan
        scores[5] = torch.nan
    unscorable = torch.isnan(scores).all(dim=1)
    if aggregation == "sum_then_normalize":
        rewards = (scores * weights).nansum(dim=1)
        rewards[unscorable] = torch.nan
        grouped = rewards.view(-1, group)
        std = nanstd(rewards).expand_as(rewards) if scale == "batch" else nanstd(grouped, dim=1).repeat_interleave(group)
        advantages = rewards - torch.nanmean(grouped, dim=1).repeat_interleave(group)
        if scale != "none":
            advantages = advantages / (std + 1e-4)
    else:
        grouped = scores.view(-1, group, functions)
        normal = (grouped - torch.nanmean(grouped, dim=1, keepdim=True)) / (nanstd(grouped, dim=1, keepdim=True) + 1e-4)
        rewards = (normal.view(-1, functions) * weights).nansum(dim=1)
        rewards[unscorable] = torch.nan
        advantages = (rewards - torch.nanmean(rewards)) / (nanstd(rewards) + 1e-4)
    return {
        "options": {"scale_rewards": scale, "multi_objective_aggregation": aggregation},
        "group": group,
        "weights": weights.tolist(),
        "scores": [[None if value != value else value for value in row] for row in scores.tolist()],
        "advantages": torch.nan_to_num(advantages, nan=0.0).tolist(),
    }


def optimizer_case(seed: int, **options) -> dict:
    random = torch.Generator().manual_seed(seed)
    start = 0.1 * torch.randn(5, generator=random).float().double()
    gradients = torch.randn(6, 5, generator=random)
    v = start.clone().requires_grad_()
    if options["optim"] == "adamw":
        betas = options["adam_beta1"], options["adam_beta2"]
        optimizer = torch.optim.AdamW([v], options["learning_rate"], betas, options["adam_epsilon"], options["weight_decay"])
    else:
        optimizer = torch.optim.SGD([v], options["learning_rate"], options["momentum"])
    for gradient in gradients:
        v.grad = gradient.clone()
        optimizer.step()
    return {"options": options, "start": start.tolist(), "gradients": gradients.tolist(), "v": v.tolist()}


def loss_cases() -> list[dict]:
    seeds = itertools.count(1)
    types = ["grpo", "bnpo", "dapo", "dr_grpo", "cispo", "sapo", "luspo"]
    variants = [
        {},
        {"beta": 0.1},
        {"beta": 0.1, "use_bias_correction_kl": False, "masked": True},
        {"importance_sampling_level": "sequence", "beta": 0.05},
        {"importance_sampling_level": "sequence", "masked": True, "passes": 2},
        {"epsilon_high": 0.28, "delta": 1.5, "spread": 0.9},
        {"masked": True, "passes": 2, "beta": 0.02},
    ]
    cases = []
    for loss_type, variant in itertools.product(types, variants):
        if loss_type == "cispo":
            variant = {**variant, "epsilon_high": 1.3}
        cases.append(loss_case(next(seeds), loss_type=loss_type, **variant))
    return cases


def advantage_cases() -> list[dict]:
    ways = [("group", "sum_then_normalize"), ("batch", "sum_then_normalize"), ("none", "sum_then_normalize"), ("group", "normalize_then_sum")]
    flags = itertools.product([False, True], repeat=2)
    return [advantage_case(seed, *way, *flag) for seed, (way, flag) in enumerate(itertools.product(ways, flags))]


def optimizer_cases() -> list[dict]:
    adamw = {"optim": "adamw", "learning_rate": 2e-3, "momentum": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.0}
    variants = [{}, {"weight_decay": 0.1}, {"adam_beta1": 0.5, "adam_beta2": 0.95, "adam_epsilon": 1e-3}]
    sgd = {**adamw, "optim": "sgd"}
    return [optimizer_case(seed, **{**adamw, **variant}) for seed, variant in enumerate(variants)] + [
        optimizer_case(seed, **{**sgd, "momentum": momentum})
        for seed, momentum in enumerate([0.0, 0.9], 10)
    ]


if __name__ == "__main__":
    path = Path(__file__).with_name("losses.json")
    path.write_text(json.dumps({"losses": loss_cases(), "advantages": advantage_cases(), "optimizers": optimizer_cases()}) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")
