/** What `npm run gpu` found, as Markdown. */
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
  readonly ours: Ours;
  readonly peers: Peers;
}

export function report({ gpu, driver, tests, ours, peers }: Found): string {
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
  return `# ${gpu}

Driver ${driver}. Suite: ${tests ? `${tests.passed} passed, ${tests.failed} failed` : "not run"}. Limits measured in the same run: ${(gflops.bf16 / 1e3).toFixed(1)} TFLOP/s (mma.sync, bf16, registers only), ${gbytes.toFixed(0)} GB/s.${peers.missing ? ` Peers left out: ${peers.missing}.` : ""}

| module | direction | out x in | rows | us | TFLOP/s | GB/s | of the limits | fusion | plain, speed against cuBLAS | fused, against PEFT |
|---|---|---|---|---|---|---|---|---|---|---|
${lines.join("\n")}
`;
}
