/** A file that is being fetched. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";

export async function sizeOf(path: string): Promise<number | null> {
  return stat(path).then(
    ({ size }) => size,
    () => null,
  );
}

/** As the hub gives it: SHA-256 of a large file, or git's hash of another. */
export async function hashOf(
  path: string,
  { hash, size }: { readonly hash: string; readonly size: number },
): Promise<string> {
  const sha = createHash(hash.length === 64 ? "sha256" : "sha1");
  if (hash.length !== 64) sha.update(`blob ${size}\0`); // as git hashes a file
  await pipeline(createReadStream(path), sha);
  return sha.digest("hex");
}
