// The functions of all the examples, in AssemblyScript.

import {
  Bytes, Column, Level, RETRACTS, Row, State, VOLATILE, aggregate, config, fail, log, scalar, table,
} from "../../../udfs/guests/assemblyscript/millstream";

export {
  cabi_post_call, cabi_post_describe, cabi_realloc, call, describe,
} from "../../../udfs/guests/assemblyscript/millstream";

scalar("score(n bigint) -> bigint", (row, out) => {
  out.put<i64>(row.get<i64>(0) * 3 + 1);
});

scalar("email_domain(email varchar) -> varchar", (row, out) => {
  const email = row.text(0);
  const at = email.indexOf("@");
  if (at < 0) out.putNull();
  else out.putText(email.substring(at + 1));
});

// --- a table: rows for each row ---

table("words(text varchar) -> row<word varchar, position int>", (row, out) => {
  const words = row.text(0).split(" ");
  let position = 0;
  for (let i = 0; i < words.length; i++) {
    if (words[i] == "") continue;
    out.field(0).putText(words[i]);
    out.field(1).put<i32>(++position);
    out.putRow();
  }
});

// --- an aggregate: a value for a group of rows ---

/** How often each number came. */
class Mode extends State {
  private counts: Map<i64, u64> = new Map();

  private add(n: i64, count: u64): void {
    this.counts.set(n, count + (this.counts.has(n) ? this.counts.get(n) : 0));
  }

  update(row: Row): void {
    this.add(row.get<i64>(0), 1);
  }

  retract(row: Row): void {
    const n = row.get<i64>(0);
    if (this.counts.has(n) && this.counts.get(n) > 1) this.counts.set(n, this.counts.get(n) - 1);
    else this.counts.delete(n);
  }

  merge(other: State): void {
    const counts = changetype<Mode>(other).counts;
    const numbers = counts.keys();
    for (let i = 0; i < numbers.length; i++) this.add(numbers[i], counts.get(numbers[i]));
  }

  /** The least of those that came most often. */
  finish(out: Column): void {
    const numbers = this.counts.keys().sort();
    let most = -1;
    for (let i = 0; i < numbers.length; i++) {
      if (most < 0 || this.counts.get(numbers[i]) > this.counts.get(numbers[most])) most = i;
    }
    if (most < 0) out.putNull();
    else out.put<i64>(numbers[most]);
  }

  save(to: Bytes): void {
    const numbers = this.counts.keys();
    for (let i = 0; i < numbers.length; i++) {
      to.put<i64>(numbers[i]);
      to.put<u64>(this.counts.get(numbers[i]));
    }
  }

  load(from: Bytes): void {
    while (from.rest > 0) {
      const n = from.get<i64>();
      this.counts.set(n, from.get<u64>());
    }
  }
}

aggregate<Mode>("mode(n bigint) -> bigint", RETRACTS);

// --- NULL, a default, what fails, what the pipeline file has ---

scalar("first_of(first varchar?, second varchar?, otherwise varchar? = '?') -> varchar", (row, out) => {
  for (let column = 0; column < 3; column++) {
    if (!row.isNull(column)) {
      out.putText(row.text(column));
      return;
    }
  }
  out.putNull();
});

scalar("half(n bigint) -> bigint", (row, out) => {
  const n = row.get<i64>(0);
  if (n % 2 != 0) fail(`${n} is odd`);
  else out.put<i64>(n / 2);
});

scalar("greeting() -> varchar", (row, out) => {
  log(Level.Debug, "greets");
  const greeting = config("greeting");
  if (greeting === null) out.putNull();
  else out.putText(greeting);
}, VOLATILE);

// --- a type after the other ---

const ALL = `row<truth boolean, tiny tinyint, small smallint unsigned, large bigint unsigned,
  real real, double double, bytes bytea, json json, date date, time time, local timestamp,
  zoned timestamptz, price decimal(20, 4), tags array<varchar>, nested array<array<int>>>`;

function same<T>(all: Row, at: i32, out: Column): void {
  if (all.isNull(at)) out.putNull();
  else out.put<T>(all.get<T>(at));
}

/** Reads each type, and writes it as it was. */
scalar(`same(all ${ALL}?) -> ${ALL}`, (row, out) => {
  if (row.isNull(0)) {
    out.putNull();
    return;
  }
  const all = row.fields(0);
  same<bool>(all, 0, out.field(0));
  same<i8>(all, 1, out.field(1));
  same<u16>(all, 2, out.field(2));
  same<u64>(all, 3, out.field(3));
  same<f32>(all, 4, out.field(4));
  same<f64>(all, 5, out.field(5));
  if (all.isNull(6)) out.field(6).putNull();
  else out.field(6).putBytes(all.bytes(6));
  sameText(all, 7, out.field(7));
  same<i32>(all, 8, out.field(8));
  same<i64>(all, 9, out.field(9));
  same<i64>(all, 10, out.field(10));
  same<i64>(all, 11, out.field(11));
  if (all.isNull(12)) out.field(12).putNull();
  else out.field(12).putDecimal(all.low(12), all.high(12));
  sameArray(all, 13, out.field(13), sameText);
  sameArray(all, 14, out.field(14), (array, at, out) => sameArray(array, at, out, sameInt));
  out.putRow();
});

function sameInt(all: Row, at: i32, out: Column): void {
  same<i32>(all, at, out);
}

function sameText(all: Row, at: i32, out: Column): void {
  if (all.isNull(at)) out.putNull();
  else out.putText(all.text(at));
}

function sameArray(all: Row, at: i32, out: Column, item: (all: Row, at: i32, out: Column) => void): void {
  if (all.isNull(at)) {
    out.putNull();
    return;
  }
  const count = all.count(at);
  for (let i = 0; i < count; i++) item(all.item(at, i), 0, out.items);
  out.putArray();
}
