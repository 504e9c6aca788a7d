import type { ModelShape } from "../lib/index.js";

export interface Shape {
  readonly module: string;
  readonly out: number;
  readonly in: number;
}

function shape(
  family: ModelShape["family"],
  layers: number,
  vocab: number,
  hidden: number,
  intermediate: number,
  [heads, kvHeads, headDim]: [number, number, number],
): ModelShape & { readonly layers: number } {
  return { family, layers, vocab, hidden, intermediate, heads, kvHeads, headDim };
}

/** Models whose shapes `bench` knows. */
export const MODELS: Readonly<Record<string, ReturnType<typeof shape>>> = {
  "smollm2-135m": shape("llama", 30, 49152, 576, 1536, [9, 3, 64]),
  "smollm2-360m": shape("llama", 32, 49152, 960, 2560, [15, 5, 64]),
  "smollm2-1.7b": shape("llama", 24, 49152, 2048, 8192, [32, 32, 64]),
  "qwen2.5-0.5b": shape("qwen2", 24, 151936, 896, 4864, [14, 2, 64]),
  "qwen2.5-1.5b": shape("qwen2", 28, 151936, 1536, 8960, [12, 2, 128]),
  "qwen2.5-3b": shape("qwen2", 36, 151936, 2048, 11008, [16, 2, 128]),
  "qwen2.5-7b": shape("qwen2", 28, 152064, 3584, 18944, [28, 4, 128]),
  "llama-3.2-1b": shape("llama", 16, 128256, 2048, 8192, [32, 8, 64]),
  "llama-3.2-3b": shape("llama", 28, 128256, 3072, 8192, [24, 8, 128]),
  "llama-3.1-8b": shape("llama", 32, 128256, 4096, 14336, [32, 8, 128]),
};

/** Linear shapes of a layer. */
export function linearShapes({ hidden, intermediate, heads, kvHeads, headDim }: ModelShape): Shape[] {
  return [
    { module: "q, o", out: heads * headDim, in: hidden },
    { module: "k, v", out: kvHeads * headDim, in: hidden },
    { module: "gate, up", out: intermediate, in: hidden },
    { module: "down", out: hidden, in: intermediate },
  ];
}
