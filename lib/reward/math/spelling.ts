/** One spelling for what LaTeX, Unicode and plain text write in many ways. */

const symbols: Record<string, string> = {
  lt: "<",
  gt: ">",
  le: "≤",
  leq: "≤",
  leqslant: "≤",
  ge: "≥",
  geq: "≥",
  geqslant: "≥",
  ne: "≠",
  neq: "≠",
  approx: "≈",
  simeq: "≈",
  sim: "≈",
  equiv: "=",
  in: "∈",
  cup: "∪",
  cap: "∩",
  setminus: "∖",
  backslash: "∖",
  infty: "∞",
  infinity: "∞",
  pi: "π",
  pm: "±",
  mp: "∓",
  cdot: "*",
  times: "*",
  ast: "*",
  div: "/",
  colon: ":",
  langle: "(",
  rangle: ")",
  lbrace: "\\{",
  rbrace: "\\}",
  lbrack: "[",
  rbrack: "]",
  lvert: "|",
  rvert: "|",
  vert: "|",
  mid: "|",
  land: " and ",
  lor: " or ",
  wedge: " and ",
  vee: " or ",
  dfrac: "\\frac",
  tfrac: "\\frac",
  cfrac: "\\frac",
  dbinom: "\\binom",
  tbinom: "\\binom",
  varphi: "\\phi",
  varepsilon: "\\epsilon",
  emptyset: "\\{\\}",
  varnothing: "\\{\\}",
  degree: "",
};

/** Commands that only move ink: spaces, sizes, styles without an argument. */
const layout = new Set(
  "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle limits quad qquad middle hfill hline newline".split(
    " ",
  ),
);

const characters: [RegExp, string][] = [
  [/[−–‒﹣]/g, "-"],
  [/[×⋅·∙]/g, "*"],
  [/÷/g, "/"],
  [/θ/g, "\\theta "],
  [/²/g, "^2"],
  [/³/g, "^3"],
  [/½/g, "\\frac{1}{2}"],
  [/¼/g, "\\frac{1}{4}"],
  [/¾/g, "\\frac{3}{4}"],
  [/[√]\s*(?=[({\d\w])/g, "\\sqrt "],
  [/[“”„″]/g, '"'],
  [/[\u00a0\u2009\u202f]/g, " "],
  [/[°€£¥₹]/g, ""],
];

/** What ends a row of a matrix. */
export const ROW_END = "¶";

export function oneSpelling(text: string): string {
  let out = text;
  for (const [pattern, replacement] of characters) out = out.replace(pattern, replacement);
  // \\frac for \frac: escaped twice. Where there are matrices, \\ ends a row.
  out = out.includes("\\begin")
    ? out.replaceAll("\\\\", ROW_END)
    : out.replace(/\\\\(?=[A-Za-z]{2,}|[{}$%,;!()[\]])/g, "\\");
  return out
    .replace(/(\d)\s*\{?\s*,\s*\}?\s*\\!\s*(?=\d{3})/g, "$1,")
    .replace(/(\d)\s*\{\s*,\s*\}\s*(?=\d{3})/g, "$1,")
    .replace(/(\d)\\[,;: ](?=\d{3}(?!\d))/g, "$1,")
    .replace(/(\d*)\.(\d*)\\overline\s*\{(\d{1,12})\}/g, repeatingDecimal)
    .replace(/\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree))/g, "")
    .replace(/\\q?quad(?=[a-z])/g, " ")
    .replace(/\\[$%#&]|[$%]/g, (sign) => (sign === "\\&" ? " and " : " "))
    .replace(/\\[()[\]]|\\[,;:! ]|[~"]/g, " ")
    .replace(/\\([A-Za-z]+)/g, (whole, command: string) =>
      layout.has(command) ? " " : Object.hasOwn(symbols, command) ? `${symbols[command]} ` : whole,
    )
    .replace(/<=/g, "≤")
    .replace(/>=/g, "≥")
    .replace(/!=/g, "≠")
    .replace(/\*\*/g, "^")
    .replace(/^[\s:]+|[\s.,;:]+$/g, "");
}

/** 0.1\overline{6} as a fraction. */
function repeatingDecimal(whole: string, integer: string, fixed: string, period: string): string {
  if (integer.length + fixed.length > 18) return whole;
  const shift = 10n ** BigInt(fixed.length);
  const nines = 10n ** BigInt(period.length) - 1n;
  const numerator = BigInt(`${integer || "0"}${fixed}`) * nines + BigInt(period);
  return `\\frac{${numerator}}{${shift * nines}}`;
}
