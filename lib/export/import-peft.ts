import { join } from "node:path";
import type { AdapterBase } from "../adapter/adapter.js";
import { show } from "../show.js";
import { PEFT_CONFIG, readPeftConfig, refusePeft } from "./peft-files.js";
import { importPeftLora } from "./peft-lora-import.js";
import { importPeftTinyLora } from "./peft-tinylora.js";

const IMPORTS = { LORA: importPeftLora, TINYLORA: importPeftTinyLora } as const;

/** Reads the LoRA or TinyLoRA adapter that PEFT saved in `source` and writes it as an adapter of `base` to `folder`. */
export async function importPeft(source: string, base: AdapterBase, folder: string): Promise<void> {
  const { peft_type: type } = await readPeftConfig(source);
  if (type === "LORA" || type === "TINYLORA") return IMPORTS[type](source, base, folder);
  throw refusePeft(
    join(source, PEFT_CONFIG),
    `peft_type: expected ${Object.keys(IMPORTS).join(" or ")}, found ${show(type)}`,
  );
}
