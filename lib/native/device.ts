import { TinyLoraError } from "../error.js";
import type { EngineSpec } from "./addon.js";
import { cudasimLibrary } from "./cudasim.js";
import { machine } from "./machine.js";

/** Where a model runs, as native code takes it: of a wrong name it says so before anything is loaded. */
export function nativeDevice(name: string): Pick<EngineSpec, "device" | "driver"> {
  checkName(name);
  return name === "cudasim" ? { device: name, driver: cudasimLibrary() } : { device: name };
}

/** ERR_DEVICE for a wrong name, and for a GPU that cannot be used, with the reason. Opens no device. */
export function checkDevice(name: string): void {
  checkName(name);
  if (!/^cuda(:|$)/.test(name)) return;
  const { devices } = machine();
  const gpus = devices.filter((device) => device.name.startsWith("cuda"));
  const named = name === "cuda" ? gpus : gpus.filter((gpu) => gpu.name === name);
  if (named.some(({ usable }) => usable)) return;
  const reason = (named[0] ?? gpus.find(({ gpu }) => !gpu))?.reason ?? `there is no ${name}`;
  throw new TinyLoraError("ERR_DEVICE", `cuda: ${reason}; or use device cpu`);
}

function checkName(name: string): void {
  if (!/^(?:cpu|cuda(?::\d{1,4})?|cudasim|reference)$/.test(name)) {
    throw new TinyLoraError("ERR_DEVICE", `device: expected cpu, cuda, cuda:N, cudasim or reference, found "${name}"`);
  }
}
