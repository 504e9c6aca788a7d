/** Kernels with a mistake, as PTX. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KernelMutants, Mistake } from "./kernel-mutants.js";

const kernels = join(import.meta.dirname, "../../native/cuda/kernels");

/** As what the stand-in runs it. */
export const architectureOf = ({ file, architecture }: KernelMutants): number =>
  architecture ?? (isForHopperAlone(file) ? 90 : 80);

/** As cmake/cuda.cmake has it. */
const isForHopperAlone = (file: string): boolean => file.endsWith("_sm90");

/** PTX of the mutants' file, with the mistake if there is one, written to `folder`; compiled as cmake/cuda.cmake does. */
export function compileMutant(mutants: KernelMutants, mistake: Mistake | undefined, folder: string): string {
  const { file, header, test } = mutants;
  const [source, target] = [join(folder, `${file}.cu`), join(folder, `${file}.ptx`)];
  // Its headers beside it: one that another header includes can hold the mistake.
  const headers = readdirSync(kernels).filter((name) => /\.c?u?h$/.test(name));
  for (const name of [`${file}.cu`, ...headers]) {
    writeFileSync(join(folder, name), withMistake(name, name === (header ?? `${file}.cu`) ? mistake : undefined));
  }
  writeFileSync(source, withInstances(readFileSync(source, "utf8"), test.at(-1)!));
  const flags = [
    "-std=c++17",
    "-O3",
    "--fmad=false",
    "-lineinfo",
    "-ptx",
    `-arch=compute_${isForHopperAlone(file) ? "90a" : Math.min(architectureOf(mutants), 90)}`,
  ];
  const include = [`-I${join(kernels, "../..")}`, `-I${kernels}`];
  const { status, stderr } = spawnSync("nvcc", [...flags, ...include, source, "-o", target], { encoding: "utf8" });
  if (status !== 0) throw new Error(`nvcc: ${stderr}`);
  return target;
}

/** Only the kernels of the type that the test runs in, `cuda fp16` or `sm_90a fp16`: nvcc has half as much to do. */
function withInstances(text: string, backend: string): string {
  const own = backend.split(" ").at(-1)!.replace("fp", "f");
  const instance = /^TINYLORA_\w+\((\w+), .*\)\n/gm;
  const isOwn = (name: string) => name.split("_").includes(own);
  const names = [...text.matchAll(instance)].map(([, name]) => name!);
  if (names.length > 0 && !names.some(isOwn)) throw new Error(`expected kernels of ${own}, found ${names.join()}`);
  return text.replace(instance, (line, name: string) => (isOwn(name) ? line : ""));
}

function withMistake(name: string, mistake: Mistake | undefined): string {
  const text = readFileSync(join(kernels, name), "utf8");
  if (!mistake) return text;
  const [from, to] = mistake;
  if (text.split(from).length !== 2) throw new Error(`${name}: expected once: ${from}`);
  return text.replace(from, () => to);
}
