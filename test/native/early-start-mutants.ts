/** Mistakes of kernels that may begin before the launch before them is done. */
import type { KernelMutants, Mistake } from "./kernel-mutants.js";

export const EARLY_START_MUTANTS: readonly KernelMutants[] = [
  waits("norm", ["sampler: not finite", "cuda bf16"], "of_row[Tile::kRows];\n"),
  waits("norm", ["parts: each is that of its sequences alone", "cuda bf16"], "slots[kNormBackwardThreads / 32];\n"),
  ...["rope", "swiglu"].map((file) => waits(file, ["sampler: not finite", "cuda bf16"])),
  ...["attention_decode", "attention_combine"].map((file) =>
    waits(file, ["attention decode: a prompt is read once", "cuda bf16"]),
  ),
  { ...waits("product_half", ["sampler: not finite", "cuda bf16"]), architecture: 100 },
  {
    file: "norm",
    header: "early_start.cuh",
    test: ["sampler: not finite", "cuda bf16"],
    architecture: 90,
    mistakes: {
      "the next launch let come first": [
        "griddepcontrol.wait;\\ngriddepcontrol.launch_dependents;\\n",
        "griddepcontrol.launch_dependents;\\ngriddepcontrol.wait;\\n",
      ],
    },
  },
  fixes("norm", "x"),
  fixes("swiglu", "gate"),
  {
    file: "product_sm90",
    header: "wgmma_tiles.cuh",
    test: ["sampler: not finite", "cuda bf16"],
    mistakes: {
      "x asked for before its launch is done": ["  await_launch_before();\n  Place", "  Place"],
      "factors read before their launch is done": ["    await_launch_before();\n    consume", "    consume"],
      "one stage's weights twice": ["        --begun;\n", "        begun -= 2;\n"],
    },
  },
];

/** Without its wait, which comes after `before`. */
function waits(file: string, test: readonly string[], before = ""): KernelMutants {
  const mistake: Mistake = [`${before}  await_launch_before();\n`, before];
  return { file, test, architecture: 90, mistakes: { "no wait": mistake } };
}

/** With an array that the launch before wrote read through the read-only path. */
function fixes(file: string, array: string): KernelMutants {
  const mistake: Mistake = [`groups.load(${array} + place.at`, `groups.load_fixed(${array} + place.at`];
  const test = ["cuda engine: launches of a layer", "cuda bf16"];
  return { file, test, architecture: 90, mistakes: { [`${array} through the read-only path`]: mistake } };
}
