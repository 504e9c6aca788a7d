// The package as a dependency: what a program of its own imports, and its types under the ways to resolve them.
import { spawnSync } from "node:child_process";
import { access, constants, copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "./run.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-package-"));
  await mkdir(join(folder, "node_modules", "@types"), { recursive: true });
  await symlink(ROOT, join(folder, "node_modules", "tinylora-native"));
  await symlink(join(ROOT, "node_modules", "@types", "node"), join(folder, "node_modules", "@types", "node"));
  await writeFile(join(folder, "package.json"), '{"type": "module"}');
});
afterAll(() => rm(folder, { recursive: true }));

function run(args: readonly string[], env = process.env): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8", env });
  return { status, output: stdout + stderr };
}

it("has a program that npx can start, also after it was compiled again", async () => {
  await access(join(ROOT, "dist", "bin", "tinylora-native.js"), constants.X_OK);
});

it("is imported by a plain module", async () => {
  await writeFile(
    join(folder, "plain.mjs"),
    `import { Adapter, Engine, findModel } from "tinylora-native";
const engine = await Engine.load(findModel("embedded"), { threads: 1 });
console.log(String(Adapter.create(engine)).slice(0, 4));
engine.dispose();
`,
  );
  expect(run(["plain.mjs"])).toEqual({ status: 0, output: "tl1-\n" });
});

it("is required by a CommonJS program", async () => {
  await writeFile(join(folder, "plain.cjs"), 'console.log(typeof require("tinylora-native").Engine.load);\n');
  expect(run(["plain.cjs"])).toEqual({ status: 0, output: "function\n" });
});

it("tells to leave it out of a bundle, where it has neither addon nor models", async () => {
  await mkdir(join(folder, "bundle"));
  for (const file of ["version.js", "error.js"]) {
    await copyFile(join(ROOT, "dist", "lib", file), join(folder, "bundle", file));
  }
  const program = `import { packageRoot } from "./version.js";
try { packageRoot(); } catch (error) { console.log(error.code, error.message); }
`;
  await writeFile(join(folder, "bundle", "program.js"), program);
  const { status, output } = run([join("bundle", "program.js")]);
  expect(status).toBe(0);
  expect(output).toMatch(/^ERR_ADDON tinylora-native is part of a bundle \(file:.*\).*\n.*--external:tinylora-native/);
});

it("tells to allow addons, where Node is not to load any", () => {
  const program = `import { machine } from "tinylora-native"; machine();`;
  const { status, output } = run(["--no-addons", "--input-type=module", "--eval", program]);
  expect(status).toBe(1);
  expect(output).toMatch(/does not load: [^\n]*disabled\.\nRun Node with --allow-addons /);
});

describe("installed without the addon", () => {
  let installed: string;
  beforeAll(async () => {
    installed = join(folder, "other", "node_modules", "tinylora-native");
    const scripts = ["install", "build-native", "one-build"].map((name) => `scripts/${name}.mjs`);
    for (const part of ["dist", "models", "package.json", ...scripts]) {
      await cp(join(ROOT, part), join(installed, part), { recursive: true });
    }
    await symlink(join(ROOT, "node_modules"), join(installed, "node_modules"));
  });

  it("tells how to build it", async () => {
    const program = `import { Engine, findModel } from "tinylora-native";
await Engine.load(findModel("embedded")).catch((error) => console.log(error.code, error.message));
`;
    await writeFile(join(folder, "other", "program.mjs"), program);
    const { TINYLORA_ADDON: _, ...env } = process.env;
    const { status, output } = run([join("other", "program.mjs")], env);
    expect(status).toBe(0);
    expect(output).toMatch(/^ERR_ADDON no native addon for .*\nBuild it with `node ".*\/scripts\/install\.mjs"`;/);
  });

  it("is built, or says in one line what that takes", () => {
    expect(run([join(installed, "scripts", "install.mjs")], { PATH: "" })).toEqual({
      status: 1,
      output: expect.stringMatching(
        /^tinylora-native: the native addon needs CMake 3\.20 or newer \(found none\): .*\n$/,
      ),
    });
  });

  it("takes the addon that is shipped for this machine", async () => {
    const shipped = join(installed, "prebuilds", `${process.platform}-${process.arch}`, "tinylora-native.node");
    await mkdir(dirname(shipped), { recursive: true });
    await copyFile(process.env.TINYLORA_ADDON ?? join(ROOT, "build", "Release", "tinylora.node"), shipped);
    expect(run([join(installed, "scripts", "install.mjs")], { PATH: "" })).toEqual({ status: 0, output: "" });
  });
});

it("is packed with all that an installation builds from, and with nothing of the checkout's own", async () => {
  const { stdout } = spawnSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: ROOT,
    encoding: "utf8",
    env: { ...process.env, npm_config_cache: join(folder, "npm") },
  });
  const files = (JSON.parse(stdout) as { files: { path: string }[] }[])[0]!.files.map(({ path }) => path);
  const manifest = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { scripts: { install: string } };
  const scripts = ["scripts/build-native.mjs", "scripts/install.mjs", "scripts/one-build.mjs"];
  expect(manifest.scripts.install).toBe("node scripts/install.mjs");
  expect(files.filter((path) => path.startsWith("scripts/"))).toEqual(scripts);
  expect(files).toEqual(expect.arrayContaining(["CMakeLists.txt", "cmake/cuda.cmake", "native/binding/engine.cpp"]));
  expect(files.filter((path) => /(?:^|\/)\.|\.test\./.test(path))).toEqual([]);
});

it("has source maps with their sources, which are not in it", async () => {
  const map = JSON.parse(await readFile(join(ROOT, "dist", "lib", "engine.js.map"), "utf8")) as object;
  expect(map).toMatchObject({ sourcesContent: [await readFile(join(ROOT, "lib", "engine.ts"), "utf8")] });
});

/** What a careful program writes: options that may be undefined, data that it does not change, names for all it passes on. */
const CAREFUL = `import {
  Adapter,
  type AdapterKindName,
  type AdapterMatrices,
  type AdapterOptions,
  type Breakdown,
  type BreakdownRow,
  type Columns,
  type Counters,
  type Dataset,
  type DatasetSpec,
  type Distribution,
  Engine,
  type ErrorCode,
  type FullBase,
  findModel,
  GrpoTrainer,
  type HubOptions,
  type ManyVectors,
  type Metrics,
  type ModelTokenizer,
  type NamedWeights,
  type Policy,
  type Progress,
  type ProgressListener,
  type PromptStyle,
  plotFolders,
  type Purpose,
  runSweep,
  type RunInfo,
  type Settings,
  type Split,
  TinyLoraError,
  type WeightTraining,
} from "tinylora-native";
export type Names = [AdapterKindName, AdapterMatrices, Breakdown, BreakdownRow, Columns, Counters, DatasetSpec,
  Distribution, FullBase, HubOptions, ManyVectors, ModelTokenizer, NamedWeights, Policy, ProgressListener, PromptStyle,
  Purpose, RunInfo, Settings, Split, WeightTraining];
declare const signal: AbortSignal | undefined;
declare const run: string | undefined;
const engine = await Engine.load(findModel(), { signal, threads: undefined, onProgress: undefined });
const problems = [{ id: "1", question: "1 + 1?", answer: "2", row: {} }] as const;
const data: Dataset = { name: "own", train: problems, test: [] };
const options: AdapterOptions = { r: undefined, u: 13 };
const config = { max_steps: undefined, num_prompts: 2 };
const trainer = new GrpoTrainer({ engine, adapter: Adapter.create(engine, options), data, config, run, rewards: undefined });
const onProgress = ({ phase, done }: Progress): void => console.log(phase, done);
const first = (metrics: Metrics): (number | undefined)[] => [metrics.reward, metrics["rewards/mine/mean"]];
// @ts-expect-error: there is no such metric
export const unknown = (metrics: Metrics): number | undefined => metrics.rewards;
await trainer.train({ signal, onProgress, onStep: ({ metrics }) => void first(metrics), onWarning: undefined });
await runSweep({ sweep: "sweep.yaml", folder: "sweep", signal, population: undefined });
await plotFolders({ folders: ["sweep"], output: "plots", by: undefined });
const none = await engine.generate("1 + 1 =", { signal }).catch((error: unknown) => String(error));
const statuses: Partial<Record<ErrorCode, number>> = { ERR_ARGUMENT: 400, ERR_ADAPTER: 404 };
export const status = (error: unknown): number => (error instanceof TinyLoraError && statuses[error.code]) || 500;
// @ts-expect-error: there is no such code
export const misspelt = (error: TinyLoraError): boolean => error.code === "ERR_ARGUMENTS";
console.log(typeof none);
engine.dispose();
`;

describe("types", () => {
  it.each([
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ])("of the README's program, with module %s resolved by %s", async (module, moduleResolution) => {
    const readme = await readFile(join(ROOT, "README.md"), "utf8");
    await writeFile(join(folder, "readme.ts"), /```ts\n([\s\S]*?)```/.exec(readme)![1]!);
    await writeFile(
      join(folder, "sft.ts"),
      `import { Engine, FullWeights, SftTrainer } from "tinylora-native";
await using engine = await Engine.load("model");
const adapter = FullWeights.of(engine);
// @ts-expect-error: it samples no groups
new SftTrainer({ engine, adapter, config: { num_generations: 4 } });
const { adapter: trained } = await new SftTrainer({ engine, adapter, config: { num_prompts: 4 } }).train();
await trained.save("trained");
`,
    );
    await writeFile(join(folder, "careful.ts"), CAREFUL);
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const options = [
      "--noEmit",
      "--strict",
      "--exactOptionalPropertyTypes",
      "--noPropertyAccessFromIndexSignature",
      "--skipLibCheck",
      "false",
      "--target",
      "es2022",
      "--lib",
      "es2022,esnext.disposable",
    ];
    const types = ["--types", "node", "--module", module, "--moduleResolution", moduleResolution];
    expect(run([tsc, ...options, ...types, "readme.ts", "sft.ts", "careful.ts"])).toEqual({ status: 0, output: "" });
  });
});
