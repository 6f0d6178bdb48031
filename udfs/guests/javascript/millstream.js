// Functions for Millstream in JavaScript: this file is all that is needed.
//
//     import { scalar } from "./millstream.js";
//     export { functions } from "./millstream.js";
//
//     scalar("email_domain(email varchar) -> varchar", (email) => {
//       const at = email.indexOf("@");
//       return at < 0 ? null : email.slice(at + 1);
//     });
//
// and componentize-js, with Millstream's udf.wit: see `build.mjs` in examples/udfs/javascript.
//
// A function is declared as SQL spells it, and called for each row; the host calls the module once
// for a batch of them. It does not see rows with an argument that is NULL, unless the argument's type
// has a `?` behind it, `email varchar?`: it is `null` then. What comes after `=` is a default.
//
// | SQL | JavaScript |
// |---|---|
// | boolean | boolean |
// | tinyint, smallint, int; unsigned; real, double | number |
// | bigint, bigint unsigned | BigInt |
// | varchar, json; bytea | string; Uint8Array |
// | date | number, of days since 1970-01-01 |
// | time; timestamp, timestamptz | BigInt, of microseconds since midnight; since 1970-01-01 |
// | decimal(p, s) | BigInt, of all digits without the point |
// | array<T>; row<name T, …> | array; object |
// | NULL | null; undefined is taken for it |
//
// An exception fails its row, as does a value that does not fit its type. `{ deterministic: false }`
// as the last argument says that the same arguments do not always give the same value.
//
// A table gives any number of values for a row, in an array or by `yield`:
//
//     table("letters(text varchar) -> varchar", (text) => [...text]);
//
// An aggregate is a class, whose objects are the states of groups. They are kept as their fields, of
// what JSON has, BigInt and Map: a later version of a module reads what an earlier one has kept, and
// needs another name if it has other fields. With `retract(…)`, it takes rows back.
//
//     aggregate("mean(x double) -> double", class {
//       sum = 0;
//       count = 0;
//       update(x) { this.sum += x; this.count += 1; }
//       // The rows of a part of the group that was computed elsewhere.
//       merge(other) { this.sum += other.sum; this.count += other.count; }
//       finish() { return this.count > 0 ? this.sum / this.count : null; }
//     });

// `millstream_http.js` sends requests to servers.

import { config, log } from "millstream:udf/host@0.1.0";

/** `log("info", message)` writes to the pipeline's log; `config(name)` is a value that the pipeline
 * file has for this module, or undefined. */
export { config, log };

export function scalar(declaration, evaluate, options) {
  declare("scalar", declaration, options, (of, _, input) =>
    written([of.returns, callRows(of, input, evaluate)]),
  );
}

export function table(declaration, expand, options) {
  declare("table", declaration, options, (of, _, input) => {
    const rows = [];
    const values = [];
    callRows(of, input, (...row) => [...expand(...row)]).forEach((of, row) => {
      for (const value of of ?? []) {
        rows.push(row);
        values.push(value);
      }
    });
    return written([numbers.get("int unsigned"), rows], [of.returns, values, rows]);
  });
}

export function aggregate(declaration, State, options) {
  const retracts = State.prototype.retract !== undefined;
  declare("aggregate", declaration, { ...options, retracts }, (of, operation, input) => {
    const states = bytea.read(input).map((kept) => load(State, kept));
    if (operation === "finish") {
      return written([of.returns, byRow(states.length, (at) => states[at].finish())]);
    }
    const groups = numbers.get("int unsigned").read(input);
    const ofRow = (row) => states[groups[row]];
    if (operation === "merge") {
      const others = bytea.read(input);
      byRow(input.rows, (row) => others[row] && ofRow(row).merge(load(State, others[row])));
    } else {
      callRows(of, input, State.prototype[operation], ofRow);
    }
    return written([bytea, states.map(save)]);
  });
}

/** What the module exports. */
export const functions = {
  describe: () => all.map((of) => of.signature),

  call(number, operation, batch) {
    const input = { rows: batch.rows, nodes: batch.nodes.values(), buffers: batch.buffers.values() };
    try {
      return all[number].call(all[number], operation, input);
    } catch (error) {
      throw failure(error);
    }
  },
};

const all = [];

function declare(kind, declaration, options = {}, call) {
  const { name, parameters, returns } = parse(declaration);
  const { deterministic = true, retracts = false } = options;
  const seesNull = parameters.some((parameter) => parameter.isOptional);
  const signature = {
    name,
    kind,
    arguments: parameters.map((of) => ({ name: of.name, type: of.column.name, default: of.default })),
    returns: returns.name,
    nulls: seesNull ? "pass" : "skip",
    deterministic,
    retracts,
  };
  all.push({ signature, parameters, returns, call });
}

/** What a function gives for each row that it sees; null, for others. Loops are plain ones here and
 * below: there is no compiler that would make others as fast. */
function callRows(of, input, f, self = () => undefined) {
  const columns = of.parameters.map((parameter) => parameter.column.read(input));
  // The host leaves out rows with a NULL, unless there is an argument that may be one.
  const required = columns.filter((_, at) => !of.parameters[at].isOptional);
  const isMixed = required.length > 0 && required.length < columns.length;
  const [first] = columns;
  if (columns.length === 1) return byRow(input.rows, (row) => f.call(self(row), first[row]));
  return byRow(input.rows, (row) => {
    if (isMixed && required.some((column) => column[row] === null)) return null;
    return f.apply(self(row), columns.map((column) => column[row]));
  });
}

// --- failures ---

function failure(error, row) {
  // It was made one where its row was known.
  if (error?.message !== undefined && !(error instanceof Error)) return error;
  const isPlain = error?.name === "Error" || error?.name === "RangeError";
  const message = isPlain ? error.message : String(error);
  log("debug", `${message} ${error?.stack ?? ""}`);
  return { row, message };
}

/** What `make` gives for each row; what it throws is the failure of the row. */
function byRow(rows, make) {
  const made = new Array(rows);
  let row = 0;
  try {
    for (; row < rows; row++) made[row] = make(row);
  } catch (error) {
    throw failure(error, row);
  }
  return made;
}

function written(...columns) {
  const output = { nodes: [], buffers: [] };
  for (const [column, values, rows] of columns) {
    try {
      column.write(values, output);
    } catch (error) {
      const at = values.findIndex((value) => !fits(column, value));
      throw failure(error, at < 0 ? undefined : (rows?.[at] ?? at));
    }
  }
  return { rows: output.nodes[0].length, ...output };
}

function fits(column, value) {
  try {
    column.write([value], { nodes: [], buffers: [] });
    return true;
  } catch {
    return false;
  }
}

// --- states as bytes ---

const toJson = (_, value) => {
  if (typeof value === "bigint") return { $bigint: value.toString() };
  return value instanceof Map ? { $map: [...value] } : value;
};

const fromJson = (_, value) => {
  if (value?.$bigint !== undefined) return BigInt(value.$bigint);
  return value?.$map !== undefined ? new Map(value.$map) : value;
};

const save = (state) => encoder.encode(JSON.stringify({ ...state }, toJson));

function load(State, kept) {
  const state = new State();
  if (kept === null) return state;
  try {
    return Object.assign(state, JSON.parse(decoder.decode(kept), fromJson));
  } catch {
    throw new Error("the state that was kept is of another version of this function");
  }
}

// --- columns: arrays of values, null for NULL ---

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

const bit = (bits, at) => ((bits[at >> 3] >> (at & 7)) & 1) === 1;

function bitsOf(values, isSet) {
  const bits = new Uint8Array((values.length + 7) >> 3);
  for (let at = 0; at < values.length; at++) {
    if (isSet(values[at])) bits[at >> 3] |= 1 << (at & 7);
  }
  return bits;
}

/** Bytes as numbers; a copy, as they may begin anywhere. */
const numbersOf = (Numbers, bytes) => new Numbers(bytes.slice().buffer);
const bytesOf = (numbers) => new Uint8Array(numbers.buffer);

function column(name, readValues, writeValues) {
  return {
    name,
    read(input) {
      const { length } = input.nodes.next().value;
      const validity = input.buffers.next().value;
      const values = readValues(input, length);
      if (validity.length === 0) return values;
      const some = new Array(length);
      for (let at = 0; at < length; at++) some[at] = bit(validity, at) ? values[at] : null;
      return some;
    },
    write(values, output) {
      let nulls = 0;
      for (let at = 0; at < values.length; at++) if (values[at] == null) nulls++;
      output.nodes.push({ length: values.length, nulls });
      output.buffers.push(nulls > 0 ? bitsOf(values, (value) => value != null) : new Uint8Array(0));
      writeValues(output, values);
    },
  };
}

const doesNotFit = (value, name) => new RangeError(`${value} does not fit ${name}`);

/** What an array of numbers has made of one that is put there tells whether it fits. */
function numbersColumn(name, Numbers) {
  const isRounded = Numbers === Float32Array || Numbers === Float64Array;
  const read = (input) => numbersOf(Numbers, input.buffers.next().value);
  return column(name, read, (output, values) => {
    const numbers = new Numbers(values.length);
    for (let at = 0; at < values.length; at++) {
      const value = values[at];
      if (value == null) continue;
      numbers[at] = value;
      const fits = isRounded ? typeof value === "number" : numbers[at] === value;
      if (!fits) throw doesNotFit(value, name);
    }
    output.buffers.push(bytesOf(numbers));
  });
}

const numbers = new Map(
  [
    ["tinyint", Int8Array],
    ["smallint", Int16Array],
    ["int", Int32Array],
    ["bigint", BigInt64Array],
    ["tinyint unsigned", Uint8Array],
    ["smallint unsigned", Uint16Array],
    ["int unsigned", Uint32Array],
    ["bigint unsigned", BigUint64Array],
    ["real", Float32Array],
    ["double", Float64Array],
    ["date", Int32Array],
    ["time", BigInt64Array],
    ["timestamp", BigInt64Array],
    ["timestamptz", BigInt64Array],
  ].map(([name, Numbers]) => [name, numbersColumn(name, Numbers)]),
);

const boolean = column(
  "boolean",
  (input, length) => {
    const bits = input.buffers.next().value;
    return Array.from({ length }, (_, at) => bit(bits, at));
  },
  (output, values) => output.buffers.push(bitsOf(values, (value) => value)),
);

function decimal(precision, scale) {
  const name = `decimal(${precision}, ${scale})`;
  const end = 10n ** BigInt(precision);
  const read = (input, length) => {
    const halves = numbersOf(BigInt64Array, input.buffers.next().value);
    const value = (at) => (halves[2 * at + 1] << 64n) | BigInt.asUintN(64, halves[2 * at]);
    return Array.from({ length }, (_, at) => value(at));
  };
  return column(name, read, (output, values) => {
    const halves = new BigInt64Array(2 * values.length);
    values.forEach((value, at) => {
      if (value == null) return;
      if (typeof value !== "bigint" || value >= end || value <= -end) throw doesNotFit(value, name);
      halves[2 * at] = BigInt.asIntN(64, value);
      halves[2 * at + 1] = value >> 64n;
    });
    output.buffers.push(bytesOf(halves));
  });
}

/** Where each item ends, from 0; the host reads them as signed. */
function endsOf(items) {
  const ends = new Int32Array(items.length + 1);
  let end = 0;
  for (let at = 0; at < items.length; at++) {
    end += items[at] == null ? 0 : items[at].length;
    ends[at + 1] = end;
  }
  if (end >= 2 ** 31) throw new RangeError("its results are longer than 2 GB");
  return bytesOf(ends);
}

function pushBytes(output, pieces) {
  const ends = endsOf(pieces);
  const bytes = new Uint8Array(new Int32Array(ends.buffer)[pieces.length]);
  let end = 0;
  for (const piece of pieces) {
    if (piece == null) continue;
    bytes.set(piece, end);
    end += piece.length;
  }
  output.buffers.push(ends, bytes);
}

const bytea = column(
  "bytea",
  (input, length) => {
    const ends = numbersOf(Uint32Array, input.buffers.next().value);
    const bytes = input.buffers.next().value;
    // A copy of our own: what the host gives has other constructors.
    return Array.from({ length }, (_, at) => new Uint8Array(bytes.subarray(ends[at], ends[at + 1])));
  },
  (output, values) => {
    for (const value of values) {
      if (value != null && !(value instanceof Uint8Array)) throw doesNotFit(value, "bytea");
    }
    pushBytes(output, values);
  },
);

/** Where it is all ASCII, one call does for all items: a call for each takes long. */
function text(name) {
  const read = (input, length) => {
    const ends = numbersOf(Uint32Array, input.buffers.next().value);
    const bytes = input.buffers.next().value;
    const whole = decoder.decode(bytes);
    const isAscii = whole.length === bytes.length;
    const values = new Array(length);
    for (let at = 0; at < length; at++) {
      const begin = ends[at];
      const end = ends[at + 1];
      values[at] = isAscii ? whole.slice(begin, end) : decoder.decode(bytes.subarray(begin, end));
    }
    return values;
  };
  return column(name, read, (output, values) => {
    for (let at = 0; at < values.length; at++) {
      const value = values[at];
      if (value != null && typeof value !== "string") throw doesNotFit(value, name);
    }
    const whole = values.join("");
    const bytes = encoder.encode(whole);
    if (bytes.length === whole.length) output.buffers.push(endsOf(values), bytes);
    else pushBytes(output, values.map((value) => (value == null ? null : encoder.encode(value))));
  });
}

function array(items) {
  const read = (input, length) => {
    const ends = numbersOf(Uint32Array, input.buffers.next().value);
    const values = items.read(input);
    return Array.from({ length }, (_, at) => Array.from(values.slice(ends[at], ends[at + 1])));
  };
  return column(`array<${items.name}>`, read, (output, values) => {
    output.buffers.push(endsOf(values));
    const all = [];
    for (const list of values) for (const item of list ?? []) all.push(item);
    items.write(all, output);
  });
}

function row(fields) {
  const name = `row<${fields.map((field) => `"${field.name}" ${field.column.name}`).join(", ")}>`;
  const read = (input, length) => {
    const columns = fields.map((field) => [field.name, field.column.read(input)]);
    const value = (at) => Object.fromEntries(columns.map(([name, values]) => [name, values[at]]));
    return Array.from({ length }, (_, at) => value(at));
  };
  return column(name, read, (output, values) => {
    for (const field of fields) {
      field.column.write(values.map((value) => value?.[field.name]), output);
    }
  });
}

// --- declarations ---

const TEXTS = { varchar: "varchar", text: "varchar", string: "varchar", json: "json" };
const OTHER_NAMES = { integer: "int", float: "real" };

function parse(declaration) {
  let rest = declaration;
  const take = (pattern) => {
    const found = rest.match(pattern);
    if (found?.index === 0) rest = rest.slice(found[0].length).trimStart();
    return found?.index === 0 ? found : undefined;
  };
  const expect = (pattern, what) => {
    const found = take(pattern);
    if (!found) throw new SyntaxError(`${declaration}: expected ${what} before '${rest}'`);
    return found;
  };
  const named = () => {
    const [, quoted, word] = expect(/"([^"]+)"|([^\s"<>(),?=]+)/, "a name");
    return quoted ?? word;
  };
  const list = (end, item) => {
    const items = [];
    while (!take(end)) {
      if (items.length > 0) expect(/,/, "a comma");
      items.push(item());
    }
    return items;
  };
  const type = () => {
    const word = expect(/[a-z]+/i, "a type")[0].toLowerCase();
    const name = (OTHER_NAMES[word] ?? word) + (take(/unsigned\b/i) ? " unsigned" : "");
    if (numbers.has(name)) return numbers.get(name);
    if (TEXTS[name]) return text(TEXTS[name]);
    if (name === "boolean" || name === "bool") return boolean;
    if (name === "bytea" || name === "binary") return bytea;
    if (name === "decimal" || name === "numeric") {
      const [, p, s] = expect(/\(\s*(\d+)\s*,\s*(\d+)\s*\)/, "(digits, digits after the point)");
      return decimal(Number(p), Number(s));
    }
    if (name === "array") {
      expect(/</, "<");
      const items = type();
      expect(/>/, ">");
      return array(items);
    }
    if (name === "row" || name === "struct") {
      expect(/</, "<");
      return row(list(/>/, () => ({ name: named(), column: type() })));
    }
    throw new SyntaxError(`${declaration}: there is no type '${name}'`);
  };
  const parameter = () => {
    const of = { name: named(), column: type(), isOptional: take(/\?/) !== undefined };
    // Up to the comma or the parenthesis that is not within quotes or parentheses.
    if (take(/=/)) of.default = expect(/('[^']*'|\([^()]*\)|[^,()'])+/, "a default")[0].trim();
    return of;
  };
  const name = named();
  expect(/\(/, "(");
  const parameters = list(/\)/, parameter);
  expect(/->|→/, "->");
  const returns = type();
  if (rest !== "") throw new SyntaxError(`${declaration}: expected nothing before '${rest}'`);
  return { name, parameters, returns };
}
