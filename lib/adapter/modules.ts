import { TinyLoraError } from "../error.js";
import type { LinearModule, ModuleType } from "../native/addon.js";
import type { ModelConfig } from "../native/model-source.js";

/** The linear modules of a layer, in model order; this order fixes module indices, tie groups and target sets. */
export const MODULE_TYPES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;

/** Every module that an adapter can change, from the config alone: needs no weights. */
export function linearModules(config: ModelConfig): LinearModule[] {
  const { hidden, intermediate } = config;
  const queries = config.heads * config.headDim;
  const keys = config.kvHeads * config.headDim;
  const shapes: Record<ModuleType, [block: string, outputs: number, inputs: number]> = {
    q_proj: ["self_attn", queries, hidden],
    k_proj: ["self_attn", keys, hidden],
    v_proj: ["self_attn", keys, hidden],
    o_proj: ["self_attn", hidden, queries],
    gate_proj: ["mlp", intermediate, hidden],
    up_proj: ["mlp", intermediate, hidden],
    down_proj: ["mlp", hidden, intermediate],
  };
  const modules: LinearModule[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    for (const type of MODULE_TYPES) {
      const [block, outputs, inputs] = shapes[type];
      const name = `model.layers.${layer}.${block}.${type}`;
      modules.push({ index: modules.length, name, layer, type, in: inputs, out: outputs });
    }
  }
  return modules;
}

/** The modules of the given types, in model order. */
export function targetedModules(modules: readonly LinearModule[], targets: readonly ModuleType[]): LinearModule[] {
  const chosen = modules.filter((module) => targets.includes(module.type));
  if (chosen.length === 0) {
    throw new TinyLoraError("ERR_ADAPTER", `no module is targeted: expected some of ${MODULE_TYPES.join(", ")}`);
  }
  return chosen;
}
