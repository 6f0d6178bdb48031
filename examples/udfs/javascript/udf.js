// The functions of all the examples, in JavaScript.

import { aggregate, config, log, scalar, table } from "./millstream.js";

export { functions } from "./millstream.js";

// A BigInt has no end: bigint's wrap around.
scalar("score(n bigint) -> bigint", (n) => BigInt.asIntN(64, n * 3n + 1n));

scalar("email_domain(email varchar) -> varchar", (email) => {
  const at = email.indexOf("@");
  return at < 0 ? null : email.slice(at + 1);
});

// --- a table: rows for each row ---

table("words(text varchar) -> row<word varchar, position int>", (text) => {
  const words = text.split(" ").filter((word) => word !== "");
  return words.map((word, at) => ({ word, position: at + 1 }));
});

// --- an aggregate: a value for a group of rows ---

class Mode {
  // How often each number came.
  counts = new Map();

  add(n, count) {
    this.counts.set(n, (this.counts.get(n) ?? 0) + count);
  }

  update(n) {
    this.add(n, 1);
  }

  retract(n) {
    const count = this.counts.get(n) ?? 0;
    if (count > 1) this.counts.set(n, count - 1);
    else this.counts.delete(n);
  }

  merge(other) {
    for (const [n, count] of other.counts) this.add(n, count);
  }

  // The least of those that came most often.
  finish() {
    let most = null;
    for (const [n, count] of this.counts) {
      const isMore = most === null || count > most.count || (count === most.count && n < most.n);
      if (isMore) most = { n, count };
    }
    return most?.n;
  }
}

aggregate("mode(n bigint) -> bigint", Mode);

// --- NULL, a default, what fails, what the pipeline file has ---

scalar(
  "first_of(first varchar?, second varchar?, otherwise varchar? = '?') -> varchar",
  (first, second, otherwise) => first ?? second ?? otherwise,
);

scalar("half(n bigint) -> bigint", (n) => {
  if (n % 2n !== 0n) throw new Error(`${n} is odd`);
  return n / 2n;
});

scalar(
  "greeting() -> varchar",
  () => {
    log("debug", "greets");
    return config("greeting");
  },
  { deterministic: false },
);

// --- a type after the other ---

const ALL = `row<truth boolean, tiny tinyint, small smallint unsigned, large bigint unsigned,
  real real, double double, bytes bytea, json json, date date, time time, local timestamp,
  zoned timestamptz, price decimal(20, 4), tags array<varchar>, nested array<array<int>>>`;

// Reads each type, and writes it as it was.
scalar(`same(all ${ALL}?) -> ${ALL}`, (all) => all);
