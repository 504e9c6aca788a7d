import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { findModel } from "../../lib/find-model.js";
import { packageRoot } from "../../lib/version.js";

vi.mock("../../lib/version.js");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-find-"));
  vi.stubEnv("TINYLORA_MODEL", "");
  vi.mocked(packageRoot).mockReturnValue(join(folder, "package"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

it("takes the first model beside this package, past what is none: notes, a link to nothing", async () => {
  const models = join(folder, "shared", "models");
  await mkdir(join(models, "c-model"), { recursive: true });
  await writeFile(join(models, "a-notes.txt"), "");
  await symlink("nowhere", join(models, "b-link"));
  await writeFile(join(models, "c-model", "config.json"), "{}");
  expect(join(process.cwd(), findModel())).toBe(join(models, "c-model"));
});

it("says how to name one where there is none", () => {
  expect(() => findModel()).toThrow(/^no model: pass --model FOLDER .* or set TINYLORA_MODEL\.$/);
});

it("takes a folder's only .gguf file for the model, unless the folder is one itself", async () => {
  await writeFile(join(folder, "one.gguf"), "");
  expect(findModel(folder)).toBe(join(folder, "one.gguf"));
  await writeFile(join(folder, "config.json"), "{}");
  expect(findModel(folder)).toBe(folder);
  await rm(join(folder, "config.json"));
  await writeFile(join(folder, "two.gguf"), "");
  expect(findModel(folder)).toBe(folder);
});
