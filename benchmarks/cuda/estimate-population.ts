/**
 * Seconds of a GRPO step of one run, and of a population of runs side by side on one engine (lib/train/population.ts).
 * A model, not a measurement. It assumes what estimate.ts and estimate-wgmma.ts do, and:
 *   - every completion has all its new tokens: no tail of few rows, in which a population would gain most
 *   - members begin a step together; passes over prompts and training passes are one member's own, so that only decode
 *     steps are shared
 *   - 4 prompts of 128 tokens, 4 completions each; a training pass holds whole groups, and its products take as long a
 *     row as those of 4,608 rows
 *   - a decode step is a captured graph, in which a launch costs what estimate.ts says; around it 30 us for three
 *     uploads, a download and the host, and 0.25 us a row
 *   - decoding, keys and values come from memory once, a prompt's once a group; what row kernels pass on stays in L2;
 *     of 4,608 rows it comes from memory
 *   - decode attention of a context is that of the counted one in proportion to its pages, as if every sequence walked
 *     its prompt by itself and without the launch that adds splits up
 *   - attention forward and backward is in proportion to pairs of queries and keys; the block with most pairs may
 *     take longest
 *   - JavaScript (packing, loss, rewards, AdamW) takes nothing
 */
import { MODELS } from "../../bin/shapes.js";
import type { Launch, ProductCounts } from "../../lib/index.js";
import { CHAIN_CLOCKS, estimate, type Gpu, SECTOR } from "./estimate.js";
import { headTime, WARP_CLOCKS, warpTime } from "./head-time.js";
import {
  ATTENTION_TOKENS,
  CONTEXT,
  MEMBERS,
  PROMPT,
  PROMPTS,
  SAMPLES,
  SCORED_ROWS,
  type StepCounts,
  TRAINING_ROWS,
} from "./population-counts.js";
import { productTime, type Residents } from "./product-time.js";

const PAGE = 32;
const STEP_SECONDS = 30e-6;
const ROW_SECONDS = 0.25e-6;

export interface Step {
  /** All members' passes over their prompts. */
  readonly prefill: number;
  /** All decode steps. */
  readonly decode: number;
  /** Training passes of all members, there and back. */
  readonly forward: number;
  readonly backward: number;
}

export interface PopulationEstimate {
  readonly alone: Step;
  readonly together: Step;
  /** How much faster `MEMBERS` runs are side by side than one after another. */
  readonly ratio: number;
  /** The same of decoding alone. */
  readonly decodeRatio: number;
}

/** `learning`: the share of completions whose group has a gradient; the others get no training pass. */
export function estimatePopulation(
  gpu: Gpu,
  counts: StepCounts,
  newTokens: number,
  learning: number,
  blocks: Residents,
): PopulationEstimate {
  const model = new StepModel(gpu, counts, newTokens, blocks);
  const [alone, together] = [model.step(1, learning), model.step(MEMBERS, learning)];
  return {
    ...{ alone, together },
    ratio: (MEMBERS * seconds(alone)) / seconds(together),
    decodeRatio: (MEMBERS * alone.decode) / together.decode,
  };
}

export function seconds({ prefill, decode, forward, backward }: Step): number {
  return prefill + decode + forward + backward;
}

class StepModel {
  readonly #gpu: Gpu;
  readonly #counts: StepCounts;
  readonly #newTokens: number;
  readonly #blocks: Residents;
  readonly #layers: number;
  readonly #shape: (typeof MODELS)[string];

  constructor(gpu: Gpu, counts: StepCounts, newTokens: number, blocks: Residents) {
    this.#gpu = gpu;
    this.#counts = counts;
    this.#newTokens = newTokens;
    this.#blocks = blocks;
    this.#shape = MODELS[counts.model]!;
    this.#layers = this.#shape.layers;
  }

  step(members: number, learning: number): Step {
    const { training } = this.#counts;
    const rows = PROMPTS * (PROMPT + SAMPLES * this.#newTokens);
    const scored = (PROMPTS * SAMPLES * this.#newTokens) / SCORED_ROWS;
    const share = rows / TRAINING_ROWS;
    const [there, back] = [this.#attention("attention"), this.#attention("attentionBackward")];
    const layer = (list: readonly ProductCounts[]) => share * this.#products(list, TRAINING_ROWS, true);
    const forward = this.#layers * (layer(training.forward) + there) + scored * this.#head(training.head, SCORED_ROWS);
    const backward =
      this.#layers * (layer(training.backward) + back) + scored * this.#head(training.headBackward, SCORED_ROWS);
    return {
      prefill: members * this.#prefill(),
      decode: this.#newTokens * this.#decodeStep(members),
      forward: members * learning * forward,
      backward: members * learning * backward,
    };
  }

  /** In the middle of its completions. */
  #decodeStep(members: number): number {
    const { decodeAlone, decodeTogether } = this.#counts;
    const { decode, decodeAttention, sample } = members === 1 ? decodeAlone : decodeTogether;
    const rows = members * PROMPTS * SAMPLES;
    const pages = (tokens: number) => Math.ceil(tokens / PAGE);
    const context = PROMPT + this.#newTokens / 2;
    const { kvHeads, headDim } = this.#shape;
    const bytes = 4 * kvHeads * headDim * (rows * (this.#newTokens / 2) + members * PROMPTS * PROMPT);
    const longer = pages(context) / pages(CONTEXT + 2);
    const attention = this.#sum(decodeAttention, (one) => this.#launch(scaled(one, longer), bytes));
    const layers = this.#layers * (this.#products(decode, rows, false) + attention);
    return layers + this.#head(sample, rows) + STEP_SECONDS + rows * ROW_SECONDS;
  }

  #prefill(): number {
    const { prefill, decodeAlone } = this.#counts;
    const rows = PROMPTS * PROMPT;
    const attention = this.#sum(prefill.attention, (one) => this.#launch(one, 0));
    return (
      this.#layers * (this.#products(prefill.forward, rows, false) + attention) +
      this.#head(decodeAlone.sample, PROMPTS * SAMPLES)
    );
  }

  /** Products of a layer with what makes their inputs. */
  #products(list: readonly ProductCounts[], rows: number, fromMemory: boolean): number {
    return this.#sum(list, (one) => {
      const others = this.#sum(one.before, (launch) =>
        this.#launch(launch, fromMemory ? SECTOR * (launch.sectors ?? 0) : 0),
      );
      return others + productTime(this.#gpu, one, rows, this.#blocks).seconds;
    });
  }

  #head(launches: readonly Launch[], rows: number): number {
    return headTime(this.#gpu, launches, this.#shape, rows, this.#blocks);
  }

  /** Of one layer and a whole training batch, made of what one group and head of keys takes. */
  #attention(pass: "attention" | "attentionBackward"): number {
    const { heads, kvHeads, headDim } = this.#shape;
    const rows = PROMPT + SAMPLES * this.#newTokens;
    const groups = PROMPTS * kvHeads;
    const more = (groups * pairs(this.#newTokens)) / pairs(ATTENTION_TOKENS);
    const blocks = (groups * rows) / (PROMPT + SAMPLES * ATTENTION_TOKENS);
    const numbers = PROMPTS * rows * (heads + kvHeads) * headDim;
    return this.#sum(this.#counts.attention[pass], (one) => {
      const of = { ...scaled(one, more), grid: [Math.ceil(blocks * grid(one)), 1, 1] as const };
      const longest = longestBlock(one.kernel, heads / kvHeads, this.#newTokens) / pairs(ATTENTION_TOKENS);
      const links = ((longest * one.executed) / (threads(one) / 32)) * (WARP_CLOCKS / CHAIN_CLOCKS);
      return estimate(this.#gpu, of, (pass === "attention" ? 4 : 12) * numbers, links, grid(of)).seconds;
    });
  }

  #launch(launch: Launch, bytes: number): number {
    return warpTime(this.#gpu, launch, bytes, this.#blocks(launch, this.#gpu.architecture));
  }

  #sum<One>(list: readonly One[], time: (one: One) => number): number {
    return list.reduce((sum, one) => sum + time(one), 0);
  }
}

/** Queries times the keys that they see, of a group. */
function pairs(newTokens: number): number {
  return (PROMPT * (PROMPT + 1)) / 2 + SAMPLES * newTokens * (PROMPT + (newTokens + 1) / 2);
}

/** Of a group, in pairs of the head's own queries and keys: a page of the prompt and all who read it, or queries at the end. */
function longestBlock(kernel: string, headsOfGroup: number, newTokens: number): number {
  if (kernel.startsWith("attention_dkv")) return PAGE * (PROMPT + SAMPLES * newTokens);
  return (64 / headsOfGroup) * (PROMPT + newTokens);
}

const grid = (launch: Launch) => launch.grid.reduce((product, side) => product * side, 1);
const threads = (launch: Launch) => launch.block.reduce((product, side) => product * side, 1);

function scaled(launch: Launch, factor: number): Launch {
  const times = (count: number | undefined) => factor * (count ?? 0);
  return {
    ...launch,
    executed: times(launch.executed),
    mma: times(launch.mma),
    sectors: times(launch.sectors),
    wavefronts: times(launch.wavefronts),
  };
}
