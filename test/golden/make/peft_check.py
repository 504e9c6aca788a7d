"""Log-probabilities that transformers and PEFT give with an exported adapter: ids as a JSON list in, a JSON list out.

    python -P test/golden/make/peft_check.py test/golden/models/qwen2 exported < ids.json

-P, since peft.py beside this file is not the package.
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model = PeftModel.from_pretrained(model, sys.argv[2]).eval()
ids = torch.tensor([json.load(sys.stdin)])
with torch.no_grad():
    logprobs = model(ids).logits.double().log_softmax(-1)
print(json.dumps(logprobs[0, :-1].gather(1, ids[0, 1:, None])[:, 0].tolist()))
