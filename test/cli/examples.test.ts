import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Adapter, Engine, findModel } from "../../lib/index.js";
import { writeTinyModel } from "../tiny-model.js";
import { ROOT } from "./run.js";

const data = join(ROOT, "..", "shared", "data", "gsm8k");
let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-examples-"));
  model = await writeTinyModel(join(folder, "model"));
});
afterAll(() => rm(folder, { recursive: true }));

/** From a folder of its own: examples write their runs to where they are started. */
function program(name: string, args: readonly string[]) {
  const all = [
    "--import",
    join(ROOT, "node_modules", "tsx", "dist", "esm", "index.mjs"),
    join(ROOT, "examples", name),
    ...args,
  ];
  const env = {
    ...process.env,
    TINYLORA_CACHE: join(folder, "cache"),
    TSX_TSCONFIG_PATH: join(ROOT, "tsconfig.json"),
  };
  return { args: all, options: { cwd: folder, env } };
}

function startExample(name: string, given: readonly string[]) {
  const { args, options } = program(name, given);
  return spawnSync(process.execPath, args, { ...options, encoding: "utf8" });
}

function runExample(name: string, args: readonly string[]): string {
  const { status, stdout, stderr } = startExample(name, args);
  expect(status, stderr).toBe(0);
  return stdout;
}

describe("examples", () => {
  it("use-adapter.ts", async () => {
    const engine = await Engine.load(model, { threads: 1 });
    const adapter = Adapter.create(engine).withVector(Float32Array.from({ length: 13 }, (_, i) => 0.1 * Math.cos(i)));
    engine.dispose();
    expect(runExample("use-adapter.ts", [adapter.toString(), model])).toMatch(
      /with the adapter: \d+ tokens; without: \d+ tokens/,
    );
  });

  it("serve-adapters.ts names the adapter of another model in its folder", async () => {
    await using engine = await Engine.load(model, { threads: 1 });
    await Adapter.create(engine).save(join(folder, "others", "stranger"));
    const flags = ["--model", "embedded", "--adapters", join(folder, "others")];
    const { status, stderr } = startExample("serve-adapters.ts", flags);
    const path = join(folder, "others", "stranger");
    expect([status, stderr]).toEqual([1, `error: ${path}: the adapter was made for another base model\n`]);
  });

  it.skipIf(!existsSync(data))("train-gsm8k.ts (needs ../shared/data/gsm8k)", () => {
    const output = runExample("train-gsm8k.ts", [model, "1"]);
    expect(output).toMatch(/step 1: reward /);
    expect(output).toMatch(/tl1-[\w-]+\nbase model: [\d.]+ % in/);
  });

  it.each<[string, string[], string]>([
    ["train-gsm8k.ts", ["no-model"], "no-model: no such model: expected a folder or a .gguf file"],
    ["train-gsm8k.ts", [".", "ten"], "expected a number of steps, 1 or more, found ten"],
    ["use-adapter.ts", [], "expected an adapter, a run folder or a string that begins with tl1-, found nothing"],
    ["use-adapter.ts", ["no-adapter"], "no-adapter: no such adapter: expected a folder with adapter.json"],
    ["use-adapter.ts", ["tl1-x"], "tl1-x"],
    [
      "serve-adapters.ts",
      ["--model", "embedded", "--slots", "none"],
      "slots: expected a whole number from 1 to 65536, found NaN",
    ],
  ])("%s %j says in one sentence what is wrong", (name, args, message) => {
    const { status, stderr } = startExample(name, args);
    expect(stderr).toMatch(/^error: .*\n$/);
    expect(stderr).toContain(message);
    expect(status).toBeGreaterThan(0);
  });
});

describe("serve-adapters.ts", () => {
  interface Answer {
    readonly choices: { readonly index: number; readonly message: { readonly content: string } }[];
    readonly usage: { readonly completion_tokens: number };
  }

  let server: ChildProcess;
  let url: string;
  const adapters: Adapter[] = [];
  const alone: string[] = [];
  const max_tokens = 16;
  const messages = [{ role: "user", content: "Tom has 3 apples and buys 4 more." }] as const;

  beforeAll(async () => {
    const engine = await Engine.load(findModel("embedded"), { threads: 2 });
    for (let k = 0; k < 6; k++) {
      const empty = Adapter.create(engine, { dtype: "bf16" });
      const adapter = empty.withVector(empty.v.map((_, i) => 0.05 * Math.cos(i + 7 * k)));
      adapters.push(adapter);
      await engine.attach(adapter);
      const [completion] = await engine.generate([messages], { maxCompletionLength: max_tokens, seed: k });
      alone.push(completion!.text);
      if (k < 3) await adapter.save(join(folder, "adapters", `number-${k}`));
    }
    engine.dispose();
    const flags = ["--model", "embedded", "--adapters", join(folder, "adapters"), "--slots", "2", "--port", "0"];
    const { args, options } = program("serve-adapters.ts", flags);
    server = spawn(process.execPath, args, { ...options, stdio: ["ignore", "pipe", "inherit"] });
    const [line] = await once(server.stdout!, "data");
    expect(`${line}`).toMatch(/^3 adapters in 2 slots on http:\S+\n$/);
    url = /http:\S+/.exec(`${line}`)![0];
  });
  afterAll(async () => {
    server.kill("SIGINT");
    expect(await once(server, "exit")).toEqual([0, null]);
  });

  const post = (body: unknown, signal: AbortSignal | null = null) =>
    fetch(`${url}/chat/completions`, { method: "POST", body: JSON.stringify(body), signal });

  it("answers with each adapter, by name and by string, as the engine alone does", async () => {
    const models = adapters.map((adapter, k) => (k < 3 ? `number-${k}` : `${adapter}`));
    const asked = [...models.keys(), ...models.keys(), ...models.keys()];
    const answers = asked.map(async (k) => {
      const answer = await post({ model: models[k], messages, max_tokens, seed: k });
      const { choices, usage } = (await answer.json()) as Answer;
      expect(usage.completion_tokens).toBeLessThanOrEqual(max_tokens);
      return choices[0]!.message.content;
    });
    expect(await Promise.all(answers)).toEqual(asked.map((k) => alone[k]));
    expect(new Set(alone).size).toBeGreaterThan(3);
  });

  it("lists the base model and the adapters of the folder", async () => {
    const { data } = (await (await fetch(`${url}/models`)).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id).sort()).toEqual(["base", "number-0", "number-1", "number-2"]);
  });

  it("takes the length by both of OpenAI's names", async () => {
    for (const name of ["max_tokens", "max_completion_tokens"]) {
      const answer = await post({ model: "base", messages, [name]: 3, temperature: 0 });
      expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 3 } });
    }
  });

  it("streams", async () => {
    const answer = await post({ model: "number-2", messages, max_tokens, seed: 2, stream: true });
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const events = (await answer.text()).trimEnd().split("\n\n");
    expect(events.pop()).toBe("data: [DONE]");
    const choices = events.map((event) => JSON.parse(event.slice("data: ".length)).choices[0]);
    expect(choices.map(({ delta }) => delta.content).join("")).toBe(alone[2]);
    expect(choices.at(-1).finish_reason).toMatch(/^(stop|length)$/);
  });

  it("gives as many choices as are asked for", async () => {
    const body = { model: "number-1", messages, max_tokens, seed: 1 };
    const ask = async (more: object) => (await (await post({ ...body, ...more })).json()) as Answer;
    expect((await ask({ n: 1 })).choices).toEqual((await ask({ n: null })).choices);
    const { choices, usage } = await ask({ n: 3 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(choices[0]!.message.content).toBe(alone[1]);
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(3);
    expect(usage.completion_tokens).toBeGreaterThan((await ask({})).usage.completion_tokens);
  });

  it("ends a stream with the usage where that is asked for", async () => {
    const body = { model: "number-1", messages, max_tokens, seed: 1 };
    const { usage } = (await (await post(body)).json()) as Answer;
    const answer = await post({ ...body, n: 1, stream: true, stream_options: { include_usage: true } });
    const events = (await answer.text()).split("\n\n").slice(0, -2);
    const chunks = events.map((event) => JSON.parse(event.slice("data: ".length)));
    expect(chunks.pop()).toMatchObject({ choices: [], usage });
    expect(chunks.every((chunk) => chunk.usage === null)).toBe(true);
    for (const stream_options of [null, { include_usage: false }]) {
      expect(await (await post({ ...body, stream: true, stream_options })).text()).not.toContain("usage");
    }
  });

  it("ends before a stop text, as OpenAI does, streaming or not", async () => {
    const whole = alone.findIndex((text) => text.length > 8);
    const stop = alone[whole]!.slice(4, 8);
    const body = { model: `${adapters[whole]}`, messages, max_tokens, seed: whole, stop: ["never there", stop] };
    const before = alone[whole]!.slice(0, alone[whole]!.indexOf(stop));
    const { choices } = (await (await post(body)).json()) as { choices: unknown[] };
    expect(choices).toMatchObject([{ message: { content: before }, finish_reason: "stop" }]);
    const events = (await (await post({ ...body, stream: true })).text()).split("\n\n").slice(0, -2);
    const deltas = events.map((event) => JSON.parse(event.slice("data: ".length)).choices[0].delta.content);
    expect(deltas.join("")).toBe(before);
  });

  it("goes on when clients hang up", async () => {
    const hungUp = Array.from({ length: 8 }, async (_, k) => {
      const client = new AbortController();
      const answer = await post(
        { model: `${adapters[k % 6]}`, messages, max_tokens: 200, stream: true },
        client.signal,
      );
      client.abort();
      return answer.status;
    });
    expect(await Promise.all(hungUp)).toEqual(Array(8).fill(200));
    const answer = await post({ model: `${adapters[5]}`, messages, max_tokens, seed: 5 });
    expect(await answer.text()).toContain(JSON.stringify(alone[5]));
  });

  it.each<[string, unknown, number, string]>([
    ["no object", 3, 400, "body: expected an object in JSON"],
    ["no messages", { model: "base" }, 400, "messages: expected a list of { role, content }"],
    ["a message without content", { model: "base", messages: [{ role: "user" }] }, 400, "messages: expected"],
    ["an unknown field", { model: "base", messages, tools: [] }, 400, "tools: expected one of model, messages"],
    ...(
      [
        [{ n: 0 }, "2147483647 for n but received 0"],
        [{ n: 1e6 }, "n: expected 1 to 65536, found 1000000"],
        [{ top_p: 0, stream: true }, "top_p: expected more than 0 and at most 1, found 0"],
        [{ max_tokens: 0 }, "2147483647 for max_tokens but received 0"],
        [{ max_tokens: 1, max_completion_tokens: 0 }, "2147483647 for max_completion_tokens but received 0"],
      ] as const
    ).map(([wrong, told]): [string, unknown, number, string] => [
      JSON.stringify(wrong),
      { model: "base", messages, ...wrong },
      400,
      told,
    ]),
    ["several streams", { model: "base", messages, n: 2, stream: true }, 400, "n: expected 1 with stream, found 2"],
    ...[{ stream_options: { include_usage: true } }, { stream: true, stream_options: { include: true } }].map(
      (wrong): [string, unknown, number, string] => [
        `options of a stream as in ${JSON.stringify(wrong)}`,
        { model: "base", messages, ...wrong },
        400,
        "stream_options: expected { include_usage } beside stream, found",
      ],
    ),
    ["no number", { model: "base", messages, max_tokens: "ten" }, 400, 'but received \\"ten\\"'],
    ["stop texts that are none", { model: "base", messages, stream: true, stop: 3 }, 400, "stop: expected a list"],
    ["neither true nor false", { model: "base", messages, stream: 1 }, 400, "stream: expected true or false, found 1"],
    ["no such adapter", { model: "nobody", messages }, 404, "found nobody"],
    ["a damaged adapter", { model: "tl1-abc", messages }, 400, "the checksum does not match"],
  ])("refuses %s in one sentence", async (_, body, status, message) => {
    const answer = await post(body);
    expect(await answer.text()).toContain(message);
    expect(answer.status).toBe(status);
  });

  it("refuses what is not JSON, and other addresses", async () => {
    const broken = await fetch(`${url}/chat/completions`, { method: "POST", body: "{" });
    expect([broken.status, await broken.text()]).toEqual([400, expect.stringContaining("in JSON at position 1")]);
    expect((await fetch(url)).status).toBe(404);
  });
});
