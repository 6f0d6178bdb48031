// A function for Millstream. README.md says how it is built, tested and used.

/**
 * The domain of an e-mail address, in lower case; NULL where there is none.
 *
 * Nobody calls it for an `email` that is NULL: the answer is NULL. As `option<string>` in
 * email_domain.wit it would come as `undefined`. An exception fails a row.
 */
export function emailDomain(email) {
  const at = email.lastIndexOf("@");
  if (at < 1 || at === email.length - 1) return undefined;
  return email.slice(at + 1).toLowerCase();
}
