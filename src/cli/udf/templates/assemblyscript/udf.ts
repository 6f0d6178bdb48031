// A function for Millstream. README.md says how it is built, tested and used, and millstream.ts
// what functions can be like.

import { none, release, someText, textOf } from "./millstream";

export { cabi_realloc } from "./millstream";

/**
 * The domain of an e-mail address, in lower case; NULL where there is none.
 *
 * Nobody calls it for an `email` that is NULL: the answer is NULL. `assert(false)` fails a row.
 */
export function email_domain(data: usize, length: usize): usize {
  const email = textOf(data, length);
  const at = email.lastIndexOf("@");
  if (at < 1 || at == email.length - 1) return none();
  return someText(email.substring(at + 1).toLowerCase());
}

export function cabi_post_email_domain(result: usize): void {
  release();
}
