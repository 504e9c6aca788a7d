// The package as a dependency: what a program of its own imports, and its types under the ways to resolve them.
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

function run(args: readonly string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  return { status, output: stdout + stderr };
}

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
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,esnext.disposable"];
    const types = ["--types", "node", "--module", module, "--moduleResolution", moduleResolution];
    expect(run([tsc, ...options, ...types, "readme.ts", "sft.ts"])).toEqual({ status: 0, output: "" });
  });
});
