// Functions for Millstream in AssemblyScript, by the canonical ABI: this file and the functions'
// types in WIT are all that is needed.
//
//     import { textOf, someText, none, release } from "./millstream";
//     export { cabi_realloc } from "./millstream";
//
//     export function email_domain(data: usize, length: usize): usize {
//       const email = textOf(data, length);
//       const at = email.indexOf("@");
//       return at < 0 ? none() : someText(email.substring(at + 1));
//     }
//     export function cabi_post_email_domain(result: usize): void { release(); }
//
// with, in udf.wit,
//
//     export email-domain: func(email: string) -> option<string>;
//
// Numbers come and go as they are. A `string` comes as an address and a length; `textOf` takes it.
// A result of type `string` or `option<string>` is the address of `text(…)`, or of `someText(…)` or
// `none()`, and needs a `cabi_post_…` that calls `release`, for when it has been read.

/** Memory for what the host hands over. */
export function cabi_realloc(old: usize, length: usize, align: usize, size: usize): usize {
  // An address that is aligned is all that is asked for.
  if (size == 0) return align;
  return length == 0 ? heap.alloc(size) : heap.realloc(old, size);
}

/** A text that the host hands over; its memory is free then. */
export function textOf(data: usize, length: usize): string {
  const text = String.UTF8.decodeUnsafe(data, length);
  if (length > 0) heap.free(data);
  return text;
}

/** The record that a function gives: for an option, first whether it is there. */
const record = memory.data(12);
/** Bytes of the text that was given last. */
let given: usize = 0;

function put(at: usize, text: string): void {
  const length = String.UTF8.byteLength(text);
  release();
  given = heap.alloc(length);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, given);
  store<u32>(at, <u32>given);
  store<u32>(at, length, 4);
}

export function text(text: string): usize {
  put(record, text);
  return record;
}

export function someText(text: string): usize {
  store<u8>(record, 1);
  put(record + 4, text);
  return record;
}

export function none(): usize {
  store<u8>(record, 0);
  return record;
}

/** The host has read what it was given. */
export function release(): void {
  if (given != 0) heap.free(given);
  given = 0;
}
