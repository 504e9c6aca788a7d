import type { CpuPath } from "./addon.js";
import { loadAddon } from "./load.js";

/** This machine, as far as the engine cares. */
export function machine(): MachineInfo {
  return loadAddon().machine();
}

export interface MachineInfo {
  readonly cpu: string;
  readonly cores: number;
  /** Instruction sets this build has and this machine can run, best first. */
  readonly paths: CpuPath[];
  /** What `EngineSpec.device` can name, each GPU by its number; with the reason where one cannot be used here. */
  readonly devices: DeviceInfo[];
}

export interface DeviceInfo {
  /** "cpu", "cuda:0", "reference"; "cuda" where there is no GPU. */
  readonly name: string;
  readonly usable: boolean;
  readonly reason?: string;
  readonly gpu?: {
    readonly name: string;
    /** Compute capability, "8.0". */
    readonly capability: string;
    /** Bytes. */
    readonly memory: number;
  };
}
