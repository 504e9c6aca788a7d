"""Small Parquet files as the hub and pandas write them, for test/unit/data.

    python test/golden/make/parquet.py
"""
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

folder = Path(__file__).parents[2] / "unit" / "data" / "files"

# As SimpleRL-Zoo: nested columns, a chat beside the bare question.
verl = pa.table({
    "prompt": [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"<{i} + 1?>"}] for i in range(6)],
    "question": [f"What is {i} + 1?" for i in range(6)],
    "reward_model": [{"ground_truth": str(i + 1), "style": "rule"} for i in range(6)],
    "level": pa.array(range(6), pa.int64()),
})
pq.write_table(verl, folder / "verl.parquet", compression="snappy", row_group_size=4)

# As MATH: the answer is boxed in the solution; another compression, dictionaries, a missing value.
math = pa.table({
    "problem": [f"Half of {i}?" for i in range(6)] + [None],
    "level": ["Level 1"] * 7,
    "type": ["Algebra"] * 4 + ["Geometry"] * 3,
    "solution": [rf"It is $\boxed{{\frac{{{i}}}{{2}}}}$." for i in range(7)],
})
pq.write_table(math, folder / "math.parquet", compression="zstd")
