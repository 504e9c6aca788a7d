/** The largest sizes of a model that the engine takes, as native/engine/model_shape.cpp has them. */
export const LARGEST = {
  vocab: 2 ** 24,
  hidden: 2 ** 17,
  intermediate: 2 ** 20,
  layers: 1024,
  heads: 1024,
  headDim: 256,
  context: 2 ** 30,
} as const;
