/** Files that take minutes start first, so that two files run to the end. */
import { BaseSequencer, type TestSpecification } from "vitest/node";

const LONGEST = [
  "native/native",
  "native/planted",
  "cudasim/sanitized",
  "native/hopper",
  "native/arm",
  "addon/sampler",
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const found = LONGEST.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return found < 0 ? LONGEST.length : found;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
