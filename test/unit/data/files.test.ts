import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type DatasetOptions, loadDataset } from "../../../lib/data/load.js";

vi.mock("node:child_process", { spy: true });

describe("local files", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "tinylora-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  afterEach(() => vi.restoreAllMocks());
  const load = async (name: string, text: string | Uint8Array) => {
    await writeFile(join(folder, name), text);
    return loadDataset(join(folder, name));
  };

  it("reads .jsonl and .json with the usual names of fields", async () => {
    const a = await load(
      "a.jsonl",
      '\uFEFF{"question": "1 + 1?", "answer": "so\\n#### 2"}\r\n\n{"problem": "3?", "target": 3.0}\n{"prompt": "free"}\n',
    );
    const examples = [...a.train, ...a.test].sort((x, y) => (x.id < y.id ? -1 : 1));
    expect(examples.map(({ question, answer }) => [question, answer])).toEqual([
      ["1 + 1?", "2"],
      ["3?", "3"],
      ["free", ""],
    ]);
    expect(examples[0]!.id).toMatch(/a\.jsonl\/1$/);
    const b = await load("b.json", '[{"input": "1?", "answer": 1}]');
    expect([...b.train, ...b.test]).toHaveLength(1);
  });

  it.each<[string, string | Uint8Array, RegExp]>([
    ["semicolons.csv", "question;answer\na;1\n", /semicolons\.csv:1: expected commas .*, found "question;answer"$/],
    ["tabs.csv", "question\tanswer\na\t1\n", /tabs\.csv:1: expected commas .*, found "question\\tanswer"$/],
    ["commas.tsv", "question,answer\na,1\n", /commas\.tsv:1: expected tabs .*, found "question,answer"$/],
    [
      "same-names.csv",
      "answer,question,answer\n1,a,2\n",
      /same-names\.csv:1: expected columns of different names, found several "answer"$/,
    ],
    ["quote.csv", 'question,answer\n"a,1\n', /quote\.csv:\d+: broken CSV \(.*quote/i],
    ["broken.jsonl", '{"question": "a", "answer": 1}\n{"question": \n', /broken\.jsonl:2: broken JSON/],
    ["list.jsonl", "[1]\n", /list\.jsonl:1: expected an object, found \[1\]/],
    [
      "field.jsonl",
      '{"question": "a", "answer": 1}\n\n{"text": "a"}\n',
      /field\.jsonl:3: expected a question in question, prompt, problem, input, found only text: question_column \(of/,
    ],
    [
      "null.jsonl",
      '{"question": "a", "answer": null}\n',
      /null\.jsonl:1: expected a text or number named "answer", found null/,
    ],
    [
      "long-number.jsonl",
      '{"question": "a", "answer": 12345678901234567891}\n',
      /long-number\.jsonl:1: expected a whole number within 2\^53 in "answer", found about 12345678901234567000: write it/,
    ],
    ["blank.jsonl", '{"question": "  ", "answer": 1}\n', /blank\.jsonl:1: .*"question", found " {2}"/],
    ["empty.jsonl", "\n\n", /empty\.jsonl: expected problems, found none/],
    ["empty.json", "[]", /empty\.json: expected problems, found none/],
    ["object.json", "{}", /object\.json: expected a list of problems/],
    ["item.json", '[{"question": "a"}, 3]', /item\.json, problem 2: expected an object, found 3/],
    ["lines.csv", `question,answer\n"a\n\n${"b".repeat(1e4)}"c,1\n`, /^\S+lines\.csv:\d+: broken CSV \(.{100,300}\)$/],
    [
      "long.jsonl",
      `{"${"a".repeat(1e4)}": 1}\n`,
      /^\S+long\.jsonl:1: expected a question in [^:]*found only a{297}\.\.\.: question_column/,
    ],
    ["deep.jsonl", `${"[".repeat(1e5)}${"]".repeat(1e5)}\n`, /deep\.jsonl:1: expected an object, found \[/],
    [
      "deep-field.jsonl",
      `{"question": ${"[".repeat(1e5)}${"]".repeat(1e5)}}\n`,
      /deep-field\.jsonl:1: expected a text or number named "question", found \[/,
    ],
    ["bytes.jsonl", Uint8Array.of(0x7b, 0xff, 0xfe), /bytes\.jsonl: cannot be read \(not UTF-8 text\)/],
  ])("%s names file and line", async (name, text, message) => {
    await expect(load(name, text)).rejects.toThrow(message);
  });

  it("reads more rows than a call can have arguments", async () => {
    const rows = Array.from({ length: 130_000 }, (_, i) => `{"question": "${i}?", "answer": ${i}}\n`);
    const { train, test } = await load("many.jsonl", rows.join(""));
    expect(train.length + test.length).toBe(130_000);
  });

  it("reads .csv and .tsv with a line of names", async () => {
    const a = await load("a.csv", 'question,answer\n"1 + 1, or\nso?",2\n\n"say ""3""",3\n');
    expect([...a.train, ...a.test].map(({ question, answer }) => [question, answer]).sort()).toEqual([
      ["1 + 1, or\nso?", "2"],
      ['say "3"', "3"],
    ]);
    await writeFile(join(folder, "b.tsv"), "text\tresult\nhow many?\t3\n");
    const unnamed = await load("unnamed.csv", "question,answer,,\nhow many?,3,,\n");
    expect([...unnamed.train, ...unnamed.test]).toMatchObject([{ question: "how many?", answer: "3" }]);
    const b = await loadDataset(join(folder, "b.tsv"), { question_column: "text", answer_column: "result" });
    await expect(loadDataset(join(folder, "c.csv"))).rejects.toThrow(/c\.csv: cannot be read \(no such file\)/);
    expect([...b.train, ...b.test]).toMatchObject([{ question: "how many?", answer: "3" }]);
  });

  it("takes what stands behind the last #### for the answer of a solution", async () => {
    const { train, test } = await load("steps.json", '[{"question": "1?", "answer": "#### 3 is wrong\\n#### 4"}]');
    expect([...train, ...test].map(({ answer }) => answer)).toEqual(["4"]);
  });

  it("takes what a user says last for the question of a chat", async () => {
    const said = [
      { role: "user", content: "hello" },
      { role: "assistant", content: "ask" },
      { role: "user", content: "how many?" },
      { role: "assistant", content: "so many" },
    ];
    const { train, test } = await load("chat.json", JSON.stringify([{ prompt: said, answer: 1 }]));
    expect([...train, ...test].map(({ question }) => question)).toEqual(["how many?"]);
    const nobody = JSON.stringify([{ prompt: said.slice(1, 2), answer: 1 }]);
    await expect(load("nobody.json", nobody)).rejects.toThrow(/expected a text or number named "prompt", found \[/);
  });

  it("reads a .csv whose lines end in more than one way, each as it ends", async () => {
    const { train, test } = await load("ends.csv", 'question,answer\r\nhow many?,1\n"and\r\nthen?",2\rwhat?,3\r\n');
    const rows = [...train, ...test].map(({ row }) => row).sort((a, b) => (a.answer! < b.answer! ? -1 : 1));
    expect(rows).toEqual([
      { question: "how many?", answer: "1" },
      { question: "and\r\nthen?", answer: "2" },
      { question: "what?", answer: "3" },
    ]);
  });

  it.each(["jsonl", "csv"])(
    "lets others have their turn while it reads a long .%s, and stops at the signal",
    async (kind) => {
      const lines = Array.from({ length: 40_000 }, (_, i) =>
        kind === "csv" ? `how many are ${i}?,${i}\n` : `{"question": "how many are ${i}?", "answer": ${i}}\n`,
      );
      const path = join(folder, `long.${kind}`);
      await writeFile(path, (kind === "csv" ? "question,answer\n" : "") + lines.join(""));
      const controller = new AbortController();
      vi.spyOn(performance, "now").mockReturnValue(0); // no turn because of the time that has gone by
      const turns = vi.spyOn(globalThis, "setImmediate");
      const { train, test } = await loadDataset(path);
      expect(train.length + test.length).toBe(40_000);
      expect(turns).toHaveBeenCalledTimes(kind === "csv" ? 40 : 4);
      turns.mockImplementationOnce((call) => {
        controller.abort();
        return setTimeout(call) as never;
      });
      await expect(loadDataset(path, { signal: controller.signal })).rejects.toThrow(/abort/i);
    },
  );

  it("reads Parquet files, nested and compressed", async () => {
    const all = async (name: string, options = {}) => {
      const { train, test } = await loadDataset(join(import.meta.dirname, "files", name), options);
      return [...train, ...test].sort((a, b) => (a.id < b.id ? -1 : 1));
    };
    const verl = await all("verl.parquet");
    expect(verl.map(({ answer }) => answer)).toEqual(["1", "2", "3", "4", "5", "6"]);
    expect(verl[3]).toMatchObject({ question: "What is 3 + 1?", row: { level: 3 } });
    const chat = await all("verl.parquet", { question_column: "prompt", answer_column: "level" });
    expect(chat[3]).toMatchObject({ question: "<3 + 1?>", answer: "3" });
    await expect(all("math.parquet")).rejects.toThrow(/math\.parquet, row 7: .*"problem", found null/);
    const math = await all("math.parquet", { skip_bad: true });
    expect(math.map(({ answer }) => answer)).toContain("\\frac{5}{2}");
    await writeFile(
      join(folder, "half.parquet"),
      (await readFile(join(import.meta.dirname, "files", "verl.parquet"))).subarray(0, 900),
    );
    await expect(loadDataset(join(folder, "half.parquet"))).rejects.toThrow(/half\.parquet: broken Parquet file/);
  });

  it("refuses Parquet files that say more than they can hold", async () => {
    const files = join(import.meta.dirname, "files");
    const verl = await readFile(join(files, "verl.parquet"));
    const begun = verl.length - 8 - verl.readUInt32LE(verl.length - 8);
    const rows = verl.indexOf(Buffer.from([0x16, 12]), begun); // six of them, as the footer says
    const footer = Buffer.concat([Buffer.from([0x16, 0x80, 0xa8, 0xd6, 0xb9, 0x07]), verl.subarray(rows + 2, -8)]);
    const end = Buffer.from(`    PAR1`);
    end.writeUInt32LE(rows - begun + footer.length);
    await expect(load("rows.parquet", Buffer.concat([verl.subarray(0, rows), footer, end]))).rejects.toThrow(
      "rows.parquet: broken Parquet file (expected at most 10000000 rows, found 1000000000)",
    );
    // 621 bytes with a run of 2^30 values, which would end this process, or throw: that depends on Node's version.
    const run = loadDataset(join(files, "run-of-milliard.parquet"));
    await expect(run).rejects.toThrow(
      /broken Parquet file \((its reader ended: expected rows that fit in 2048 MiB|Invalid array length)\)/,
    );
  });

  it("ends the process that reads a Parquet file at the signal", async () => {
    const { fork: start } = await vi.importActual<typeof import("node:child_process")>("node:child_process");
    const controller = new AbortController();
    let reader: ChildProcess | undefined;
    vi.mocked(fork).mockImplementationOnce((path, args, options) => {
      queueMicrotask(() => controller.abort()); // when it is waited for
      reader = start(path, args as string[], options);
      return reader;
    });
    const path = join(import.meta.dirname, "files", "run-of-milliard.parquet");
    await expect(loadDataset(path, { signal: controller.signal })).rejects.toThrow(/abort/i);
    expect(reader!.signalCode).toBe("SIGKILL");
  });

  it("refuses files, records and questions that are too long", async () => {
    for (const [name, size] of [
      ["long.jsonl", 600_000_000],
      ["long.json", 200_000_000],
    ] as const) {
      await writeFile(join(folder, name), "");
      await truncate(join(folder, name), size);
    }
    await expect(loadDataset(join(folder, "long.jsonl"))).rejects.toThrow(
      "long.jsonl: expected at most 500000000 bytes, found 600000000",
    );
    await expect(loadDataset(join(folder, "long.json"))).rejects.toThrow("expected at most 134217728 bytes");
    await expect(load("open.csv", `question,answer\n"${"a".repeat(2e7)}`)).rejects.toThrow(/open\.csv:2: broken CSV/);
    const question = "a".repeat(2 ** 20 + 1);
    await expect(load("question.jsonl", JSON.stringify({ question, answer: "1" }))).rejects.toThrow(
      'question.jsonl:1: expected at most 1048576 letters in "question", found 1048577',
    );
  });

  it("takes no column for what all objects inherit", async () => {
    await writeFile(join(folder, "inherits.jsonl"), '{"question": "q", "answer": "1"}');
    const path = join(folder, "inherits.jsonl");
    for (const question_column of ["__proto__", "constructor", "constructor.name"]) {
      await expect(loadDataset(path, { question_column })).rejects.toThrow("found only question, answer");
    }
  });

  it("refuses a Parquet file with two broken columns once, and leaves no promise behind", async () => {
    const whole = await readFile(join(import.meta.dirname, "files", "verl.parquet"));
    const leaks: unknown[] = [];
    const onLeak = (reason: unknown) => leaks.push(reason);
    process.on("unhandledRejection", onLeak);
    const changes = [
      { 439: 150, 2002: 56 },
      { 780: 237, 2336: 55 },
    ];
    for (const places of changes) {
      const bytes = Buffer.from(whole);
      for (const [place, value] of Object.entries(places)) bytes[Number(place)] = value;
      await expect(load("two.parquet", bytes)).rejects.toThrow(/two\.parquet: broken Parquet file/);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    process.off("unhandledRejection", onLeak);
    expect(leaks).toEqual([]);
  });

  it("takes other columns by name", async () => {
    await writeFile(
      join(folder, "columns.jsonl"),
      '{"question": "no", "text": {"of": "what?"}, "gold": "so \\\\boxed{4}"}\n',
    );
    const options = { question_column: "text.of", answer_column: "gold" };
    const { train, test } = await loadDataset(join(folder, "columns.jsonl"), options);
    expect([...train, ...test]).toMatchObject([{ question: "what?", answer: "4" }]);
    await expect(loadDataset(join(folder, "columns.jsonl"), { question_column: "gone" })).rejects.toThrow(
      /columns\.jsonl:1: expected a text or number named "gone", found only question, text, gold/,
    );
  });

  it.each([
    [
      "bad.jsonl",
      '{"question": "a", "answer": 1}\n{"question": \n[]\n{"text": 1}\n',
      ["bad.jsonl:2", "bad.jsonl:3", "bad.jsonl:4"],
    ],
    ["bad.json", '[{"question": "a", "answer": 1}, 7]', ["bad.json, problem 2"]],
    ["bad.csv", "question,answer\na,1\nb,2,3\n,4\n", ["bad.csv:3", "bad.csv:4"]],
  ])("%s: skip_bad leaves broken rows out and counts them", async (name, text, places) => {
    await expect(load(name, text)).rejects.toThrow(`${places[0]}:`);
    const { train, test, skipped } = await loadDataset(join(folder, name), { skip_bad: true });
    expect([...train, ...test]).toMatchObject([{ question: "a", answer: "1" }]);
    expect(skipped!.map((message) => message.slice(folder.length + 1).split(": ")[0])).toEqual(places);
  });

  it("skip_bad does not skip everything", async () => {
    await writeFile(join(folder, "allbad.jsonl"), "{\n{\n");
    await expect(loadDataset(join(folder, "allbad.jsonl"), { skip_bad: true })).rejects.toThrow(
      /expected problems, found none/,
    );
    await writeFile(join(folder, "noquestion.jsonl"), '{"a": 1}\n');
    await expect(loadDataset(join(folder, "noquestion.jsonl"), { skip_bad: true })).rejects.toThrow(
      /expected problems, found 1 broken rows and no other: .*noquestion\.jsonl:1/,
    );
  });

  it("a missing file and an unknown name", async () => {
    await expect(loadDataset(join(folder, "none.jsonl"))).rejects.toThrow(
      /none\.jsonl: cannot be read \(no such file\)/,
    );
    await expect(loadDataset("gsm-8k")).rejects.toThrow(/nearest: gsm8k/);
    await expect(loadDataset("gsm8k", { question: "text" } as DatasetOptions)).rejects.toThrow(
      "options: unknown option question, expected some of question_column, answer_column, skip_bad, signal, onProgress",
    );
    await expect(loadDataset(folder)).rejects.toThrow(
      /expected a file \(\.jsonl.*, found the folder ".*", which holds a\.csv, a\.jsonl, allbad\.jsonl, /,
    );
  });
});
