import { Adapter, type AdapterBase } from "./adapter/adapter.js";
import { buildBasis, matricesBasis } from "./adapter/basis.js";
import { targetedModules } from "./adapter/modules.js";
import { Projections } from "./adapter/projections.js";
import { type AdapterSpec, geometryKey, specDifferences } from "./adapter/spec.js";
import { cachedSvd } from "./adapter/svd-cache.js";
import { checkMayAttach } from "./claim.js";
import { TinyLoraError } from "./error.js";
import type { AdapterBasis } from "./native/addon.js";
import type { Session } from "./native/session.js";
import { show } from "./show.js";

export interface AttachOptions {
  /** Modules whose SVD is made, of all of them. What it throws ends the work and is what the call rejects with. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Ends the waiting for other passes at once, and the SVD at the next module: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

interface Attached {
  /** Equal keys have equal bases. */
  readonly key: string;
  readonly first: Adapter;
  /** [slots] */
  readonly adapters: Adapter[];
  readonly basis: AdapterBasis;
  readonly projections: Projections;
}

/** What lies in the adapter slots of an engine. The slots share one basis: their adapters differ in v and projection. */
export class AdapterSlots {
  readonly #engine: AdapterBase;
  readonly #session: Session;
  #attached: Attached | undefined;

  constructor(engine: AdapterBase, session: Session) {
    this.#engine = engine;
    this.#session = session;
  }

  get adapters(): readonly Adapter[] {
    return this.#attached?.adapters ?? [];
  }
  get count(): number {
    return this.#attached?.basis.slots ?? 0;
  }

  /** Basis and projections of a slot's adapter. ERR_ADAPTER where nothing is attached, ERR_ARGUMENT for no slot. */
  at(slot: number): Attached {
    if (!this.#attached)
      throw new TinyLoraError("ERR_ADAPTER", "adapter slot: expected an attached adapter, found none");
    if (Number.isInteger(slot) && slot >= 0 && slot < this.count) return this.#attached;
    throw new TinyLoraError("ERR_ARGUMENT", `adapter slot: expected 0 to ${this.count - 1}, found ${slot}`);
  }

  /** Into slots 0, 1, ... in place of those before. */
  async attach(adapters: readonly Adapter[], options: AttachOptions): Promise<void> {
    checkMayAttach(this.#engine);
    const first = adapters[0];
    if (!first) throw new TinyLoraError("ERR_ARGUMENT", "attach: expected at least one adapter");
    for (const adapter of adapters) {
      this.#check("attach", adapter);
      if (adapters.length > 1 && !sharesBasis(adapter, first)) {
        const { projection } = first.matrices ? first.spec : adapter.spec;
        throw new TinyLoraError(
          "ERR_ADAPTER",
          `attach: adapters that are used side by side must differ in v and projection only, ${unlike(adapter.spec, { ...first.spec, projection })}: ${OWN_ENGINE}`,
        );
      }
    }
    const projections = new Projections(adapters.map(({ spec }) => spec));
    const key = first.matrices
      ? "own matrices"
      : JSON.stringify(adapters.map(({ spec }) => [geometryKey(spec), spec.projection]));
    const isAttached = () => this.#attached?.key === key && !first.matrices;
    for (let done = false; !done; ) {
      const basis = isAttached() ? undefined : await this.#buildBasis(first, projections, adapters.length, options);
      const put = () => {
        checkMayAttach(this.#engine);
        const attached = basis ? { key, first, basis, projections } : isAttached() && this.#attached;
        if (!attached) return; // another call came between
        if (basis) this.#session.setBasis(basis);
        this.#attached = { ...attached, adapters: [...adapters] };
        this.setVectors(
          0,
          adapters.map(({ v }) => v),
        );
        done = true;
      };
      await this.#session.between(put, options.signal).catch(named("attach"));
    }
  }

  /** In place of the one in a slot. Sampling from the others goes on. */
  async replace(slot: number, adapter: Adapter, signal?: AbortSignal): Promise<void> {
    this.#check("replace", adapter);
    let all: Adapter[] = [];
    const vector = () => {
      checkMayAttach(this.#engine, "replace");
      const { first, adapters, projections } = this.at(slot);
      all = adapters;
      const shares = sharesBasis(adapter, first);
      if (!shares || !projections.has(slot, adapter.spec)) {
        const cure = shares ? "one call of attach takes adapters of several projections" : OWN_ENGINE;
        throw new TinyLoraError(
          "ERR_ADAPTER",
          `replace: expected an adapter that differs from the one in slot ${slot} in v only, ${unlike(adapter.spec, projections.specOf(slot))}: ${cure}`,
        );
      }
      return projections.widen(slot, adapter.v);
    };
    await this.#session.changeVector(slot, vector, signal).catch(named("replace"));
    all[slot] = adapter;
  }

  /** Vectors of slots first, first + 1, ..., in one go. Returns the slots' new versions. */
  setVectors(first: number, vectors: readonly Float32Array[]): Int32Array {
    const { basis, projections } = this.at(first);
    const size = basis.groups * basis.u;
    const all = new Float32Array(vectors.length * size);
    for (const [i, v] of vectors.entries()) {
      const wide = projections.widen(first + i, v);
      if (wide.length !== size) {
        const expected = size / projections.specs.length;
        throw new TinyLoraError("ERR_ADAPTER", `v: expected ${expected} numbers, found ${v.length}`);
      }
      all.set(wide, i * size);
    }
    return this.#session.setVectors(first, all);
  }

  #check(call: string, adapter: Adapter): void {
    checkIsAdapter(call, adapter);
    adapter.checkBase(this.#engine);
  }

  async #buildBasis(
    { spec, matrices }: Adapter,
    projections: Projections,
    slots: number,
    options: AttachOptions,
  ): Promise<AdapterBasis> {
    const { modules } = this.#session;
    if (matrices) return matricesBasis(spec, modules, matrices, slots);
    const factors = await cachedSvd(this.#session, spec.r, targetedModules(modules, spec.targetModules), options);
    return buildBasis(projections.specs, modules, factors, slots);
  }
}

/** ERR_ARGUMENT for what callers without types may give in place of an adapter: its string, or a folder. */
export function checkIsAdapter(call: string, adapter: unknown): asserts adapter is Adapter {
  if (adapter instanceof Adapter) return;
  throw new TinyLoraError("ERR_ARGUMENT", `${call}: expected what Adapter.load gives, found ${show(adapter)}`);
}

/** The slot of an `adapter` option; -1 is the base model. */
export function adapterSlot({ slots }: { readonly slots: number }, adapter: number | "base" | undefined): number {
  if (adapter === "base" || (adapter == null && slots === 0)) return -1;
  const slot = adapter ?? 0;
  if (slots === 0) throw new TinyLoraError("ERR_ARGUMENT", `adapter: none is attached, found ${show(slot)}`);
  if (!Number.isInteger(slot) || slot < 0 || slot >= slots) {
    throw new TinyLoraError("ERR_ARGUMENT", `adapter: expected "base" or a slot below ${slots}, found ${slot}`);
  }
  return slot;
}

const OWN_ENGINE = "it takes an engine of its own";

/** What of an adapter is not as it should be. */
function unlike(found: AdapterSpec, wanted: AdapterSpec): string {
  const told = specDifferences(found, wanted);
  return `found ${told.length > 0 ? told.join(", ") : "another A and B"}`;
}

/** Whether two adapters can be used side by side. Where they brought their matrices, those of one serve both. */
function sharesBasis(a: Adapter, b: Adapter): boolean {
  if (geometryKey(a.spec) !== geometryKey(b.spec)) return false;
  if (a.trainsMatrices) return a.matrices === b.matrices;
  if (!a.matrices && !b.matrices) return true;
  return Boolean(a.matrices) === Boolean(b.matrices) && new Projections([a.spec, b.spec]).specs.length === 1;
}

/** Native code, which refuses while sequences are sampled, names its own method. */
function named(call: string): (error: unknown) => never {
  return (error) => {
    const found = error instanceof TinyLoraError && /: expected no unfinished requests.*$/.exec(error.message);
    if (!found) throw error;
    throw new TinyLoraError(error.code, `${call}${found[0]}`, { cause: error });
  };
}
