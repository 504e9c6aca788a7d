import { describe, expect, it } from "vitest";
import { stopStrings, toPrompt } from "../../../lib/data/prompt.js";
import { heldOut } from "../../../lib/data/split.js";
import type { Message } from "../../../lib/model/chat-template.js";

describe("prompts", () => {
  const style = { prompt_style: "chat", shots: 0, system: null, suffix: null } as const;
  it("as chat", () => {
    expect(toPrompt("2 + 2?", style)).toEqual([{ role: "user", content: "2 + 2?" }]);
    const full = toPrompt("2 + 2?", { ...style, shots: 2, system: "Be brief.", suffix: "End with ####." }) as Message[];
    expect(full.map(({ role }) => role)).toEqual(["system", "user", "assistant", "user", "assistant", "user"]);
    expect(full.at(-1)!.content).toBe("2 + 2?\nEnd with ####.");
  });
  it("as text", () => {
    const text = toPrompt("2 + 2?", { ...style, prompt_style: "text", shots: 1, system: "Be brief." }) as string;
    expect(text).toMatch(/^Be brief\.\n\nQuestion: [\s\S]*#### 9\n\nQuestion: 2 \+ 2\?\nAnswer:$/);
    expect(stopStrings({ ...style, prompt_style: "text" })).toContain("\nQuestion:");
  });
});

describe("heldOut", () => {
  it("does not see case, spaces and punctuation, and takes about a fifth", () => {
    expect(heldOut("How many  are left ?")).toBe(heldOut("how many are left"));
    const share = Array.from({ length: 2000 }, (_, i) => heldOut(`question ${i}`)).filter(Boolean).length / 2000;
    expect(share).toBeGreaterThan(0.17);
    expect(share).toBeLessThan(0.23);
  });
});
