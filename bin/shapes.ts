export interface Shape {
  readonly module: string;
  readonly out: number;
  readonly in: number;
}

/** Linear shapes of a layer: width, width of keys and values, width inside the MLP. */
function layer(hidden: number, keys: number, intermediate: number): Shape[] {
  return [
    { module: "q, o", out: hidden, in: hidden },
    { module: "k, v", out: keys, in: hidden },
    { module: "gate, up", out: intermediate, in: hidden },
    { module: "down", out: hidden, in: intermediate },
  ];
}

/** Models whose shapes `bench` knows. */
export const SHAPES: Readonly<Record<string, Shape[]>> = {
  "smollm2-135m": layer(576, 192, 1536),
  "smollm2-360m": layer(960, 320, 2560),
  "smollm2-1.7b": layer(2048, 2048, 8192),
  "qwen2.5-0.5b": layer(896, 128, 4864),
  "qwen2.5-1.5b": layer(1536, 256, 8960),
  "qwen2.5-3b": layer(2048, 256, 11008),
  "qwen2.5-7b": layer(3584, 512, 18944),
  "llama-3.2-1b": layer(2048, 512, 8192),
  "llama-3.2-3b": layer(3072, 1024, 8192),
  "llama-3.1-8b": layer(4096, 1024, 14336),
};
