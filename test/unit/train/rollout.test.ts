import { expect, it } from "vitest";
import type { TrainOptions } from "../../../lib/config/schema.js";
import type { SampleRequest } from "../../../lib/native/addon.js";
import { FakePolicy } from "./fake-policy.js";
import { makeTrainer } from "./small-run.js";

type Request = Omit<SampleRequest, "id">;

/** What a run of two steps asks to be sampled, three problems a step. */
async function requestsOf(config: TrainOptions): Promise<Request[]> {
  const policy = new FakePolicy();
  const requests: Request[] = [];
  const submit = policy.submit.bind(policy);
  policy.submit = (request, onEvent) => {
    requests.push(request);
    return submit(request, onEvent);
  };
  await makeTrainer({ policy, config: { max_steps: 2, eval_steps: 0, ...config } }).train();
  expect(requests).toHaveLength(6);
  return requests;
}

it("samples as the options say, a request for each problem", async () => {
  const requests = await requestsOf({
    ...{ temperature: 0.8, top_p: 0.9, top_k: 5, min_p: 0.1, stop: ["END"], max_completion_length: 6 },
  });
  for (const [i, request] of requests.entries()) {
    expect(request).toMatchObject({
      ...{ slot: 0, numGenerations: 4, firstSequence: 4 * (i % 3), maxCompletionLength: 6, stream: false },
      ...{ temperature: 0.8, topP: 0.9, topK: 5, minP: 0.1, stopStrings: ["END"] },
    });
    expect([...request.stopTokens]).toEqual(new FakePolicy().tokenizer.stopTokens);
  }
});

it("stops where a plain text goes on to another problem, and at the texts that are asked for", async () => {
  for (const { stopStrings } of await requestsOf({ prompt_style: "text", stop: ["END", "."] })) {
    expect(stopStrings).toEqual(["\nQuestion:", "\n\n\n", "END", "."]);
  }
});

it("has one seed a step, others for another run", async () => {
  const seeds = async (seed: number) => (await requestsOf({ seed })).map((request) => request.seed);
  const [one, same, other] = [await seeds(1), await seeds(1), await seeds(2)];
  expect(one).toEqual([...Array(3).fill(one[0]), ...Array(3).fill(one[3])]);
  expect(same).toEqual(one);
  expect(new Set([...one, ...other]).size).toBe(4);
});

it("refuses a completion of another v than the step's", async () => {
  const policy = new FakePolicy();
  const submit = policy.submit.bind(policy);
  policy.submit = (request, onEvent) =>
    submit(request, (event) =>
      onEvent(event.type === "finished" && event.completion === 3 ? { ...event, version: event.version + 1 } : event),
    );
  const failed = makeTrainer({ policy, config: { eval_steps: 0 } }).train();
  await expect(failed).rejects.toThrow(/^sampling: expected version \d+ of v, found \d+$/);
});

it.each(["fails", "comes to the signal"])("cancels what is still being sampled where a reward %s", async (how) => {
  const policy = new FakePolicy();
  const controller = new AbortController();
  const submit = policy.submit.bind(policy);
  let cancelled = 0;
  policy.submit = (request, onEvent) => {
    const cancel = submit(request, onEvent);
    return () => {
      cancelled++;
      cancel();
    };
  };
  const bad = () => {
    if (how === "fails") throw new Error("bad");
    controller.abort();
    return 1;
  };
  const training = makeTrainer({ policy, rewards: { bad }, config: { eval_steps: 0 } }).train({
    signal: controller.signal,
  });
  if (how === "fails") await expect(training).rejects.toThrow(/threw Error: bad/);
  else expect(await training).toMatchObject({ stopped: "aborted", step: 0 });
  expect(cancelled).toBe(3);
});
