// Typed functions in JavaScript, by typed.wit, with nothing but the functions.

export function score(n) {
  // A 64-bit number comes as a BigInt without its sign; see README.md.
  return BigInt.asIntN(64, BigInt.asIntN(64, n) * 3n + 1n);
}

export function emailDomain(email) {
  const at = email.indexOf("@");
  return at < 0 ? undefined : email.slice(at + 1);
}
