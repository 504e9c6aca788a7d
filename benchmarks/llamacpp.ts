/** llama.cpp, through node-llama-cpp installed in some other folder, as a judge of what we export for it. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** What is used of node-llama-cpp, which is not among our dependencies. */
interface Sequence {
  controlledEvaluate(input: readonly (readonly [number, object])[]): Promise<{ next: Next }[]>;
}
interface Next {
  readonly token?: number;
  readonly logits?: ReadonlyMap<number, number>;
  readonly totalLogitWeight?: number;
}
interface Context {
  getSequence(): Sequence;
  dispose(): Promise<void>;
}
interface LoadedModel {
  createContext(options: object): Promise<Context>;
  dispose(): Promise<void>;
}
interface Llama {
  readonly llamaCppRelease: { readonly release: string };
  loadModel(options: object): Promise<LoadedModel>;
  dispose(): Promise<void>;
}

/** The whole distribution, as the model has it. */
const PLAIN = { temperature: 1, topK: 0, topP: 1, minP: 0 };

/** Keys and values of attention are kept in fp32. One thread: a comparison, not a measurement of time. */
export class LlamaCpp {
  /** "node-llama-cpp 3.22.1 (llama.cpp b1234)". */
  readonly version: string;
  readonly #llama: Llama;

  private constructor(llama: Llama, version: string) {
    this.#llama = llama;
    this.version = `node-llama-cpp ${version} (llama.cpp ${llama.llamaCppRelease.release})`;
  }

  /** `folder`: where `npm install node-llama-cpp @node-llama-cpp/linux-x64` was run; nothing is built or fetched. */
  static async open(folder: string): Promise<LlamaCpp> {
    const require = createRequire(join(resolve(folder), "package.json"));
    const entry = require.resolve("node-llama-cpp");
    const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
    const manifest = join(resolve(folder), "node_modules/node-llama-cpp/package.json");
    const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
    const llama = await getLlama({ gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error });
    return new LlamaCpp(llama, version);
  }

  /** Of each token after those before it, as `engine.logprobs` gives them; NaN for the first. */
  async logprobs(modelPath: string, lora: string | undefined, sequences: readonly Int32Array[]): Promise<number[][]> {
    return this.#each(modelPath, lora, sequences, async (sequence, tokens) => {
      const asked = [...tokens].map((token, i) => {
        const filter = { tokens: [...tokens.subarray(i + 1, i + 2)], includeTop: 1 };
        return [token, { generateNext: { logits: { filter }, totalLogitWeight: true, options: PLAIN } }] as const;
      });
      const found = await sequence.controlledEvaluate(asked);
      return [...tokens].map((token, i) => (i === 0 ? Number.NaN : logprob(found[i - 1]!.next, token)));
    });
  }

  /** `count` tokens after each prompt, each the likeliest; fewer where `stop` came. */
  async greedy(
    modelPath: string,
    lora: string | undefined,
    prompts: readonly Int32Array[],
    count: number,
    stop: readonly number[],
  ): Promise<number[][]> {
    return this.#each(
      modelPath,
      lora,
      prompts,
      async (sequence, prompt) => {
        const likeliest = { generateNext: { token: true, options: { ...PLAIN, temperature: 0 } } };
        const made: number[] = [];
        let given = [...prompt].map((token, i) => [token, i === prompt.length - 1 ? likeliest : {}] as const);
        while (made.length < count) {
          const token = (await sequence.controlledEvaluate(given)).at(-1)!.next.token!;
          made.push(token);
          if (stop.includes(token)) break;
          given = [[token, likeliest]];
        }
        return made;
      },
      count,
    );
  }

  dispose(): Promise<void> {
    return this.#llama.dispose();
  }

  /** Each in a context of its own. */
  async #each<T>(
    modelPath: string,
    lora: string | undefined,
    sequences: readonly Int32Array[],
    run: (sequence: Sequence, tokens: Int32Array) => Promise<T>,
    more = 0,
  ): Promise<T[]> {
    const model = await this.#llama.loadModel({ modelPath });
    const results: T[] = [];
    for (const tokens of sequences) {
      const context = await model.createContext({
        sequences: 1,
        contextSize: tokens.length + more + 1,
        flashAttention: false,
        experimentalKvCacheKeyType: "F32",
        experimentalKvCacheValueType: "F32",
        ...(lora === undefined ? {} : { lora }),
      });
      results.push(await run(context.getSequence(), tokens));
      await context.dispose();
    }
    await model.dispose();
    return results;
  }
}

/** totalLogitWeight is the sum of exp(logit - largest). */
function logprob({ logits, totalLogitWeight }: Next, token: number): number {
  return logits!.get(token)! - Math.max(...logits!.values()) - Math.log(totalLogitWeight!);
}
