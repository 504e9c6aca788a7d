/**
 * Layers of a model of given shape on the stand-in for the CUDA driver, for counting: weights are zeros, which changes no
 * counter, and of each launch a few blocks stand for all. Layer 1 of two is counted: below it a module of layer 0 is
 * adapted in both runs, so that the backward pass runs through the whole layer, plain or fused.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import type { AdapterBasis, Dtype, ForwardBatch, NativeEngine } from "../native/addon.js";
import { cudasimLibrary } from "../native/cudasim.js";
import { loadAddon } from "../native/load.js";
import { type Launch, LaunchLog } from "./launches.js";
import { type ModelShape, zeroConfig, zeroTensors } from "./zero-model.js";

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
    const folder = mkdtempSync(join(tmpdir(), "tinylora-zeros-"));
    try {
      const engine = await loadAddon().loadEngine(
        {
          config: zeroConfig(shape, LAYERS),
          tensors: zeroTensors(shape, LAYERS, join(folder, "zeros.bin")),
          dtype,
          device: "cudasim",
          driver: cudasimLibrary(),
          threads: availableParallelism(),
          maxSequences: 512,
          cacheTokens: 512 * (PROMPT + 32),
        },
        () => {},
      );
      return new CountedModel(shape, engine, log);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  /**
   * A training pass of `rows` rows in sequences of at most 128, and its backward pass, with an update of this rank on every
   * module (0: none). Then a decode step of at most 512 sequences.
   */
  async count(rows: number, rank: number): Promise<LayerCounts> {
    const pass = await this.countPass(batchOf(rows), rank);
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
    await this.#decode(sequences, prompt);
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

  #adapt(rank: number): void {
    this.#engine.setBasis(this.#basis(rank));
    this.#engine.setVector(0, Float32Array.of(1));
    this.#log.take();
  }

  /** Rank 0: one module of layer 0, so that the backward pass runs through layer 1. */
  #basis(rank: number): AdapterBasis {
    const adapted = this.#engine.modules.filter(({ type, layer }) => rank > 0 || (type === "q_proj" && layer === 0));
    const r = Math.max(1, rank);
    const modules = adapted.map(({ index, in: width, out }) => ({
      module: index,
      group: 0,
      a: new Float32Array(r * width),
      b: new Float32Array(out * r),
      p: new Float32Array(r * r).fill(1),
    }));
    return { rank: r, u: 1, groups: 1, slots: 1, modules };
  }

  #decode(sequences: number, prompt: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let left = sequences;
      const request = {
        id: 1,
        prompt: new Int32Array(prompt),
        slot: 0,
        numGenerations: sequences,
        maxCompletionLength: TOKENS,
        temperature: 1,
        topP: 1,
        topK: 0,
        minP: 0,
        seed: 1,
        firstSequence: 0,
        stopTokens: new Int32Array(0),
        stopStrings: [],
        stream: false,
      };
      this.#engine.submit(request, (event) => {
        if (event.type === "failed") reject(event.error);
        if (event.type === "finished" && --left === 0) resolve();
      });
    });
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

/** Sequences of at most 128 rows. */
function batchOf(rows: number): ForwardBatch {
  const count = Math.ceil(rows / SEQUENCE);
  return {
    tokens: new Int32Array(rows),
    starts: Int32Array.from({ length: count + 1 }, (_, i) => Math.min(i * SEQUENCE, rows)),
    parents: new Int32Array(count).fill(-1),
    slots: new Int32Array(count),
    scored: new Uint8Array(count).fill(1),
    temperatures: new Float32Array(count).fill(1),
    keep: true,
  };
}
