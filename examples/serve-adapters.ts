/**
 * One base model in memory answers for any number of adapters: OpenAI's chat completions over HTTP, where `model` is "base",
 * the name of an adapter in a folder, or an adapter itself, as the string that begins with tl1-.
 *
 *   npx tsx examples/serve-adapters.ts [--model MODEL] [--adapters FOLDER] [--slots 256] [--host localhost] [--port 8080]
 *   curl localhost:8080/v1/chat/completions -d '{"model": "base", "messages": [{"role": "user", "content": "Hello!"}]}'
 */
import { randomInt, randomUUID } from "node:crypto";
import { readdir } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Adapter, AdapterPool, Engine, findModel, type Message, TinyLoraError } from "tinylora-native";

// What this package and the system throw says in one sentence what was wrong.
process.on("uncaughtException", (error) => {
  console.error("code" in error ? `error: ${error.message}` : error);
  process.exit(1);
});

const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    adapters: { type: "string" },
    slots: { type: "string", default: "256" },
    host: { type: "string", default: "localhost" },
    port: { type: "string", default: "8080" },
  },
});

const engine = await Engine.load(findModel(flags.model));
const named = new Map<string, Adapter>();
for (const name of flags.adapters === undefined ? [] : await readdir(flags.adapters)) {
  named.set(name, await loadAdapter(join(flags.adapters!, name)));
}

/** Of this model: one of another is refused by its name before anything is served. */
async function loadAdapter(path: string): Promise<Adapter> {
  const adapter = await Adapter.load(path);
  if (adapter.fingerprint === engine.fingerprint) return adapter;
  throw new TinyLoraError("ERR_ADAPTER", `${path}: the adapter was made for another base model`);
}

// Each adapter gets one of the engine's slots when it is asked for, and the one out of use for longest gives its slot up.
const [first] = named.values();
const pool = await AdapterPool.open(engine, Number(flags.slots), first);

/** What can be asked for. The library checks the values and says in one sentence what is wrong with one. */
interface ChatRequest {
  readonly model: string;
  readonly messages: readonly Message[];
  readonly n?: number;
  readonly stream?: boolean;
  readonly stream_options?: { readonly include_usage: boolean };
  readonly max_completion_tokens?: number;
  readonly max_tokens?: number;
  readonly temperature?: number;
  readonly top_p?: number;
  readonly seed?: number;
  readonly stop?: string | readonly string[];
}
const LENGTHS = ["max_completion_tokens", "max_tokens"] as const; // one thing; the latter is OpenAI's older name
const SAMPLING = ["temperature", "top_p", "seed", "stop"];
const FIELDS = ["model", "messages", "n", "stream", "stream_options", ...LENGTHS, ...SAMPLING];
const MOST_LETTERS = 1 << 20;

const refusal = (status: number, message: string) => Object.assign(new Error(message), { status });

/** What there is by name. */
const models = () => ({
  object: "list",
  data: ["base", ...named.keys()].map((id) => ({ id, object: "model", created: 0, owned_by: "tinylora-native" })),
});

async function readRequest(request: IncomingMessage): Promise<ChatRequest> {
  if (request.method !== "POST" || request.url !== "/v1/chat/completions") {
    throw refusal(404, `expected POST /v1/chat/completions, or GET /v1/models, found ${request.method} ${request.url}`);
  }
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) {
    text += chunk;
    if (text.length > MOST_LETTERS) throw refusal(413, `body: expected at most ${MOST_LETTERS} letters`);
  }
  const body: unknown = JSON.parse(text);
  if (typeof body !== "object" || body === null) throw refusal(400, "body: expected an object in JSON");
  const unknown = Object.keys(body).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) throw refusal(400, `${unknown}: expected one of ${FIELDS.join(", ")}`);
  const chat = body as ChatRequest;
  if (!Array.isArray(chat.messages)) throw refusal(400, "messages: expected a list of { role, content }");
  if (typeof (chat.stream ?? false) !== "boolean")
    throw refusal(400, `stream: expected true or false, found ${chat.stream}`);
  checkStreamed(chat);
  return chat;
}

/** A stream has one choice, and options of its own. */
function checkStreamed({ n, stream, stream_options: told }: ChatRequest): void {
  if (stream && (n ?? 1) !== 1) throw refusal(400, `n: expected 1 with stream, found ${n}`);
  const fits = stream && typeof told?.include_usage === "boolean" && Object.keys(told).length === 1;
  if ((told ?? null) === null || fits) return;
  throw refusal(400, `stream_options: expected { include_usage } beside stream, found ${JSON.stringify(told)}`);
}

/** Answers with the adapter that `model` names in a slot, or without one. */
async function answer(chat: ChatRequest, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const { model } = chat;
  if (model === "base") return complete(chat, "base", response, signal);
  const adapter = `${model}`.startsWith("tl1-") ? await Adapter.load(model) : named.get(model);
  if (!adapter) {
    throw refusal(404, `model: expected base, an adapter's name or a string that begins with tl1-, found ${model}`);
  }
  await pool.use(adapter, (slot) => complete(chat, slot, response, signal), { signal });
}

async function complete(chat: ChatRequest, adapter: number | "base", response: ServerResponse, signal: AbortSignal) {
  const { model, messages, stream, n: numGenerations, temperature, top_p: topP, stop } = chat;
  const maxCompletionLength = chat.max_completion_tokens ?? chat.max_tokens;
  const seed = chat.seed ?? randomInt(2 ** 47);
  const stops = typeof stop === "string" ? [stop] : (stop ?? []);
  const options = { adapter, maxCompletionLength, temperature, topP, seed, stop: stops, signal };
  const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
  const usageOf = (completion_tokens: number) => {
    const prompt_tokens = engine.tokenizer.encodeChat(messages).length;
    return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
  };
  if (!stream) {
    const completions = await engine.generate([messages], { ...options, numGenerations });
    const choices = completions.map(({ index, text, reason }) => {
      const content = text.slice(0, stopIn(text, stops));
      return { index, message: { role: "assistant", content }, finish_reason: reason };
    });
    const usage = usageOf(completions.reduce((sum, { tokens }) => sum + tokens.length, 0));
    return send(response, 200, { ...head, object: "chat.completion", choices, usage });
  }
  const told = chat.stream_options?.include_usage ?? false;
  const write = (part: object) =>
    response.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", ...part })}\n\n`);
  let [text, sent, made] = ["", 0, 0];
  for await (const { text: more, tokens, reason } of engine.stream(messages, options)) {
    if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
    text += more;
    made += tokens.length;
    const mayBegin = Math.max(0, ...stops.map(({ length }) => length - 1)); // letters of a stop text that is to come
    const sure = reason === undefined ? text.length - mayBegin : text.length;
    const content = text.slice(sent, Math.min(sure, stopIn(text, stops)));
    sent += content.length;
    const choice = { index: 0, delta: { content }, finish_reason: reason ?? null };
    write({ choices: [choice], ...(told && { usage: null }) });
  }
  if (told) write({ choices: [], usage: usageOf(made) });
  response.end("data: [DONE]\n\n");
}

/** Where a text that ends the answer begins: OpenAI's answers end before it, those of the engine behind it. */
function stopIn(text: string, stops: readonly string[]): number {
  return Math.min(text.length, ...stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0));
}

/** The library names its own options and the place of a prompt: here what the client has sent. */
function inNamesOf(chat: ChatRequest, error: Error): Error {
  const length = LENGTHS.find((name) => (chat[name] ?? null) !== null);
  const sent = { numGenerations: "n", maxCompletionLength: `${length}`, topP: "top_p", "prompt 0": "messages" };
  const message = Object.entries(sent).reduce((told, [ours, theirs]) => told.replace(ours, theirs), error.message);
  return error instanceof TinyLoraError ? Object.assign(error, { message }) : error;
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** Whose fault an error is: the client's are values, adapters, and conversations that the model's chat template refuses. */
function statusOf(error: Error): number {
  if (error instanceof TinyLoraError) return /ARGUMENT|ADAPTER|MODEL|NUMERIC/.test(error.code) ? 400 : 500;
  if (error instanceof SyntaxError) return 400; // of JSON.parse
  return "status" in error ? Number(error.status) : 500;
}

const server = createServer(async (request, response) => {
  const hungUp = new AbortController();
  response.once("close", () => hungUp.abort());
  try {
    if (request.method === "GET" && request.url === "/v1/models") return send(response, 200, models());
    const chat = await readRequest(request);
    await answer(chat, response, hungUp.signal).catch((error) => {
      throw inNamesOf(chat, error);
    });
  } catch (error) {
    if (hungUp.signal.aborted || response.headersSent) return void response.destroy();
    send(response, statusOf(error as Error), { error: { message: (error as Error).message } });
  }
});
server.listen(Number(flags.port), flags.host, () => {
  const { port } = server.address() as AddressInfo;
  console.log(`${named.size} adapters in ${engine.slots} slots on http://${flags.host}:${port}/v1`);
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    server.close();
    server.closeAllConnections();
    engine.dispose();
  });
}
