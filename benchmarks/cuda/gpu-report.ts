/** What `npm run gpu` found, as Markdown. */
import type { WholeRow } from "../../bin/whole-model.js";

export interface Ours {
  readonly limits: { readonly gflops: { readonly bf16: number }; readonly gbytes: number };
  readonly results: readonly {
    readonly module: string;
    readonly direction: string;
    readonly out: number;
    readonly in: number;
    readonly rows: number;
    readonly gflops: number;
    readonly gbytes: number;
    readonly overhead: number;
    readonly share: number;
    readonly seconds: { readonly plain: number; readonly fused: number };
  }[];
}

/** Of `bench --whole`. */
export type Whole = readonly WholeRow[];

/** A line of peers.py. */
export interface PeerTime {
  readonly peer: "cublas" | "peft";
  readonly out: number;
  readonly in: number;
  readonly rows: number;
  readonly direction: string;
  readonly seconds: number;
}

/** What peers.py printed, and why some of it is missing. */
export interface Peers {
  readonly times: readonly PeerTime[];
  readonly missing?: string;
}

export interface Found {
  readonly gpu: string;
  readonly driver: string;
  readonly tests: { readonly passed: number; readonly failed: number } | null;
  /** The model whose layers, and which as a whole. */
  readonly shapes: string;
  readonly ours: Ours;
  readonly whole: Whole;
  readonly peers: Peers;
}

export function report({ gpu, driver, tests, shapes, ours, whole, peers }: Found): string {
  const { gflops, gbytes } = ours.limits;
  const lines = ours.results.map((row) => {
    const seconds = (peer: PeerTime["peer"]) =>
      peers.times.find(
        (one) =>
          one.peer === peer &&
          one.out === row.out &&
          one.in === row.in &&
          one.rows === row.rows &&
          one.direction === row.direction,
      )?.seconds;
    const [cublas, peft] = [seconds("cublas"), seconds("peft")];
    const cells = [
      ...[row.module, row.direction, `${row.out} x ${row.in}`, row.rows, (1e6 * row.seconds.plain).toFixed(1)],
      ...[(row.gflops / 1e3).toFixed(1), row.gbytes.toFixed(0), `${(100 * row.share).toFixed(0)} %`],
      `${row.overhead >= 0 ? "+" : ""}${(100 * row.overhead).toFixed(1)} %`,
      cublas === undefined ? "-" : `${((100 * cublas) / row.seconds.plain).toFixed(0)} %`,
      peft === undefined ? "-" : `${(peft / row.seconds.fused).toFixed(1)} x`,
    ];
    return `| ${cells.join(" | ")} |`;
  });
  const steps = whole.map(({ what, rows, seconds, gflops, gbytes, share }) => {
    const cells = [what, rows, (1e3 * seconds).toFixed(2), (rows / seconds).toFixed(0)];
    cells.push((gflops / 1e3).toFixed(1), gbytes.toFixed(0), `${(100 * share).toFixed(0)} %`);
    return `| ${cells.join(" | ")} |`;
  });
  return `# ${gpu}

Driver ${driver}. Suite: ${tests ? `${tests.passed} passed, ${tests.failed} failed` : "not run"}. Limits measured in the same run: ${(gflops.bf16 / 1e3).toFixed(1)} TFLOP/s (mma.sync, bf16, registers only), ${gbytes.toFixed(0)} GB/s.${peers.missing ? ` Peers left out: ${peers.missing}.` : ""}

| module | direction | out x in | rows | us | TFLOP/s | GB/s | of the limits | fusion | plain, speed against cuBLAS | fused, against PEFT |
|---|---|---|---|---|---|---|---|---|---|---|
${lines.join("\n")}

| ${shapes}, whole | rows | ms | rows/s | TFLOP/s | GB/s of weights | of the limits |
|---|---|---|---|---|---|---|
${steps.join("\n")}
`;
}
