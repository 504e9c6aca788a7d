import { markdownTable } from "../markdown.js";
import type { Candidate, MemberResult, SettingResult, SweepResults } from "./results-file.js";

/** results.md */
export function resultsTable(results: SweepResults): string {
  const { source, metric, best_of, varied, settings, members } = results;
  const keys = varied.filter((key) => !best_of.includes(key));
  const finished = members.filter(({ status }) => status === "finished").length;
  const failed = members.filter(({ status }) => status === "failed");
  const chosen =
    best_of.length > 0
      ? `Each setting has the ${best_of.join(", ")} with the best mean over its seeds, chosen and told on the same held-out problems.`
      : "Mean over seeds.";
  return `${[
    `# Results of ${source}`,
    `${finished} of ${members.length} members finished, ${failed.length} failed. Accuracy is ${metric} after the last step, ± the standard deviation over seeds. ${chosen}`,
    markdownTable(
      [...keys, "parameters", "bytes", "base", ...best_of, "accuracy", "seeds"],
      settings.map((setting) => settingRow(setting, keys, best_of)),
    ),
    "## Every candidate",
    markdownTable(
      [...keys, ...best_of, "accuracy", "seeds"],
      settings.flatMap((setting) =>
        setting.candidates.map((candidate) => [
          ...keys.map((key) => text(setting.settings[key])),
          ...candidateCells(candidate, best_of),
        ]),
      ),
    ),
    "## Members",
    markdownTable(["member", "status", "steps", "accuracy"], members.map(memberRow)),
    ...failed.map(({ name, error }) => `\`${name}\` failed: ${error}`),
  ].join("\n\n")}\n`;
}

function settingRow({ settings, parameters, bytes, base, best }: SettingResult, keys: string[], bestOf: string[]) {
  return [
    ...keys.map((key) => text(settings[key])),
    text(parameters),
    text(bytes),
    percent(base),
    ...(best ? candidateCells(best, bestOf) : [...bestOf.map(() => "-"), "-", "not complete"]),
  ];
}

function candidateCells({ values, mean, deviation, accuracies, members }: Candidate, bestOf: string[]): string[] {
  const spread = deviation === null ? "" : ` ± ${(100 * deviation).toFixed(1)}`;
  return [
    ...bestOf.map((key) => text(values[key])),
    `${percent(mean)}${spread}`,
    `${accuracies.length} of ${members.length}`,
  ];
}

function memberRow({ name, status, step, accuracy }: MemberResult): string[] {
  return [`\`${name}\``, status, String(step), percent(accuracy)];
}

function percent(share: number | null): string {
  return share === null ? "-" : `${(100 * share).toFixed(1)} %`;
}

function text(value: unknown): string {
  if (value === null || value === undefined) return "-";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
