import { floatTensor, type SmallTensors } from "../adapter/safetensors.js";
import type { PlainLora } from "./lora.js";
import { loraTensorName, writePeftFiles } from "./peft-files.js";

/** The files that PEFT, transformers, vLLM, SGLang and TGI load as a LoRA adapter. The scale alpha / r is 1. */
export async function writePeftLora(folder: string, lora: PlainLora, baseModel: string): Promise<void> {
  const tensors: SmallTensors = new Map();
  for (const { module, a, b } of lora.modules) {
    tensors.set(loraTensorName(module.name, "A"), floatTensor(a, [lora.rank, module.in]));
    tensors.set(loraTensorName(module.name, "B"), floatTensor(b, [module.out, lora.rank]));
  }
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    inference_mode: true,
    r: lora.rank,
    lora_alpha: lora.rank,
    lora_dropout: 0,
    target_modules: [...new Set(lora.modules.map(({ module }) => module.type))],
    fan_in_fan_out: false,
    bias: "none",
    modules_to_save: null,
  };
  await writePeftFiles(folder, tensors, config);
}
