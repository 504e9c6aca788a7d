import { copyFileSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { describeModel, type ModelDescription, openModel, trainableNames } from "../../../lib/index.js";
import { expectError, temporaryFolder, write } from "./files.js";

const MODELS = join(import.meta.dirname, "../../golden/models");
const names = readdirSync(MODELS).filter((name) => existsSync(join(MODELS, name, "config.json")));

/** Of what is used: a tied model may be saved with its head, which is the embeddings. */
function shapes(model: Pick<ModelDescription, "config" | "tensors">) {
  const used = new Set(trainableNames(model));
  return new Map(model.tensors.filter(({ name }) => used.has(name)).map(({ name, shape }) => [name, shape]));
}

describe("a model described", () => {
  it.each(names)("by config.json alone, as by its weights: %s", async (name) => {
    const whole = await openModel(join(MODELS, name));
    const folder = temporaryFolder();
    copyFileSync(join(MODELS, name, "config.json"), join(folder, "config.json"));
    const alone = await describeModel(folder);
    expect(alone.config).toEqual(whole.config);
    expect(shapes(alone)).toEqual(shapes(whole));
  });

  it("with weights, as it is opened", async () => {
    const path = join(MODELS, names[0]!);
    expect((await describeModel(path)).tensors).toEqual((await openModel(path)).tensors);
  });

  it("refuses a config.json that it cannot take", async () => {
    const folder = temporaryFolder();
    write(folder, "config.json", { architectures: ["GPT2LMHeadModel"] });
    await expectError(() => describeModel(folder), "ERR_MODEL", "architectures", "GPT2LMHeadModel");
  });
});
