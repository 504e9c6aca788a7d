/** What went wrong between this machine and the hub, in words that say what to do about it. */
import { TinyLoraError } from "../error.js";

export interface Asked {
  /** hf://datasets/owner/name@revision */
  readonly address: string;
  /** Of the hub, or "the hub" where it is the client's own. */
  readonly url: string;
  readonly token: boolean;
  /** Seconds that the hub may be silent. */
  readonly patience: number;
  /** The file that was asked for; of the repository itself when not given. */
  readonly file?: string;
}

/** What went wrong; `hubError` adds where. */
export function failed(reason: string): TinyLoraError {
  return new TinyLoraError("ERR_HUB", reason);
}

/** ERR_HUB, but for errors of this package's that are about something else. */
export function hubError(error: unknown, asked: Asked): TinyLoraError {
  if (error instanceof TinyLoraError && error.code !== "ERR_HUB") return error;
  const where = asked.file === undefined ? asked.address : `${asked.address}: ${asked.file}`;
  return new TinyLoraError("ERR_HUB", `${where}: ${reasonOf(error, asked)}`, { cause: error });
}

function reasonOf(error: unknown, { url, token, patience, file }: Asked): string {
  const { message } = error as Error;
  if (error instanceof TinyLoraError) return message;
  const status = statusOf(error);
  if (status !== undefined) return statusText(status, token, file !== undefined);
  if (isSilence(error)) {
    return `no byte from ${url} for ${patience} s: try again later, or raise HF_HUB_DOWNLOAD_TIMEOUT (seconds)`;
  }
  if (isUnreachable(error)) {
    const { code, message: detail } = error.cause;
    return `${url} cannot be reached (${code ?? detail}): try again when there is a network, or let HF_ENDPOINT name another hub`;
  }
  return `what answers at ${url} does not speak the hub's protocol (${message.split("\n")[0]}): does HF_ENDPOINT name a hub, or is there a login page of the network?`;
}

function statusText(status: number, token: boolean, file: boolean): string {
  if (status === 401 || status === 403) {
    const cure = token ? "may the token in HF_TOKEN read it?" : "A gated set needs HF_TOKEN";
    return `the hub refuses it (${status}): is the name right? ${cure}`;
  }
  if (status === 404) return `the hub has no such ${file ? "file" : "data set or revision"} (404)`;
  if (status === 429)
    return `the hub is asked too often (429): try again later${token ? "" : "; HF_TOKEN raises its limit"}`;
  return `the hub answers with status ${status}${status >= 500 ? ": try again later" : ""}`;
}

/** A "no" that another try would not change. */
export function isRefusal(error: unknown): boolean {
  if (error instanceof TinyLoraError) return error.code !== "ERR_HUB";
  const status = statusOf(error);
  return status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
}

/** No answer from the hub that says anything of what was asked for. */
export function isOutage(error: unknown): boolean {
  const status = statusOf(error);
  return isSilence(error) || isUnreachable(error) || (status !== undefined && (status >= 500 || status === 429));
}

function statusOf(error: unknown): number | undefined {
  const { statusCode } = error as { statusCode?: unknown };
  return typeof statusCode === "number" ? statusCode : undefined;
}

function isSilence(error: unknown): boolean {
  return (error as Error).name === "TimeoutError";
}

/** What fetch throws: "fetch failed", or "terminated" where an answer breaks off. */
function isUnreachable(error: unknown): error is Error & { cause: Error & { code?: string } } {
  return error instanceof TypeError && error.cause instanceof Error;
}
