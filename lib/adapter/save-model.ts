/** A trained model as a Hugging Face folder: the base model's files, with other numbers in the weights that were trained. */
import { copyFile, mkdir, open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import { writeFileAtomic, writing } from "../files.js";
import type { Model } from "../model/open.js";
import type { Dtype, TensorSource } from "../native/addon.js";
import type { NamedWeights } from "./full.js";
import { encodeSafetensors, type SmallTensors } from "./safetensors.js";
import { encodeVector, roundVector } from "./vector-dtype.js";

const COPIED =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$|^chat_template\.(json|jinja)$/;

/** Trained matrices are written in `dtype`, trained gains and biases in fp32, the others as their file has them. */
export async function saveModel(folder: string, model: Model, trained: NamedWeights, dtype: Dtype): Promise<void> {
  await writing(folder, () => mkdir(folder, { recursive: true }));
  for (const name of await readdir(model.path)) {
    if (COPIED.test(name)) {
      await writing(join(folder, name), () => copyFile(join(model.path, name), join(folder, name)));
    }
  }
  await tellDtype(join(folder, "config.json"), dtype);
  const tensors: SmallTensors = new Map();
  for (const source of model.tensors) {
    const own = trained.get(source.name);
    const kept = source.shape.length > 1 ? dtype : "fp32"; // as the engine keeps them
    tensors.set(source.name, {
      dtype: own ? ({ bf16: "BF16", fp16: "F16", fp32: "F32" } as const)[kept] : fileDtype(source),
      shape: source.shape,
      data: own ? encodeVector(roundVector(own.values, kept), kept) : await readTensorBytes(source),
    });
  }
  await writeFileAtomic(join(folder, "model.safetensors"), encodeSafetensors(tensors, { format: "pt" }));
}

const NARROWER: Readonly<Record<Dtype, readonly string[]>> = {
  bf16: [],
  fp16: ["bfloat16"],
  fp32: ["bfloat16", "float16"],
};

/** Readers round all weights to the type that config.json names: where it has fewer bits than `dtype`, another one. */
async function tellDtype(path: string, dtype: Dtype): Promise<void> {
  const config = JSON.parse(await readFile(path, "utf8"));
  const keys = ["dtype", "torch_dtype"].filter((key) => NARROWER[dtype].includes(config[key]));
  if (keys.length === 0) return;
  for (const key of keys) config[key] = dtype === "fp32" ? "float32" : "float16";
  await writeFileAtomic(path, `${JSON.stringify(config, null, 2)}\n`);
}

function fileDtype({ name, type }: TensorSource): "F32" | "F16" | "BF16" {
  if (type === "F32" || type === "F16" || type === "BF16") return type;
  throw new TinyLoraError("ERR_MODEL", `${name}: expected F32, F16 or BF16, found ${type}`);
}

export async function readTensorBytes({ file, offset, bytes }: TensorSource): Promise<Uint8Array> {
  const handle = await open(file, "r");
  try {
    const data = new Uint8Array(bytes);
    const { bytesRead } = await handle.read(data, 0, bytes, offset);
    if (bytesRead !== bytes) throw new TinyLoraError("ERR_FILE", `${file}: ends before byte ${offset + bytes}`);
    return data;
  } finally {
    await handle.close();
  }
}
