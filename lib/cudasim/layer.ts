/**
 * Layers of a model of given shape on the stand-in for the CUDA driver, for counting: weights are zeros, which changes no
 * counter, and of each launch a few blocks stand for all. Layer 1 of two is counted: below it a module of layer 0 is
 * adapted in both runs, so that the backward pass runs through the whole layer, plain or fused.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { batchOf, loadZeroModel, type ModelShape, sampleAll, zeroBasis } from "../bench/zero-model.js";
import { TinyLoraError } from "../error.js";
import type { Dtype, ForwardBatch, NativeEngine } from "../native/addon.js";
import { cudasimLibrary } from "../native/cudasim.js";
import { type Launch, LaunchLog } from "./launches.js";

/** Launches of one layer in a training pass, in order; each product's are those up to and with its own. */
export interface PassCounts {
  readonly forward: readonly ProductCounts[];
  readonly backward: readonly ProductCounts[];
  readonly attention: readonly Launch[];
  readonly attentionBackward: readonly Launch[];
  readonly head: readonly Launch[];
  readonly headBackward: readonly Launch[];
}

/** The same in a decode step. */
export interface DecodeCounts {
  readonly decode: readonly ProductCounts[];
  readonly decodeAttention: readonly Launch[];
  readonly sample: readonly Launch[];
}

export type LayerCounts = PassCounts & DecodeCounts;

export interface ProductCounts {
  /** Modules of the launch: "q k v". */
  readonly modules: string;
  /** One for each module. */
  readonly outs: readonly number[];
  readonly in: number;
  readonly product: Launch;
  /** What makes its input and the factors of its update. */
  readonly before: readonly Launch[];
}

const LAYERS = 2;
const SEQUENCE = 128;
const PROMPT = 64;
const TOKENS = 3;

let log: LaunchLog | undefined;

/** Settings of the stand-in, which it reads when it is opened first: of each axis of a grid this many blocks run. */
export function startCounting(sample = 1): void {
  const folder = mkdtempSync(join(tmpdir(), "cudasim-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  log = new LaunchLog(join(folder, "launches.jsonl"));
  process.env.CUDASIM_LOG = log.file;
  process.env.CUDASIM_SAMPLE = String(sample);
  process.env.CUDASIM_DRY = "head_total,head_sample"; // whose results are looked at
}

/** Two layers, an embedding and a head of that shape on the stand-in. */
export class CountedModel implements Disposable {
  readonly shape: ModelShape;
  #engine: NativeEngine;
  #log: LaunchLog;

  private constructor(shape: ModelShape, engine: NativeEngine, launches: LaunchLog) {
    this.shape = shape;
    this.#engine = engine;
    this.#log = launches;
  }

  static async load(shape: ModelShape, dtype: Dtype = "bf16"): Promise<CountedModel> {
    if (!log) throw new TinyLoraError("ERR_USAGE", "counters: expected startCounting before the first model");
    const engine = await loadZeroModel(shape, LAYERS, {
      ...{ dtype, device: "cudasim", driver: cudasimLibrary(), threads: availableParallelism() },
      ...{ maxSequences: 512, cacheTokens: 512 * (PROMPT + 32) },
    });
    return new CountedModel(shape, engine, log);
  }

  /**
   * A training pass of `rows` rows in sequences of at most 128, and its backward pass, with an update of this rank on every
   * module (0: none). Then a decode step of at most 512 sequences.
   */
  async count(rows: number, rank: number): Promise<LayerCounts> {
    const pass = await this.countPass(batchOf(rows, SEQUENCE), rank);
    return { ...pass, ...(await this.countDecode(Math.min(rows, 512), PROMPT, rank)) };
  }

  async countPass(batch: ForwardBatch, rank: number): Promise<PassCounts> {
    this.#adapt(rank);
    await this.#engine.forward(batch);
    const forward = this.#log.take();
    await this.#engine.backward(new Float32Array(batch.tokens.length).fill(1));
    const backward = this.#log.take();
    const pass = layersOf(forward, this.#onward());
    const top = backward.findLastIndex(({ kernel }) => kernel === "scatter_add_rows") + 1;
    const way = layersOf(backward.slice(top), this.#back());
    return {
      forward: pass.layers[1]!,
      attention: pass.attention[1]!,
      head: pass.after,
      headBackward: backward.slice(0, top),
      backward: way.layers[0]!,
      attentionBackward: way.attention[0]!,
    };
  }

  /** `sequences` that share a prompt of so many tokens. */
  async countDecode(sequences: number, prompt: number, rank: number): Promise<DecodeCounts> {
    this.#adapt(rank);
    await sampleAll(this.#engine, {
      ...{ sequences, numGenerations: sequences, promptLength: prompt, completionLength: TOKENS },
    });
    const steps = this.#log.take();
    const decode = steps.slice(steps.findLastIndex(({ kernel }) => kernel.startsWith("embed")));
    const step = layersOf(decode, this.#onward());
    return { decode: step.layers[1]!, decodeAttention: step.attention[1]!, sample: step.after };
  }

  [Symbol.dispose](): void {
    this.#engine.dispose();
  }

  #onward(): Product[] {
    const { hidden, intermediate, heads, kvHeads, headDim } = this.shape;
    const [query, key] = [heads * headDim, kvHeads * headDim];
    return products(
      ["q k v", [query, key, key], hidden],
      ["o", [hidden], query],
      ["gate up", [intermediate, intermediate], hidden],
      ["down", [hidden], intermediate],
    );
  }

  #back(): Product[] {
    const { hidden, intermediate, heads, kvHeads, headDim } = this.shape;
    const [query, key] = [heads * headDim, kvHeads * headDim];
    return products(
      ...([
        ["down", [intermediate], hidden],
        ["gate", [hidden], intermediate],
        ["up", [hidden], intermediate],
      ] as const),
      ...([
        ["o", [query], hidden],
        ["q", [hidden], query],
        ["k", [hidden], key],
        ["v", [hidden], key],
      ] as const),
    );
  }

  /** Rank 0: one module of layer 0, so that the backward pass runs through layer 1. */
  #adapt(rank: number): void {
    const { modules } = this.#engine;
    const adapted = rank > 0 ? modules : modules.filter(({ type, layer }) => type === "q_proj" && layer === 0);
    this.#engine.setBasis(zeroBasis(adapted, Math.max(1, rank)));
    this.#engine.setVector(0, Float32Array.of(1));
    this.#log.take();
  }
}

interface Product {
  readonly modules: string;
  readonly outs: readonly number[];
  readonly in: number;
}

function products(...list: (readonly [modules: string, outs: readonly number[], inputs: number])[]): Product[] {
  return list.map(([modules, outs, inputs]) => ({ modules, outs, in: inputs }));
}

const isProduct = ({ kernel }: Launch) => kernel.startsWith("product_");
const isAttention = ({ kernel }: Launch) => kernel.startsWith("attention");

/** Launches dealt out to the products of both layers, and those after the last. */
function layersOf(launches: readonly Launch[], each: readonly Product[]) {
  const layers: ProductCounts[][] = [];
  const attention: Launch[][] = [];
  let before: Launch[] = [];
  let place = 0;
  for (const launch of launches) {
    const layer = Math.floor(place / each.length);
    if (isAttention(launch)) {
      attention[layer] = [...(attention[layer] ?? []), launch];
    } else if (isProduct(launch)) {
      layers[layer] = [...(layers[layer] ?? []), { ...each[place % each.length]!, product: launch, before }];
      before = [];
      place++;
    } else {
      before.push(launch);
    }
  }
  if (place !== LAYERS * each.length) {
    throw new TinyLoraError("ERR_DEVICE", `counters: expected ${LAYERS * each.length} products, found ${place}`);
  }
  return { layers, attention, after: before };
}
