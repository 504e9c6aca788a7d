import { failed } from "./hub-error.js";

/** Bytes of what the hub answers besides files. */
const LONGEST_ANSWER = 2 ** 24;

/** An answer that ends with an error where it is far longer than any list of files. */
export function limited(response: Response): Response {
  if (!response.body) return response;
  let length = 0;
  const count = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      length += chunk.byteLength;
      if (length > LONGEST_ANSWER) controller.error(failed(`expected an answer of at most ${LONGEST_ANSWER} bytes`));
      else controller.enqueue(chunk);
    },
  });
  const { status, statusText, headers, url } = response;
  const answer = new Response(response.body.pipeThrough(count), { status, statusText, headers });
  Object.defineProperty(answer, "url", { value: url });
  return answer;
}
