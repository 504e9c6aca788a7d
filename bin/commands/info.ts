import type { Command } from "commander";
import { bytesOf } from "../../lib/adapter/vector-dtype.js";
import { fields, flagOf } from "../../lib/config/fields.js";
import {
  type Adapter,
  type AdapterSpec,
  adapterOptions,
  type DeviceInfo,
  describeModel,
  findModel,
  linearModules,
  type ModelDescription,
  machine,
  type ParameterTable,
  parameterTable,
  resolveConfig,
  TinyLoraError,
  type TrainConfig,
  trainableNames,
  tyingText,
} from "../../lib/index.js";
import { parseName } from "../arguments.js";
import { ADAPTER_FLAG, ADAPTER_HELP, loadAdapter } from "../engine.js";
import { addFields, givenFields } from "../flags.js";
import { counted, table } from "../io.js";

const EXAMPLES = `
Examples:
  $ npx tinylora-native info                                    the model in ../shared/models, 13 numbers
  $ npx tinylora-native info --model Qwen2.5-0.5B --u 4 --tying tiled --n-tie 14
  $ npx tinylora-native info --adapter lora --r 8               or lora_xs, full
  $ npx tinylora-native info --model Qwen2.5-7B                 a folder of which config.json is enough
  $ npx tinylora-native info --adapter tl1-...                  what a short string holds`;

const ADAPTER_KEYS = [
  "r",
  "u",
  "tying",
  "n_tie",
  "weight_tying",
  "split",
  "projection",
  "projection_seed",
  "target_modules",
  "v_dtype",
];
/** What can be trained, as `train --adapter` has it. */
const KINDS = fields.find(({ key }) => key === "adapter")!.choices!;

interface Options {
  adapter?: string;
  json?: true;
}

export function infoCommand(program: Command): void {
  const command = program
    .command("info")
    .description("show the model, what an adapter of it trains, and this machine; loads no weights")
    .option(ADAPTER_FLAG, `describe this adapter: ${ADAPTER_HELP}; or a kind: ${KINDS.join(", ")}`, parseName)
    .option("--json", "print the result as JSON")
    .addHelpText("after", EXAMPLES);
  addFields(command, ["model", ...ADAPTER_KEYS]);
  command.action((options: Options) => run(command, options));
}

async function run(command: Command, options: Options): Promise<void> {
  const kind = KINDS.find((name) => name === options.adapter);
  const given = givenFields(command);
  const config = resolveConfig({ ...given, adapter: kind }, "flags");
  const adapter = kind ? undefined : await loadAdapter(options.adapter);
  const idle = ADAPTER_KEYS.filter((key) => key in given).map(flagOf);
  if (adapter && idle.length > 0) {
    throw new TinyLoraError(
      "ERR_USAGE",
      `${idle.join(", ")}: no effect beside --adapter ${options.adapter}, which has its own`,
    );
  }
  const model = await describeModel(findModel(config.model));
  const spec = adapter?.spec ?? adapterOptions(config);
  const parameters = spec ? parameterTable(spec, linearModules(model.config)) : fullTable(model, config);
  if (options.json) {
    const { path, format, config: shape } = model;
    const made = adapter && { fingerprint: adapter.fingerprint, v: [...adapter.v] };
    console.log(
      JSON.stringify(
        {
          model: { path, format, ...shape, parameters: weights(model) },
          adapter: spec ? { ...spec, ...made } : { kind: "full" },
          parameters,
          machine: machine(),
        },
        null,
        2,
      ),
    );
    return;
  }
  const trained = "rows" in parameters ? adapterText(spec!, parameters, adapter) : fullText(parameters);
  process.stdout.write([modelText(model), trained, machineText()].join("\n"));
}

/** What full fine-tuning trains, and its bytes in the model's folder. */
function fullTable(model: ModelDescription, { target_modules, dtype }: TrainConfig) {
  const names = trainableNames(model, target_modules ?? undefined);
  const trained = weights(model, names);
  const vectors = new Set(model.tensors.filter(({ shape }) => shape.length === 1).map(({ name }) => name));
  const short = weights(
    model,
    names.filter((name) => !vectors.has(name)),
  );
  return { tensors: names.length, trained, bytes: bytesOf(dtype) * short + 4 * (trained - short), dtype };
}

function fullText({ tensors, trained, bytes, dtype }: ReturnType<typeof fullTable>): string {
  return `Full fine-tuning
  ${grouped(trained)} trained numbers in ${tensors} tensors, ${grouped(bytes)} bytes when saved (matrices in ${dtype}, gains and biases in fp32); ${grouped(16 * trained)} bytes of masters, gradients and moments while training, and ${grouped(12 * trained)} on the host to take a step back
`;
}

function modelText(model: ModelDescription): string {
  const { path, format, config, tensors } = model;
  const types = [...new Set(tensors.map((tensor) => tensor.type ?? "config.json alone, no weights"))].join(", ");
  return `Model  ${path} (${format}, ${types})
  ${config.family}, ${config.layers} layers of width ${config.hidden}, ${config.heads} heads (${config.kvHeads} of keys) of ${config.headDim}, context ${config.context}
  ${grouped(weights(model))} parameters, vocabulary of ${grouped(config.vocab)}, embeddings ${config.tiedEmbeddings ? "tied" : "untied"}
`;
}

function adapterText(spec: AdapterSpec, parameters: ParameterTable, adapter: Adapter | undefined): string {
  if (spec.kind === "lora") return loraText(spec, parameters, adapter);
  const { trained, groups, modules, bytes, frozen, adapted, rows } = parameters;
  const { distribution, seed } = spec.projection;
  const head = `Adapter  ${spec.kind}, r ${spec.r}, u ${spec.u}, tying ${tyingText(spec.tying)}, split ${spec.split}, P ${distribution}${distribution === "unit" ? "" : ` from seed ${seed}`}
  ${counted(trained, "trained number")} (${counted(groups, "tie group")}), ${grouped(bytes)} bytes in ${spec.dtype}; ${modules} modules of ${grouped(adapted)} weights; ${grouped(frozen)} frozen numbers in A, B and P
`;
  const lines = rows.map((row) => [row.type, row.modules, `${row.out} x ${row.in}`, row.groups, grouped(row.frozen)]);
  const body = table(["module", "count", "out x in", "groups", "frozen"], lines).replaceAll(/^/gm, "  ").trimEnd();
  const values = adapter
    ? `  base model ${adapter.fingerprint}, v = [${Array.from(adapter.v.slice(0, 64), (x) => Number(x.toPrecision(4))).join(", ")}${adapter.v.length > 64 ? ", ..." : ""}]\n`
    : "";
  return `${head}${values}${body}\n`;
}

/** A and B are trained: there are no tie groups, and nothing is frozen. */
function loraText(
  { kind, r: rank }: AdapterSpec,
  { trained, modules, bytes, adapted, rows }: ParameterTable,
  adapter: Adapter | undefined,
): string {
  const made = adapter ? `  base model ${adapter.fingerprint}, scale ${adapter.v[0]}\n` : "";
  const lines = rows.map((row) => [row.type, row.modules, `${row.out} x ${row.in}`]);
  const body = table(["module", "count", "out x in"], lines).replaceAll(/^/gm, "  ").trimEnd();
  return `Adapter  ${kind}, r ${rank}
  ${grouped(trained)} trained numbers in A and B, ${grouped(bytes)} bytes in fp32; ${modules} modules of ${grouped(adapted)} weights
${made}${body}
`;
}

function machineText(): string {
  const { cpu, cores, paths, devices } = machine();
  return `Machine  ${cpu}, ${cores} cores\n  instruction sets ${paths.join(", ")}; devices ${devices.map(deviceText).join(", ")}\n`;
}

function deviceText({ name, gpu, reason }: DeviceInfo): string {
  const what = gpu
    ? [`${gpu.name}, compute capability ${gpu.capability}, ${(gpu.memory / 2 ** 30).toFixed(1)} GiB`]
    : [];
  const parts = reason === undefined ? what : [...what, `not here: ${reason}`];
  return parts.length > 0 ? `${name} (${parts.join("; ")})` : name;
}

/** Numbers in the weights that are used, or in some of them: a tied head counts once. */
function weights(model: ModelDescription, names: readonly string[] = trainableNames(model)): number {
  const counted = new Set(names);
  const used = model.tensors.filter(({ name }) => counted.has(name));
  return used.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

function grouped(value: number): string {
  return value.toLocaleString("en-US");
}
