// A function for Millstream. README.md says how it is built, tested and used, and millstream.ts
// what functions can be like.

import { scalar } from "./millstream";

export { cabi_post_call, cabi_post_describe, cabi_realloc, call, describe } from "./millstream";

/**
 * The domain of an e-mail address, in lower case; NULL where there is none.
 *
 * Nobody calls it for an `email` that is NULL: the answer is NULL. With `email varchar?` it would see
 * that by `row.isNull(0)`. `fail(message)` fails its row, and says why.
 */
scalar("email_domain(email varchar) -> varchar", (row, out) => {
  const email = row.text(0);
  const at = email.lastIndexOf("@");
  if (at < 1 || at == email.length - 1) out.putNull();
  else out.putText(email.substring(at + 1).toLowerCase());
});
