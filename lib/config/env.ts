/**
 * Every environment variable that this package reads. They share the prefix TINYLORA_. One more is read by native code
 * (native/cuda/driver.cpp): TINYLORA_CUDA_DRIVER, a file to open instead of libcuda.so.1.
 */
export interface Environment {
  /** Model to use when none is named. */
  readonly model: string | undefined;
  /** Folder of the data sets. */
  readonly data: string | undefined;
  /** Folder for what can be computed again: SVDs. */
  readonly cache: string | undefined;
  /** Path of a tinylora.node to load instead of the one that was built or shipped. */
  readonly addon: string | undefined;
}

export function environment(variables: NodeJS.ProcessEnv = process.env): Environment {
  const read = (name: string) => variables[`TINYLORA_${name}`] || undefined;
  return { model: read("MODEL"), data: read("DATA"), cache: read("CACHE"), addon: read("ADDON") };
}
