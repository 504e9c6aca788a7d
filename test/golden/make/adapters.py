"""TinyLoRA in float64 by autograd: W' = W + B (sum_i v_i P_i) A, and the gradient of sum_t c_t * logp_t in v."""

from __future__ import annotations

import torch

from .common import doubles, floats

RANK = 2
SLOTS = 2
TYPES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
# u, which modules are adapted (index in the model), group of each
SHAPES = [
    (13, list(range(14)), [0] * 14),
    (3, [0, 2, 6, 7, 9, 13], [0, 1, 0, 2, 1, 2]),
]
# length, parent, slot, scored, temperature: a prompt with two completions, another adapter's sequence, the base model's
SEQUENCES = [(11, -1, 0, 0, 1.0), (9, 0, 0, 1, 1.0), (14, 0, 0, 1, 1.0), (23, -1, 1, 1, 0.7), (17, -1, -1, 1, 1.0)]


def case(model, seed: int, u: int, modules: list[int], groups: list[int]) -> dict:
    random = torch.Generator().manual_seed(1000 + 10 * seed + u)
    normal = lambda *shape: torch.randn(shape, generator=random).to(torch.float64)  # noqa: E731
    linears = [model.get_submodule(f"model.layers.{index // 7}.{TYPES[index % 7]}") for index in modules]
    matrices = [
        (0.3 * normal(RANK, linear.in_features), 0.3 * normal(linear.out_features, RANK), normal(u, RANK, RANK))
        for linear in linears
    ]
    v = (0.3 * normal(SLOTS, max(groups) + 1, u)).float().double().requires_grad_()
    matrices = [tuple(matrix.float().double() for matrix in triple) for triple in matrices]
    tokens = [torch.randint(0, 300, (length,), generator=random) for length, *_ in SEQUENCES]
    logprobs = score(model, linears, matrices, groups, v, tokens)
    coefficients = [normal(len(values)).float().double() for values in logprobs]
    sum((c * values).sum() for c, values in zip(coefficients, logprobs)).backward()
    return {
        "u": u,
        "modules": [
            {"module": index, "group": group, "a": floats(a), "b": floats(b), "p": floats(p)}
            for index, group, (a, b, p) in zip(modules, groups, matrices)
        ],
        "v": [floats(v[slot].detach()) for slot in range(SLOTS)],
        "sequences": [
            {"tokens": ids.tolist(), "parent": parent, "slot": slot, "scored": scored, "temperature": temperature}
            for ids, (_, parent, slot, scored, temperature) in zip(tokens, SEQUENCES)
        ],
        # Of scored sequences, one after another; without a parent the first token has none.
        "logprobs": doubles(torch.cat(logprobs).detach()),
        "coefficients": floats(torch.cat(coefficients)),
        "gradients": [doubles(v.grad[slot]) for slot in range(SLOTS)],
    }


def score(model, linears, matrices, groups, v, tokens) -> list[torch.Tensor]:
    result = []
    for ids, (_, parent, slot, scored, temperature) in zip(tokens, SEQUENCES):
        if not scored:
            continue
        start = len(tokens[parent]) if parent >= 0 else 1
        whole = torch.cat([tokens[parent], ids]) if parent >= 0 else ids
        hooks = [] if slot < 0 else [
            linear.register_forward_hook(update(a, b, torch.einsum("i,ijk->jk", v[slot, group], p)))
            for linear, (a, b, p), group in zip(linears, matrices, groups)
        ]
        logits = model(whole[None]).logits[0] / temperature
        for hook in hooks:
            hook.remove()
        result.append(logits.log_softmax(-1)[start - 1 : -1].gather(1, whole[start:, None])[:, 0])
    return result


def update(a, b, r):
    return lambda _, inputs, output: output + inputs[0] @ a.T @ r.T @ b.T
