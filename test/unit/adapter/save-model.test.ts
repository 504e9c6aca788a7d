import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { saveModel } from "../../../lib/adapter/save-model.js";
import { openModel } from "../../../lib/model/open.js";
import { expectError, temporaryFolder } from "../model/files.js";

it("a model whose weights are gone meanwhile is named, not the one that is written", async () => {
  const [base, target] = [join(temporaryFolder(), "base"), join(temporaryFolder(), "target")];
  cpSync(join(import.meta.dirname, "../../golden/models/qwen2-tied"), base, { recursive: true });
  const model = await openModel(base);
  const weights = join(base, "model.safetensors");
  rmSync(weights);
  await expectError(
    () => saveModel(target, model, new Map(), "bf16"),
    "ERR_FILE",
    `${weights}: cannot be read (ENOENT: no such file or directory)`,
  );
  expect(readdirSync(target)).not.toContain("model.safetensors");
  rmSync(base, { recursive: true });
  await expectError(() => saveModel(target, model, new Map(), "bf16"), "ERR_FILE", `${base}: cannot be read (no such`);
});
