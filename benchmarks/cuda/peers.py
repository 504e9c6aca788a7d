"""Seconds of a linear layer's products through torch, in bf16: peers.py OUTxIN,... ROWS,... [DEVICE]

A line of JSON for each peer, shape, row count and direction:
  cublas   y = x W^T and dx = dy W, the bare product
  peft     PEFT's TinyLoRA layer (r = 2, u = 13) around that weight: y, then dx and dv from dy
A last line {"missing": ...} says why PEFT was left out. DEVICE: cuda (times by events) or cpu (by the clock).
"""

import copy
import json
import sys
import time

import torch

WARM, TIMED, CALLS = 3, 20, 16
FOOTPRINT = {"cuda": 2**28, "cpu": 0}  # bytes of weights taken in turn, so that none is found in a cache


def seconds_of(call, stack, device):
    """Median seconds of call(stack[i]) over rounds of CALLS calls."""
    rounds = []
    for _ in range(WARM + TIMED):
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for i in range(CALLS):
                call(stack[i % len(stack)])
            end.record()
            torch.cuda.synchronize()
            rounds.append(begin.elapsed_time(end) / 1e3 / CALLS)
        else:
            begin = time.perf_counter()
            for i in range(CALLS):
                call(stack[i % len(stack)])
            rounds.append((time.perf_counter() - begin) / CALLS)
    return sorted(rounds[WARM:])[TIMED // 2]


def tinylora(linear):
    """PEFT's layer around `linear`; it takes an SVD of the weight."""
    from peft import TinyLoraConfig, get_peft_model

    config = TinyLoraConfig(r=2, u=13, weight_tying=1.0, target_modules=["0"], init_weights="uniform")
    return get_peft_model(torch.nn.Sequential(linear), config).base_model.model[0]


def cublas(weights, rows, device):
    out, inputs = weights[0].shape
    x = torch.randn(rows, inputs, device=device, dtype=torch.bfloat16)
    dy = torch.randn(rows, out, device=device, dtype=torch.bfloat16)
    yield "forward", seconds_of(lambda w: x @ w.t(), weights, device)
    yield "backward", seconds_of(lambda w: dy @ w, weights, device)


def peft(layers, rows, device):
    out, inputs = layers[0].base_layer.weight.shape
    x = torch.randn(rows, inputs, device=device, dtype=torch.bfloat16, requires_grad=True)
    dy = torch.randn(rows, out, device=device, dtype=torch.bfloat16)
    with torch.no_grad():
        yield "forward", seconds_of(lambda layer: layer(x), layers, device)
    graphs = [(layer(x), [x, *(p for p in layer.parameters() if p.requires_grad)]) for layer in layers]
    backward = lambda graph: torch.autograd.grad(*graph, dy, retain_graph=True)
    yield "backward", seconds_of(backward, graphs, device)


def main():
    shapes = [tuple(map(int, shape.split("x"))) for shape in sys.argv[1].split(",")]
    row_counts = [int(rows) for rows in sys.argv[2].split(",")]
    device = sys.argv[3] if len(sys.argv) > 3 else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU")
    missing = None
    for out, inputs in shapes:
        linear = torch.nn.Linear(inputs, out, bias=False, device=device).requires_grad_(False)
        copies = max(1, FOOTPRINT[device] // (2 * out * inputs))
        weights = [linear.weight.bfloat16() for _ in range(copies)]
        stacks = {cublas: weights}
        try:
            layer = tinylora(linear)
            layer.base_layer.to(torch.bfloat16)
            stacks[peft] = [copy.deepcopy(layer) for _ in range(copies)]
        except ImportError as error:
            missing = f"peft: {error}"
        for measure, stack in stacks.items():
            for rows in row_counts:
                for direction, seconds in measure(stack, rows, device):
                    line = {"peer": measure.__name__, "out": out, "in": inputs, "rows": rows}
                    print(json.dumps({**line, "direction": direction, "seconds": seconds}))
    if missing:
        print(json.dumps({"missing": missing}))


main()
