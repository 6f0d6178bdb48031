// The functions of all the examples, in AssemblyScript.

import { none, release, someText, textOf } from "../../../udfs/guests/assemblyscript/millstream";

export { cabi_realloc } from "../../../udfs/guests/assemblyscript/millstream";

export function score(n: i64): i64 {
  return n * 3 + 1;
}

export function email_domain(data: usize, length: usize): usize {
  const email = textOf(data, length);
  const at = email.indexOf("@");
  return at < 0 ? none() : someText(email.substring(at + 1));
}

export function cabi_post_email_domain(result: usize): void {
  release();
}
