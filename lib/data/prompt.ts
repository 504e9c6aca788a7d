import type { Message } from "../model/chat-template.js";
import { shots as workedExamples } from "./shots.js";

/** What the model reads: messages for its chat template, or a text to continue. */
export type ProblemPrompt = readonly Message[] | string;

/** How a question becomes a prompt. */
export interface PromptStyle {
  readonly prompt_style: "chat" | "text";
  readonly shots: number;
  readonly system: string | null;
  readonly suffix: string | null;
}

/** A question as the model sees it, after `shots` worked examples in the same form. */
export function toPrompt(question: string, style: PromptStyle): ProblemPrompt {
  const examples = workedExamples.slice(0, style.shots);
  const ask = (text: string) => (style.suffix === null ? text : `${text}\n${style.suffix}`);
  if (style.prompt_style === "text") {
    const blocks = examples.map((shot) => `Question: ${ask(shot.question)}\nAnswer: ${shot.solution}`);
    const system = style.system === null ? [] : [style.system];
    return [...system, ...blocks, `Question: ${ask(question)}\nAnswer:`].join("\n\n");
  }
  const system: Message[] = style.system === null ? [] : [{ role: "system", content: style.system }];
  const turns = examples.flatMap((shot): Message[] => [
    { role: "user", content: ask(shot.question) },
    { role: "assistant", content: shot.solution },
  ]);
  return [...system, ...turns, { role: "user", content: ask(question) }];
}

/** Texts that end a completion because the model has gone on to another problem. */
export function stopStrings(style: PromptStyle): string[] {
  return style.prompt_style === "text" ? ["\nQuestion:", "\n\n\n"] : [];
}
