import { TinyLoraError } from "../error.js";
import type { EngineSpec } from "./addon.js";
import { cudasimLibrary } from "./cudasim.js";

/** Where a model runs, as native code takes it: of a wrong name it says so before anything is loaded. */
export function nativeDevice(name: string): Pick<EngineSpec, "device" | "driver"> {
  if (!/^(?:cpu|cuda(?::\d{1,4})?|cudasim|reference)$/.test(name)) {
    throw new TinyLoraError("ERR_DEVICE", `device: expected cpu, cuda, cuda:N, cudasim or reference, found "${name}"`);
  }
  return name === "cudasim" ? { device: name, driver: cudasimLibrary() } : { device: name };
}
