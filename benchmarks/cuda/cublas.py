"""Milliseconds of y = x W^T in bf16 by cuBLAS through torch, timed by CUDA events: cublas.py OUTxIN,... ROWS,..."""

import json
import sys

import torch

assert torch.cuda.is_available(), "no GPU"
for shape in sys.argv[1].split(","):
    out, inputs = map(int, shape.split("x"))
    weights = [torch.randn(out, inputs, device="cuda", dtype=torch.bfloat16) for _ in range(max(1, 2**28 // (2 * out * inputs)))]
    for rows in map(int, sys.argv[2].split(",")):
        x = torch.randn(rows, inputs, device="cuda", dtype=torch.bfloat16)
        dy = torch.randn(rows, out, device="cuda", dtype=torch.bfloat16)
        products = {"forward": lambda w: x @ w.t(), "backward": lambda w: dy @ w}
        for direction, product in products.items():
            times = []
            for attempt in range(23):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                for i in range(16):
                    product(weights[i % len(weights)])
                end.record()
                torch.cuda.synchronize()
                if attempt >= 3:
                    times.append(begin.elapsed_time(end) / 16e3)
            seconds = sorted(times)[len(times) // 2]
            print(json.dumps({"out": out, "in": inputs, "rows": rows, "direction": direction, "seconds": seconds}))
