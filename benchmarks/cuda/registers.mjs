import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const HELP = `What ptxas makes of every CUDA kernel: registers, spilled bytes, shared memory, and from them how many blocks and warps
fit on one multiprocessor. Prints a table in Markdown; the exit code is 1 where a kernel spills. Needs nvcc and no GPU.

  node benchmarks/cuda/registers.mjs                        all kernels
  node benchmarks/cuda/registers.mjs norm.cu rope.cu        those of these files in native/cuda/kernels

  --architectures A,B,...   for which GPUs (sm_80,sm_90a,sm_100)
  --json                    print JSON instead`;

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const folder = join(root, "native", "cuda", "kernels");

/** Per multiprocessor: CUDA C++ Programming Guide, "Technical specifications per compute capability". */
const MULTIPROCESSOR = {
  sm_80: { threads: 2048, blocks: 32, registers: 65536, shared: 164 * 1024 },
  sm_90a: { threads: 2048, blocks: 32, registers: 65536, shared: 228 * 1024 },
  sm_100: { threads: 2048, blocks: 32, registers: 65536, shared: 228 * 1024 },
};
/** Of the headers, by name: none is there twice. */
const CONSTANTS = constantsOf(
  readdirSync(folder)
    .filter((name) => /\.(?:h|cuh)$/.test(name))
    .map((name) => readFileSync(join(folder, name), "utf8"))
    .join("\n"),
);
/** Shared memory that the driver keeps for itself, of every block. */
const RESERVED = 1024;

/**
 * Dynamic shared memory is chosen at launch, blocks without __launch_bounds__ too: { threads, shared } by kernel, read
 * from the tables of the host code; of products also the { rows, columns } of a tile, and blocks of a cluster.
 */
export function launchShapes() {
  const shapes = new Map();
  for (const file of readdirSync(join(root, "native", "cuda")).filter((name) => name.endsWith(".cpp"))) {
    const text = readFileSync(join(root, "native", "cuda", file), "utf8");
    const tables = text.matchAll(/\{"(\w+)", (\d+), (\d+), (\d+), (\d+)(?:, (\d+))?\}/g);
    for (const [, name, ...numbers] of tables) {
      const [rows, columns, threads, shared, cluster = 1] = numbers.filter((one) => one !== undefined).map(Number);
      shapes.set(name, { rows, columns, threads, shared, cluster });
    }
  }
  return shapes;
}

export function measure(architectures = Object.keys(MULTIPROCESSOR), files = kernelFiles()) {
  const shapes = launchShapes();
  const scratch = mkdtempSync(join(tmpdir(), "registers-"));
  try {
    return files.flatMap((file) => {
      const text = readFileSync(join(folder, file), "utf8");
      const bounds = launchBounds(text);
      return architectures
        .filter((architecture) => isFor(file, architecture))
        .flatMap((architecture) => {
          const ptx = ptxOf(file, virtualOf(file, text, architecture), scratch);
          const sized = sizedAtLaunch(readFileSync(ptx, "utf8"));
          return assemble(ptx, architecture, join(scratch, "kernel.cubin")).map((kernel) => {
            const threads = shapes.get(kernel.name)?.threads ?? bounds(kernel.name) ?? 256;
            const shared = kernel.shared + (shapes.get(kernel.name)?.shared ?? 0);
            const fits = occupancy(architecture, kernel.registers, threads, shared);
            return { file, ...kernel, threads, shared, dynamic: sized.has(kernel.name), ...fits };
          });
        });
    });
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** As cmake/cuda.cmake: a file *_sm90.cu is for sm_90a alone. */
function isFor(file, architecture) {
  if (file.endsWith("_sm90.cu")) return architecture === "sm_90a";
  return file !== "product_half.cu" || architecture !== "sm_90a"; // there product_sm90.cu multiplies
}

function kernelFiles() {
  return readdirSync(folder).filter((name) => name.endsWith(".cu"));
}

function nvcc(args) {
  const { status, stdout, stderr, error } = spawnSync("nvcc", args, { encoding: "utf8" });
  if (error) throw new Error("nvcc is not on PATH");
  if (status !== 0) throw new Error(`nvcc ${args.join(" ")}:\n${stdout}${stderr}`);
  return `${stdout}${stderr}`;
}

/** As cmake/cuda.cmake: what may begin early on sm_90 is compiled for it. */
function virtualOf(file, text, architecture) {
  if (file.endsWith("_sm90.cu")) return "compute_90a";
  return text.includes('#include "early_start.cuh"') && architecture !== "sm_80" ? "compute_90" : "compute_80";
}

/** The PTX that the addon embeds, where its build is up to date; else the same made here. */
function ptxOf(file, virtual, scratch) {
  const name = `${basename(file, ".cu")}.${virtual}.ptx`;
  const built = join(root, ".cache", "cmake", "cuda", name);
  const headers = [folder, join(root, "native", "ops")].flatMap((one) =>
    readdirSync(one)
      .filter((name) => /\.(?:h|cuh)$/.test(name))
      .map((name) => join(one, name)),
  );
  const newest = Math.max(...[join(folder, file), ...headers].map((one) => statSync(one).mtimeMs));
  if (existsSync(built) && statSync(built).mtimeMs > newest) return built;
  const flags = ["-std=c++17", "-O3", "--fmad=false", `-I${join(root, "native")}`, "-ptx", `-arch=${virtual}`];
  nvcc([...flags, join(folder, file), "-o", join(scratch, name)]);
  return join(scratch, name);
}

function assemble(ptx, architecture, target) {
  const said = nvcc(["-cubin", `-arch=${architecture}`, "-Xptxas", "-v", ptx, "-o", target]);
  const pattern =
    /Function properties for (\w+)\s+(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\s+ptxas info\s+: Used (\d+) registers(.*)/g;
  const kernels = [...said.matchAll(pattern)];
  if (kernels.length === 0) throw new Error(`ptxas -v says nothing of ${basename(ptx)} for ${architecture}`);
  return kernels.map(([, name, stack, stores, loads, registers, rest]) => ({
    architecture,
    name,
    registers: Number(registers),
    spills: Number(stores) + Number(loads),
    stack: Number(stack),
    shared: Number(/(\d+) bytes smem/.exec(rest)?.[1] ?? 0),
  }));
}

/** Names of the kernels that use shared memory whose size is chosen at launch. */
function sizedAtLaunch(ptx) {
  const arrays = [...ptx.matchAll(/^\.extern \.shared .* (\w+)\[\];/gm)].map(([, name]) => name);
  const [, ...entries] = ptx.split(/^\.visible \.entry /m);
  return new Set(
    entries.filter((text) => arrays.some((name) => text.includes(name))).map((text) => /^\w+/.exec(text)[0]),
  );
}

/** Threads of a block by kernel, from __launch_bounds__; its constants may stand in a header, its kernel in a macro. */
function launchBounds(text) {
  const bounds = /__launch_bounds__\((\w+)(?: \* (\d+))?[^)]*\)\s+(?:void\s+)?([\w#]+)\(/g;
  const found = [...text.matchAll(bounds)].map(([, size, times = "1", name]) => ({
    pattern: new RegExp(`^${name.replace(/##\w+/g, "\\w+")}$`),
    threads: Number(constantsOf(text).get(size) ?? CONSTANTS.get(size) ?? size) * Number(times),
  }));
  return (name) => found.find(({ pattern }) => pattern.test(name))?.threads;
}

function constantsOf(text) {
  return new Map([...text.matchAll(/constexpr int (\w+) = (\d+);/g)].map(([, name, value]) => [name, value]));
}

/** Blocks and warps that fit on one multiprocessor; `shared` bytes a block, those chosen at launch included. */
export function occupancy(architecture, registers, threads, shared) {
  const limit = MULTIPROCESSOR[architecture];
  const warps = Math.ceil(threads / 32);
  // A warp's registers come in units of 256.
  const registersOfWarp = Math.ceil((registers * 32) / 256) * 256;
  const blocks = Math.min(
    limit.blocks,
    Math.floor(limit.threads / (32 * warps)),
    Math.floor(Math.floor(limit.registers / registersOfWarp) / warps),
    Math.floor(limit.shared / (shared + RESERVED)),
  );
  return { blocks, warps: blocks * warps };
}

function markdown(kernels) {
  const lines = kernels.map(
    (k) =>
      `| ${k.architecture} | ${k.file} | ${k.name} | ${k.registers} | ${k.spills} | ${k.threads} | ${k.shared} | ${k.blocks} | ${k.warps} |`,
  );
  const head =
    "| architecture | file | kernel | registers | spilled bytes | threads | shared bytes | blocks an SM | warps an SM |\n|---|---|---|--:|--:|--:|--:|--:|--:|";
  return [head, ...lines].join("\n");
}

function main(argv) {
  const { values, positionals: named } = given(argv);
  if (values.help) return console.log(HELP);
  const architectures = values.architectures?.split(",");
  const strange = architectures?.find((one) => !(one in MULTIPROCESSOR));
  if (strange !== undefined) {
    refuse(`--architectures: expected any of ${Object.keys(MULTIPROCESSOR).join(", ")}, found ${strange || "nothing"}`);
  }
  const missing = named.find((one) => !kernelFiles().includes(one));
  if (missing !== undefined) refuse(`${missing}: expected a file in native/cuda/kernels`);
  const kernels = measure(architectures, named.length > 0 ? named : undefined);
  console.log(values.json ? JSON.stringify(kernels, null, 2) : markdown(kernels));
  if (kernels.some(({ spills }) => spills > 0)) process.exitCode = 1;
}

function given(args) {
  const options = { help: { type: "boolean" }, json: { type: "boolean" }, architectures: { type: "string" } };
  try {
    return parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    return refuse(error.message.split(/\. |\n/)[0]);
  }
}

function refuse(message) {
  console.error(`error: ${message} (--help says more)`);
  process.exit(2);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) main(process.argv.slice(2));
