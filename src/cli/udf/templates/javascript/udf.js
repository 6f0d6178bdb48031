// A function for Millstream. README.md says how it is built, tested and used, and millstream.js what
// functions can be like.

import { scalar } from "./millstream.js";

export { functions } from "./millstream.js";

/**
 * The domain of an e-mail address, in lower case; NULL where there is none.
 *
 * Nobody calls it for an `email` that is NULL: the answer is NULL. With `email varchar?` it would come
 * as `null`. An exception fails its row, and says why.
 */
function emailDomain(email) {
  const at = email.lastIndexOf("@");
  if (at < 1 || at === email.length - 1) return null;
  return email.slice(at + 1).toLowerCase();
}

scalar("email_domain(email varchar) -> varchar", emailDomain);
