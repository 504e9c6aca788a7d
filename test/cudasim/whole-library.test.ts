import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-library-"));
});
afterEach(() => rm(folder, { recursive: true }));

it.each(["Ninja", "Unix Makefiles"])(
  "a library has its name when it is whole, not while it is linked: %s",
  async (generator) => {
    const has = spawnSync(generator === "Ninja" ? "ninja" : "make", ["--version"]).status === 0;
    if (!has) return;
    const at = (name: string) => join(folder, name);
    await writeFile(at("one.cpp"), "int one() { return 1; }\n");
    await writeFile(
      at("CMakeLists.txt"),
      `cmake_minimum_required(VERSION 3.20)
project(one CXX)
include(${join(import.meta.dirname, "whole-library.cmake")})
add_library(one SHARED one.cpp)
set_property(TARGET one PROPERTY RULE_LAUNCH_LINK "sh ${at("link.sh")}")
`,
    );
    // Runs a command of the link, and writes down what libraries there are then.
    await writeFile(at("link.sh"), `"$@" && ls "${at("build")}" | grep '^libone' | tr '\\n' ' ' >> "${at("log")}"\n`);
    const cmake = (...given: string[]) => {
      const { status, stdout, stderr } = spawnSync("cmake", given, { cwd: folder, encoding: "utf8" });
      expect(status, stdout + stderr).toBe(0);
    };
    cmake("-G", generator, "-S", ".", "-B", "build", "-DCMAKE_CXX_COMPILER_WORKS=1");
    cmake("--build", "build");
    expect(await readFile(at("log"), "utf8")).toMatch(/^libone\.so\.new (libone\.so )?$/);
    expect((await readdir(at("build"))).filter((name) => name.startsWith("libone"))).toEqual(["libone.so"]);
  },
);
