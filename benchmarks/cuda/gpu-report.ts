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

export interface Peer {
  readonly out: number;
  readonly in: number;
  readonly rows: number;
  readonly direction: string;
  readonly seconds: number;
}

export interface Found {
  readonly gpu: string;
  readonly driver: string;
  readonly tests: { readonly passed: number; readonly failed: number } | null;
  readonly ours: Ours;
  readonly cublas: readonly Peer[] | null;
}

export function report({ gpu, driver, tests, ours, cublas }: Found): string {
  const { gflops, gbytes } = ours.limits;
  const lines = ours.results.map((row) => {
    const same = cublas?.find(
      (one) => one.out === row.out && one.in === row.in && one.rows === row.rows && one.direction === row.direction,
    );
    const cells = [
      ...[row.module, row.direction, `${row.out} x ${row.in}`, row.rows, (1e6 * row.seconds.plain).toFixed(1)],
      ...[(row.gflops / 1e3).toFixed(1), row.gbytes.toFixed(0), `${(100 * row.share).toFixed(0)} %`],
      `${row.overhead >= 0 ? "+" : ""}${(100 * row.overhead).toFixed(1)} %`,
      same ? `${((100 * same.seconds) / row.seconds.plain).toFixed(0)} %` : "-",
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return `# ${gpu}

Driver ${driver}. Suite: ${tests ? `${tests.passed} passed, ${tests.failed} failed` : "not run"}. Limits measured in the same run: ${(gflops.bf16 / 1e3).toFixed(1)} TFLOP/s (mma.sync, bf16, registers only), ${gbytes.toFixed(0)} GB/s.${cublas ? "" : " cuBLAS: no python with torch and a GPU."}

| module | direction | out x in | rows | us | TFLOP/s | GB/s | of the limits | fusion | speed against cuBLAS |
|---|---|---|---|---|---|---|---|---|---|
${lines.join("\n")}
`;
}
