import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A local server that speaks as much of the hub's protocol as reading data sets needs, and misbehaves on request. */
export class HubServer {
  readonly requests: string[] = [];
  /** Files of owner/name; those in `large` are announced with a SHA-256, as the hub does for LFS. */
  files: Record<string, Buffer> = {};
  readonly large = new Set<string>();
  commit = "a".repeat(40);
  /** Answers every request with this status. */
  status: number | undefined;
  /** Answers the first requests for these, so many, with status 503, or by breaking off. */
  outage: { path: RegExp; how: "status" | "break"; times: number } | undefined;
  /** Answers requests for these with nothing ever, with a page, or by sending them to themselves. */
  silent: RegExp | undefined;
  /** Called when it answers nothing any more, as `silent` and `stall` have it. */
  onSilence = (): void => {};
  page: RegExp | undefined;
  circle: RegExp | undefined;
  /** Answers requests for these without an end, but for the question how long a file is. */
  endless: RegExp | undefined;
  /** Ends each file's answer after so many bytes, so many times, when `after` has seen them arrive: the file's first so many. */
  cut: { bytes: number; times: number; after: (size: number) => Promise<void> } | undefined;
  /** Sends so many bytes of each file's answer and then nothing, without an end. */
  stall: number | undefined;
  /** Sends other bytes than announced, so many times. */
  corrupt = 0;
  token: string | undefined;
  #server: Server = createServer((request, response) => this.#answer(request, response));

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url!, "http://hub").pathname);
    this.requests.push(`${path} ${request.headers.range ?? ""}`.trim());
    const [, tree] = /^\/api\/datasets\/owner\/name\/tree\/(\w+)$/.exec(path) ?? [];
    const [, revision] = /^\/api\/datasets\/owner\/name\/revision\/(\w+)$/.exec(path) ?? [];
    const [, commit, file] = /^\/datasets\/owner\/name\/resolve\/(\w+)\/(.+)$/.exec(path) ?? [];
    const bytes = commit === this.commit && file ? this.files[file] : undefined;
    if (this.silent?.test(path)) {
      this.onSilence();
      return;
    }
    if (this.endless?.test(path) && request.headers.range !== "bytes=0-0") {
      const more = (error?: Error | null) => void (error || response.write("[".repeat(2 ** 16), more));
      response.writeHead(200, { "content-type": "application/json" });
      more();
      return;
    }
    if (this.outage?.path.test(path) && this.outage.times-- > 0) {
      if (this.outage.how === "status") this.#json(response, 503, { error: "the server is busy" });
      else response.writeHead(200, { "content-length": 1000 }).write("[{", () => response.destroy());
      return;
    }
    if (this.page?.test(path)) response.writeHead(200, { "content-type": "text/html" }).end("<html>log in</html>");
    else if (this.circle?.test(path)) response.writeHead(302, { location: request.url }).end();
    else if (this.status) this.#json(response, this.status, { error: "the server says no" });
    else if (this.token && request.headers.authorization !== `Bearer ${this.token}`) {
      this.#json(response, 401, { error: "Invalid username or password." });
    } else if (revision === "main") this.#json(response, 200, { _id: "1", id: "owner/name", sha: this.commit });
    else if (tree === this.commit) this.#json(response, 200, this.#tree());
    else if (bytes) this.#file(request, response, bytes);
    else this.#json(response, 404, { error: "Repository not found" });
  }

  #tree(): object[] {
    return Object.entries(this.files).map(([path, bytes]) => {
      const git = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
      const lfs = { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, pointerSize: 130 };
      return { type: "file", path, size: bytes.length, oid: git, ...(this.large.has(path) ? { lfs } : {}) };
    });
  }

  #file(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
    const [, from = "0", to = ""] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "") ?? [];
    const end = to === "" ? bytes.length : Math.min(Number(to) + 1, bytes.length);
    let body = bytes.subarray(Number(from), end);
    const probe = request.headers.range === "bytes=0-0";
    response.writeHead(request.headers.range ? 206 : 200, {
      etag: '"etag"',
      "content-length": body.length,
      ...(request.headers.range ? { "content-range": `bytes ${from}-${end - 1}/${bytes.length}` } : {}),
    });
    if (!probe && this.corrupt > 0) {
      this.corrupt--;
      body = Buffer.alloc(body.length, "x");
    }
    if (!probe && this.stall !== undefined) response.write(body.subarray(0, this.stall), () => this.onSilence());
    else if (!probe && this.cut && this.cut.times > 0) {
      const { bytes: some, after } = this.cut;
      this.cut.times--;
      response.write(body.subarray(0, some), () => after(Number(from) + some).then(() => response.destroy()));
    } else response.end(body);
  }

  #json(response: ServerResponse, status: number, value: unknown): void {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  }
}
