/** The native engine over a small random Llama that the test writes itself: letters are tokens. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Adapter } from "../../lib/adapter/adapter.js";
import { buildBasis } from "../../lib/adapter/basis.js";
import type { TrainOptions } from "../../lib/config/schema.js";
import type { Dtype, LinearModule } from "../../lib/native/addon.js";
import { nativeDevice } from "../../lib/native/device.js";
import type { ModelConfig, TensorSource } from "../../lib/native/model-source.js";
import { Session } from "../../lib/native/session.js";
import { randomUniform } from "../../lib/philox.js";
import { GrpoTrainer } from "../../lib/train/grpo-trainer.js";
import type { TrainablePolicy } from "../../lib/train/trainable.js";

const letters = [..."0123456789#+-=? abcdefghijklmnopqrstuvwxyz.,", "<end>"];
const END = letters.length - 1;

const config: ModelConfig = {
  family: "llama",
  vocab: letters.length,
  hidden: 64,
  intermediate: 128,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  context: 256,
  rmsNormEpsilon: 1e-5,
  tiedEmbeddings: true,
  ropeTheta: 1e4,
};

function shapes(): [name: string, shape: number[]][] {
  const layer = (l: number): [string, number[]][] => [
    [`model.layers.${l}.input_layernorm.weight`, [64]],
    [`model.layers.${l}.self_attn.q_proj.weight`, [64, 64]],
    [`model.layers.${l}.self_attn.k_proj.weight`, [32, 64]],
    [`model.layers.${l}.self_attn.v_proj.weight`, [32, 64]],
    [`model.layers.${l}.self_attn.o_proj.weight`, [64, 64]],
    [`model.layers.${l}.post_attention_layernorm.weight`, [64]],
    [`model.layers.${l}.mlp.gate_proj.weight`, [128, 64]],
    [`model.layers.${l}.mlp.up_proj.weight`, [128, 64]],
    [`model.layers.${l}.mlp.down_proj.weight`, [64, 128]],
  ];
  return [["model.embed_tokens.weight", [letters.length, 64]], ...layer(0), ...layer(1), ["model.norm.weight", [64]]];
}

/** The weights in one file of plain floats. */
async function writeWeights(folder: string): Promise<TensorSource[]> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, "weights.bin");
  const tensors: TensorSource[] = [];
  const values: number[] = [];
  for (const [i, [name, shape]] of shapes().entries()) {
    const count = shape.reduce((product, size) => product * size, 1);
    tensors.push({ name, file, offset: 4 * values.length, bytes: 4 * count, type: "F32", shape });
    for (let k = 0; k < count; k++) {
      values.push(shape.length === 1 ? 1 : 0.5 * (2 * randomUniform(11, "init", i, k) - 1));
    }
  }
  await writeFile(file, Float32Array.from(values));
  return tensors;
}

/** Positions of the sampler's cache. */
const CACHE = 1024;

interface PolicyOptions {
  readonly dtype: Dtype;
  readonly threads: number;
  readonly device?: string | undefined;
}

export class TinyPolicy implements TrainablePolicy {
  readonly model = { config };
  readonly tokenizer = {
    encode: (text: string) => [...text].flatMap((letter) => Math.max(0, letters.indexOf(letter.toLowerCase()))),
    encodeChat: (messages: readonly { content: string }[]) => this.tokenizer.encode(`${messages.at(-1)!.content}=`),
    decode: (tokens: Int32Array) => [...tokens].map((token) => (token === END ? "" : letters[token])).join(""),
    stopTokens: [END],
  };
  readonly cacheTokens = CACHE;
  /** Of the last v that was set. */
  version = 0;
  readonly #session: Session;

  private constructor(session: Session) {
    this.#session = session;
  }

  static async open(folder: string, { device = "cpu", ...options }: PolicyOptions): Promise<TinyPolicy> {
    const tensors = await writeWeights(folder);
    const spec = { config, tensors, ...options, ...nativeDevice(device), maxSequences: 8, cacheTokens: CACHE };
    return new TinyPolicy(await Session.open(spec));
  }

  get device(): string {
    return this.#session.device;
  }
  get fingerprint(): string {
    return this.#session.fingerprint;
  }
  get modules(): LinearModule[] {
    return this.#session.modules;
  }
  memory() {
    return this.#session.memory();
  }
  async attach(adapter: Adapter): Promise<void> {
    const modules = this.modules.map(({ index }) => index);
    const factors = await this.#session.computeSvd({ rank: adapter.spec.r, modules });
    this.#session.setBasis(buildBasis([adapter.spec], this.modules, factors, 1));
    this.setVector(0, adapter.v);
  }
  adapter(): Adapter {
    return Adapter.create(this);
  }
  dispose(): void {
    this.#session.dispose();
  }

  setVector: TrainablePolicy["setVector"] = (slot, v) => {
    this.version = this.#session.setVector(slot, v);
    return this.version;
  };
  submit: TrainablePolicy["submit"] = (request, onEvent) => this.#session.submit(request, onEvent);
  forward: TrainablePolicy["forward"] = (batch, signal) => this.#session.forward(batch, signal);
  backward: TrainablePolicy["backward"] = (dLogprobs, signal) => this.#session.backward(dLogprobs, signal);
  backwardParts: TrainablePolicy["backwardParts"] = (dLogprobs, parts, _slot, signal) =>
    this.#session.backwardParts(dLogprobs, parts, signal);
  gradient: TrainablePolicy["gradient"] = (slot) => this.#session.gradient(slot);
  zeroGradients: TrainablePolicy["zeroGradients"] = () => this.#session.zeroGradients();
}

export type TinyOptions = TrainOptions & PolicyOptions;

export interface Hooks {
  /** Puts its own in place of the policy's sampling. */
  readonly sampled?: (submit: TrainablePolicy["submit"], policy: TinyPolicy) => TrainablePolicy["submit"];
  readonly onStep?: (report: { readonly step: number }) => void;
}

/** A whole run over sums of one step, rewarded for vowels. */
export async function runTiny(
  run: string,
  mode: "start" | "resume",
  { dtype, threads, device, ...config }: TinyOptions,
  { sampled = (submit) => submit, onStep = () => {} }: Hooks = {},
): Promise<void> {
  const policy = await TinyPolicy.open(`${run}-model`, { dtype, threads, device });
  policy.submit = sampled(policy.submit, policy);
  const problems = Array.from({ length: 7 }, (_, i) => {
    return { id: `tiny/${i + 1}`, question: `${i} + ${i}`, answer: `${2 * i}`, row: {} };
  });
  const trainer = new GrpoTrainer({
    engine: policy,
    adapter: policy.adapter(),
    data: { name: "tiny", train: problems, test: problems.slice(0, 3) },
    rewards: { vowels: (completion) => [...completion].filter((letter) => "aeiou".includes(letter)).length },
    config: {
      num_prompts: 3,
      num_generations: 4,
      max_completion_length: 12,
      max_steps: 4,
      eval_steps: 2,
      save_steps: 1,
      ...config,
    },
    run,
    resume: mode === "resume",
  });
  try {
    await trainer.train({ onWarning: (message) => console.error(message), onStep });
  } finally {
    policy.dispose();
  }
}
