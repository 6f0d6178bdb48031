// Functions for Millstream in AssemblyScript: this file, and `names.mjs` beside it for the compiler.
//
//     import { scalar } from "./millstream";
//     export { cabi_post_call, cabi_post_describe, cabi_realloc, call, describe } from "./millstream";
//
//     scalar("email_domain(email varchar) -> varchar", (row, out) => {
//       const email = row.text(0);
//       const at = email.indexOf("@");
//       if (at < 0) out.putNull();
//       else out.putText(email.substring(at + 1));
//     });
//
//     asc email.ts -O3 --use abort=millstream/stop --transform ./names.mjs -o email.wasm
//
// A function is declared as SQL spells it, and called for each row: it gets the row's arguments by
// their places, and puts one value. The host calls the module once for a batch of rows. A function
// does not see rows with an argument that is NULL, unless the type of one of them has a `?` behind
// it, `email varchar?`: see `row.isNull`. What comes after `=` is a default.
//
// | SQL | got and put by |
// |---|---|
// | boolean | `get<bool>`, `put<bool>` |
// | tinyint … bigint; unsigned; real, double | `<i8>` … `<i64>`; `<u8>` … `<u64>`; `<f32>`, `<f64>` |
// | varchar, json; bytea | `text`, `putText`; `bytes`, `putBytes` |
// | date (days since 1970); time, timestamp, timestamptz (microseconds) | `<i32>`; `<i64>` |
// | decimal(p, s), as a number of 128 bits without its point | `low`, `high`; `putDecimal` |
// | array<T> | `count`, `item`; `items`, `putArray` |
// | row<name T, …> | `fields`; `field`, `putRow` |
//
// `fail(message)` fails the row: the function returns after it. `VOLATILE` as the last argument says
// that the same arguments do not always give the same value. A function of `table` puts any number
// of values. For functions over groups of rows see `State`. `fetch` sends requests to the servers that
// the pipeline file grants: `grants.http = "api.example.com"`.

// --- functions ---

/** The same arguments do not always give the same value. */
export const VOLATILE: i32 = 1;
/** An aggregate that has `retract`. */
export const RETRACTS: i32 = 2;

type Evaluate = (row: Row, out: Column) => void;

/** A value for each row. */
export function scalar(declaration: string, evaluate: Evaluate, flags: i32 = 0): void {
  all.push(new Function_(Kind.Scalar, declaration, flags, evaluate, null));
}

/** Any number of values for each row. */
export function table(declaration: string, evaluate: Evaluate, flags: i32 = 0): void {
  all.push(new Function_(Kind.Table, declaration, flags, evaluate, null));
}

/** A value for a group of rows, whose state is a `T`. */
export function aggregate<T extends State>(declaration: string, flags: i32 = 0): void {
  all.push(new Function_(Kind.Aggregate, declaration, flags, null, (): State => instantiate<T>()));
}

/** The state of a group of rows; a new one is that of a group without rows. It is kept as what `save`
 * writes: a later version of a module reads what an earlier one has kept, or needs another name. */
export abstract class State {
  abstract update(row: Row): void;
  /** Takes a row back that was given before. */
  retract(row: Row): void {
    throw new Error("it cannot take rows back");
  }
  /** Adds the rows of a part of the group that was computed elsewhere: a state of the same class. */
  abstract merge(other: State): void;
  abstract finish(out: Column): void;
  abstract save(to: Bytes): void;
  abstract load(from: Bytes): void;
}

/** Bytes that are written at their end, and read from their beginning. */
export class Bytes {
  data: usize = 0;
  length: usize = 0;
  private room: usize = 0;
  private at: usize = 0;

  /** What is left to be read. */
  get rest(): usize {
    return this.length - this.at;
  }

  put<T>(value: T): void {
    const length = this.length;
    if (length + sizeof<T>() > this.room) this.grow(sizeof<T>());
    store<T>(this.data + length, value);
    this.length = length + sizeof<T>();
  }

  get<T>(): T {
    if (this.rest < sizeof<T>()) throw new Error(OTHER_VERSION);
    const value = load<T>(this.data + this.at);
    this.at += sizeof<T>();
    return value;
  }

  /** A text with its length. */
  putText(text: string): void {
    const length = String.UTF8.byteLength(text);
    this.put<u32>(length);
    this.addText(text, length);
  }

  getText(): string {
    const length = this.get<u32>();
    if (this.rest < length) throw new Error(OTHER_VERSION);
    this.at += length;
    return String.UTF8.decodeUnsafe(this.data + this.at - length, length);
  }

  /** @internal */
  add(data: usize, length: usize): void {
    if (this.length + length > this.room) this.grow(length);
    memory.copy(this.data + this.length, data, length);
    this.length += length;
  }

  /** @internal */
  addText(text: string, length: usize): void {
    if (this.length + length > this.room) this.grow(length);
    const to = this.data + this.length;
    const mode = String.UTF8.ErrorMode.REPLACE;
    String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, to, false, mode);
    this.length += length;
  }

  /** @internal Sets one of its bits; it grows to have it. */
  setBit(at: u32, value: bool): void {
    if (this.length <= at >> 3) this.put<u8>(0);
    const byte = this.data + (at >> 3);
    if (value) store<u8>(byte, load<u8>(byte) | <u8>(<u32>1 << (at & 7)));
  }

  private grow(by: usize): void {
    this.room = max(2 * this.room, this.length + by, 64);
    this.data = this.data == 0 ? heap.alloc(this.room) : heap.realloc(this.data, this.room);
    if (this.data == 0) throw new Error("out of memory");
  }

  /** @internal */
  free(): void {
    if (this.data != 0) heap.free(this.data);
    this.data = 0;
  }
}

const OTHER_VERSION = "the state that was kept is it another version it this function";

function max(a: usize, b: usize, c: usize): usize {
  return a > b ? (a > c ? a : c) : b > c ? b : c;
}

// --- what a function gets ---

/** A row's arguments, or the fields of a row, or an item of an array as its place 0. */
export class Row {
  constructor(
    private columns: Values[],
    /** @internal */
    public at: u32 = 0,
  ) {}

  isNull(column: i32): bool {
    return this.columns[column].isNull(this.at);
  }

  get<T>(column: i32): T {
    const it = this.columns[column];
    if (isBoolean<T>()) {
      const bits = load<u8>(it.read(Width.Bits) + (this.at >> 3));
      return <T>(((bits >> <u8>(this.at & 7)) & 1) == 1);
    }
    return load<T>(it.read(<i32>sizeof<T>()) + this.at * sizeof<T>());
  }

  text(column: i32): string {
    const it = this.columns[column];
    it.read(Width.Text);
    return String.UTF8.decodeUnsafe(it.bytes.data + it.begin(this.at), it.length(this.at));
  }

  bytes(column: i32): Uint8Array {
    const it = this.columns[column];
    it.read(Width.Text);
    const length = it.length(this.at);
    const bytes = new Uint8Array(length);
    memory.copy(bytes.dataStart, it.bytes.data + it.begin(this.at), length);
    return bytes;
  }

  /** Of a decimal, the lower and the upper 64 bits. */
  low(column: i32): u64 {
    return load<u64>(this.columns[column].values.data + this.at * 16);
  }

  high(column: i32): i64 {
    return load<i64>(this.columns[column].values.data + this.at * 16, 8);
  }

  /** How many items an array has. */
  count(column: i32): i32 {
    return this.columns[column].length(this.at);
  }

  item(column: i32, index: i32): Row {
    const it = this.columns[column];
    return new Row(it.within, it.begin(this.at) + index);
  }

  fields(column: i32): Row {
    return new Row(this.columns[column].within, this.at);
  }
}

/** @internal A column that the host gives. */
class Values {
  validity: Span;
  values: Span = new Span(0, 0);
  bytes: Span = new Span(0, 0);
  within: Values[] = [];
  private width: i32;

  constructor(shape: Shape, input: Input) {
    this.width = shape.width;
    input.nodes += 8;
    this.validity = input.buffer();
    if (shape.width != Width.Row) this.values = input.buffer();
    if (shape.width == Width.Text) this.bytes = input.buffer();
    for (let i = 0; i < shape.within.length; i++) this.within.push(new Values(shape.within[i], input));
  }

  isNull(at: u32): bool {
    const bits = this.validity;
    return bits.length > 0 && ((load<u8>(bits.data + (at >> 3)) >> <u8>(at & 7)) & 1) == 0;
  }

  /** The values, which are this wide. */
  read(width: i32): usize {
    if (this.width != width) throw new Error("a column is read as one of another type");
    return this.values.data;
  }

  begin(at: u32): u32 {
    return load<u32>(this.values.data + at * 4);
  }

  length(at: u32): u32 {
    return this.begin(at + 1) - this.begin(at);
  }
}

/** @internal */
class Span {
  constructor(
    public data: usize,
    public length: u32,
  ) {}
}

/** @internal What nobody has taken yet. */
class Input {
  constructor(
    public rows: u32,
    public nodes: usize,
    public buffers: usize,
  ) {}

  buffer(): Span {
    const at = this.buffers;
    this.buffers += 8;
    return new Span(load<u32>(at), load<u32>(at, 4));
  }
}

// --- what a function gives ---

/** A column that is being written. */
export class Column {
  /** @internal */
  length: u32 = 0;
  /** @internal */
  nulls: u32 = 0;
  private validity: Bytes = new Bytes();
  private values: Bytes = new Bytes();
  private text: Bytes = new Bytes();
  private within: Column[] = [];

  constructor(private shape: Shape) {
    if (shape.width == Width.Text || shape.width == Width.Array) this.values.put<u32>(0);
    for (let i = 0; i < shape.within.length; i++) this.within.push(new Column(shape.within[i]));
  }

  put<T>(value: T): void {
    if (isBoolean<T>()) {
      this.expect(Width.Bits);
      this.values.setBit(this.length, value);
    } else {
      this.expect(sizeof<T>());
      this.values.put<T>(value);
    }
    this.next(true);
  }

  putText(text: string): void {
    this.expect(Width.Text);
    this.text.addText(text, String.UTF8.byteLength(text));
    this.putEnd(this.text.length);
    this.next(true);
  }

  putBytes(bytes: Uint8Array): void {
    this.putSpan(bytes.dataStart, bytes.length);
  }

  /** Of a decimal, the lower and the upper 64 bits. */
  putDecimal(low: u64, high: i64): void {
    this.expect(16);
    this.values.put<u64>(low);
    this.values.put<i64>(high);
    this.next(true);
  }

  /** Where the items of the next array are put. */
  get items(): Column {
    return this.within[0];
  }

  /** An array of the items that have been put since the last. */
  putArray(): void {
    this.expect(Width.Array);
    this.putEnd(this.items.length);
    this.next(true);
  }

  /** Where a field of the next row is put. */
  field(index: i32): Column {
    return this.within[index];
  }

  /** A row, each of whose fields has been put. */
  putRow(): void {
    this.expect(Width.Row);
    this.next(true);
  }

  putNull(): void {
    const width = this.shape.width;
    if (width == Width.Bits) this.values.setBit(this.length, false);
    else if (width == Width.Text) this.putEnd(this.text.length);
    else if (width == Width.Array) this.putEnd(this.items.length);
    else if (width == Width.Row) {
      for (let i = 0; i < this.within.length; i++) this.within[i].putNull();
    } else for (let i = 0; i < width; i++) this.values.put<u8>(0);
    this.next(false);
  }

  /** @internal */
  putSpan(data: usize, length: usize): void {
    this.expect(Width.Text);
    this.text.add(data, length);
    this.putEnd(this.text.length);
    this.next(true);
  }

  private expect(width: i32): void {
    if (width != this.shape.width) throw new Error("a value is put to a column of another type");
  }

  private putEnd(end: usize): void {
    if (end > <usize>i32.MAX_VALUE) throw new Error("its results are longer than 2 GB");
    this.values.put<u32>(<u32>end);
  }

  private next(isValid: bool): void {
    if (!isValid && this.nulls == 0) for (let at: u32 = 0; at < this.length; at++) this.validity.setBit(at, true);
    if (!isValid) this.nulls++;
    if (this.nulls > 0) this.validity.setBit(this.length, isValid);
    this.length++;
  }

  /** @internal */
  give(nodes: Bytes, buffers: Bytes): void {
    nodes.put<u32>(this.length);
    nodes.put<u32>(this.nulls);
    give(this.validity, buffers);
    if (this.shape.width != Width.Row) give(this.values, buffers);
    if (this.shape.width == Width.Text) give(this.text, buffers);
    for (let i = 0; i < this.within.length; i++) this.within[i].give(nodes, buffers);
  }
}

/** Gives bytes to the host; they are freed when it has read them. */
function give(bytes: Bytes, to: Bytes): void {
  to.put<u32>(<u32>bytes.data);
  to.put<u32>(<u32>bytes.length);
  given.push(bytes.data);
}

// --- the host ---

export enum Level {
  Debug,
  Info,
  Warn,
  Error,
}

// @ts-ignore: decorator
@external("millstream:udf/host@0.1.0", "log")
declare function hostLog(level: i32, data: usize, length: usize): void;
// @ts-ignore: decorator
@external("millstream:udf/host@0.1.0", "config")
declare function hostConfig(data: usize, length: usize, found: usize): void;

/** Writes to the pipeline's log. */
export function log(level: Level, message: string): void {
  const bytes = String.UTF8.encode(message);
  hostLog(level, changetype<usize>(bytes), bytes.byteLength);
}

/** A value that the pipeline file has for this module; null, if it has none. */
export function config(name: string): string | null {
  const bytes = String.UTF8.encode(name);
  const found = memory.data(12, 4);
  hostConfig(changetype<usize>(bytes), bytes.byteLength, found);
  return load<u8>(found) == 1 ? String.UTF8.decodeUnsafe(load<u32>(found, 4), load<u32>(found, 8)) : null;
}

// @ts-ignore: decorator
@external("millstream:udf/http@0.1.0", "fetch")
declare function hostFetch(requests: usize, count: u32, answers: usize): void;

export class Header {
  constructor(
    public name: string,
    public value: string,
  ) {}
}

/** What is asked of a server. */
export class Request {
  method: string = "GET";
  headers: Header[] = [];
  body: Uint8Array = new Uint8Array(0);

  constructor(public url: string) {}
}

/** What it answers, whatever its status; or `error`, why there is no answer. */
export class Answer {
  error: string | null = null;
  status: i32 = 0;
  headers: Header[] = [];
  body: Uint8Array = new Uint8Array(0);
}

/** Sends all requests at the same time, 1,000 at most, and waits for all answers, which come in the
 * same order. Redirects are not followed. They take of the function's time: the pipeline file may say
 * `time = "30s"`. A module that does not call it does not ask for servers. */
export function fetch(requests: Request[]): Answer[] {
  const takenBefore = taken.length;
  const givenBefore = given.length;
  const asked = new Bytes();
  for (let i = 0; i < requests.length; i++) {
    const it = requests[i];
    const headers = new Bytes();
    for (let h = 0; h < it.headers.length; h++) {
      putText(it.headers[h].name, headers);
      putText(it.headers[h].value, headers);
    }
    const body = new Bytes();
    body.add(it.body.dataStart, it.body.length);
    putText(it.method, asked);
    putText(it.url, asked);
    asked.put<u32>(<u32>record(headers));
    asked.put<u32>(it.headers.length);
    give(body, asked);
  }
  const found = memory.data(8, 4);
  hostFetch(record(asked), requests.length, found);
  const answers: Answer[] = [];
  const first = load<u32>(found);
  for (let i: u32 = 0; i < load<u32>(found, 4); i++) answers.push(answerAt(first + 24 * i));
  release(taken, takenBefore);
  release(given, givenBefore);
  return answers;
}

/** A `result<response, string>`. */
function answerAt(at: usize): Answer {
  const answer = new Answer();
  if (load<u8>(at) != 0) {
    answer.error = textAt(at + 4);
    return answer;
  }
  answer.status = load<u16>(at, 4);
  const headers = load<u32>(at, 8);
  for (let h: u32 = 0; h < load<u32>(at, 12); h++) {
    answer.headers.push(new Header(textAt(headers + 16 * h), textAt(headers + 16 * h + 8)));
  }
  answer.body = new Uint8Array(load<u32>(at, 20));
  memory.copy(answer.body.dataStart, load<u32>(at, 16), answer.body.length);
  return answer;
}

function textAt(at: usize): string {
  return String.UTF8.decodeUnsafe(load<u32>(at), load<u32>(at, 4));
}

let failed: string | null = null;

/** Fails the row: the function returns after it. */
export function fail(message: string): void {
  if (failed === null) failed = message;
}

/** What becomes of `throw` and `assert`: their message goes to the log, and the module gives up. */
export function stop(message: string | null, file: string | null, line: u32, column: u32): void {
  log(Level.Error, `${message === null ? "it gave up" : message} (line ${line})`);
  unreachable();
}

// --- declarations ---

/** @internal What values of a type are: so many bytes, or one of these. */
enum Width {
  Bits = 0,
  Text = 255,
  Array = 254,
  Row = 253,
}

/** @internal */
class Shape {
  within: Shape[] = [];

  constructor(
    public name: string,
    public width: i32,
  ) {}
}

/** @internal */
class Parameter {
  isOptional: bool = false;
  default: string | null = null;

  constructor(
    public name: string,
    public shape: Shape,
  ) {}
}

const enum Kind {
  Scalar,
  Table,
  Aggregate,
}

/** @internal */
class Function_ {
  name: string;
  parameters: Parameter[] = [];
  returns: Shape = UNSIGNED;

  constructor(
    public kind: Kind,
    declaration: string,
    public flags: i32,
    public evaluate: Evaluate | null,
    public newState: (() => State) | null,
  ) {
    const reader = new Reader(declaration);
    this.name = reader.word();
    reader.expect("(");
    while (!reader.take(")")) {
      if (this.parameters.length > 0) reader.expect(",");
      this.parameters.push(reader.parameter());
    }
    if (!reader.take("→")) reader.expect("->");
    this.returns = reader.shape();
  }

  get seesNull(): bool {
    return this.parameters.some((parameter) => parameter.isOptional);
  }

  shapes(): Shape[] {
    return this.parameters.map<Shape>((parameter) => parameter.shape);
  }
}

const all: Function_[] = [];
const UNSIGNED = new Shape("int unsigned", 4);
const BYTEA = new Shape("bytea", Width.Text);

function widthOf(type: string): i32 {
  if (type == "tinyint") return 1;
  if (type == "smallint") return 2;
  if (type == "int" || type == "integer" || type == "real" || type == "float" || type == "date") return 4;
  if (type == "bigint" || type == "double" || type.startsWith("time")) return 8;
  if (type == "decimal" || type == "numeric") return 16;
  if (type == "boolean" || type == "bool") return Width.Bits;
  if (type == "array") return Width.Array;
  return type == "row" || type == "struct" ? Width.Row : Width.Text;
}

/** @internal Reads a declaration. Which types there are, the host knows. */
class Reader {
  private at: i32 = 0;

  constructor(private text: string) {}

  take(symbol: string): bool {
    while (this.text.charAt(this.at) == " " || this.text.charAt(this.at) == "\n") this.at++;
    if (!this.text.startsWith(symbol, this.at)) return false;
    this.at += symbol.length;
    return true;
  }

  expect(symbol: string): void {
    if (!this.take(symbol)) throw new Error(`${this.text}: expected ${symbol} at ${this.at}`);
  }

  word(): string {
    const isQuoted = this.take('"');
    const end = isQuoted ? '"' : ' \n(),<>?=';
    const begin = this.at;
    while (this.at < this.text.length && !end.includes(this.text.charAt(this.at))) this.at++;
    const word = this.text.substring(begin, this.at);
    if (isQuoted) this.at++;
    return word;
  }

  shape(): Shape {
    this.take("");
    const begin = this.at;
    const type = this.word();
    const shape = new Shape(type, widthOf(type));
    this.take("unsigned");
    if (this.take("(")) while (!this.take(")")) this.at++;
    if (this.take("<")) {
      do {
        if (shape.width == Width.Row) this.word();
        shape.within.push(this.shape());
      } while (this.take(","));
      this.expect(">");
    }
    shape.name = this.text.substring(begin, this.at);
    return shape;
  }

  parameter(): Parameter {
    this.take("");
    const parameter = new Parameter(this.word(), this.shape());
    parameter.isOptional = this.take("?");
    if (this.take("=")) {
      // Up to the comma or the parenthesis that is not within quotes or parentheses.
      const begin = this.at;
      let depth = 0;
      let isQuoted = false;
      for (; this.at < this.text.length; this.at++) {
        const symbol = this.text.charAt(this.at);
        if (symbol == "'") isQuoted = !isQuoted;
        if (isQuoted) continue;
        if (depth == 0 && (symbol == "," || symbol == ")")) break;
        if (symbol == "(") depth++;
        if (symbol == ")") depth--;
      }
      parameter.default = this.text.substring(begin, this.at).trim();
    }
    return parameter;
  }
}

// --- the canonical ABI of millstream:udf@0.1.0: `names.mjs` gives its exports their names ---

enum Operation {
  Evaluate,
  Update,
  Retract,
  Merge,
  Finish,
}

/** What the host has put here for the call that is being made, and what it is to read. */
const taken: usize[] = [];
const given: usize[] = [];

export function cabi_realloc(old: usize, length: usize, align: usize, size: usize): usize {
  // An address that is aligned is all that is asked for.
  if (size == 0) return align;
  if (length > 0) return heap.realloc(old, size);
  const fresh = heap.alloc(size);
  taken.push(fresh);
  return fresh;
}

function release(addresses: usize[], from: i32 = 0): void {
  for (let i = from; i < addresses.length; i++) if (addresses[i] != 0) heap.free(addresses[i]);
  addresses.length = from;
}

function putText(text: string, to: Bytes): void {
  const bytes = new Bytes();
  bytes.addText(text, String.UTF8.byteLength(text));
  give(bytes, to);
}

function record(words: Bytes): usize {
  given.push(words.data);
  return words.data;
}

export function describe(): usize {
  const records = new Bytes();
  for (let i = 0; i < all.length; i++) {
    const it = all[i];
    const parameters = new Bytes();
    for (let p = 0; p < it.parameters.length; p++) {
      const parameter = it.parameters[p];
      putText(parameter.name, parameters);
      putText(parameter.shape.name, parameters);
      const value = parameter.default;
      parameters.put<u32>(value === null ? 0 : 1);
      putText(value === null ? "" : value, parameters);
    }
    putText(it.name, records);
    records.put<u32>(it.kind);
    records.put<u32>(<u32>record(parameters));
    records.put<u32>(it.parameters.length);
    putText(it.returns.name, records);
    records.put<u8>(it.seesNull ? 1 : 0);
    records.put<u8>(it.flags & VOLATILE ? 0 : 1);
    records.put<u8>(it.flags & RETRACTS ? 1 : 0);
    records.put<u8>(0);
  }
  const list = new Bytes();
  list.put<u32>(<u32>record(records));
  list.put<u32>(all.length);
  return record(list);
}

export function cabi_post_describe(result: usize): void {
  release(given);
}

export function call(
  number: u32,
  operation: u32,
  rows: u32,
  nodes: usize,
  nodesCount: u32,
  buffers: usize,
  buffersCount: u32,
): usize {
  const it = all[number];
  const input = new Input(rows, nodes, buffers);
  failed = null;
  const columns = it.kind == Kind.Aggregate ? callAggregate(it, operation, input) : callEach(it, input);
  const outNodes = new Bytes();
  const outBuffers = new Bytes();
  // Where it failed too, so that they are freed.
  for (let i = 0; i < columns.length; i++) columns[i].give(outNodes, outBuffers);
  const nodesAt = record(outNodes);
  const buffersAt = record(outBuffers);
  const result = new Bytes();
  if (failed === null) {
    result.put<u32>(0);
    result.put<u32>(columns[0].length);
    result.put<u32>(<u32>nodesAt);
    result.put<u32>(<u32>outNodes.length / 8);
    result.put<u32>(<u32>buffersAt);
    result.put<u32>(<u32>outBuffers.length / 8);
  } else {
    result.put<u32>(1);
    result.put<u32>(failedRow < 0 ? 0 : 1);
    result.put<u32>(failedRow);
    putText(failed!, result);
    result.put<u32>(0);
  }
  release(taken);
  return record(result);
}

export function cabi_post_call(result: usize): void {
  release(given);
}

/** The row that is being seen; -1, where it is not known. */
let failedRow: i32 = -1;

function read(shapes: Shape[], input: Input): Row {
  const columns: Values[] = [];
  for (let i = 0; i < shapes.length; i++) columns.push(new Values(shapes[i], input));
  return new Row(columns);
}

/** Whether a function sees a row that the host gives it. */
function isSeen(it: Function_, row: Row): bool {
  if (!it.seesNull) return true;
  for (let i = 0; i < it.parameters.length; i++) {
    if (!it.parameters[i].isOptional && row.isNull(i)) return false;
  }
  return true;
}

function callEach(it: Function_, input: Input): Column[] {
  const row = read(it.shapes(), input);
  const numbers = new Column(UNSIGNED);
  const out = new Column(it.returns);
  const isTable = it.kind == Kind.Table;
  const evaluate = it.evaluate!;
  for (let at: u32 = 0; at < input.rows && failed === null; at++) {
    failedRow = at;
    row.at = at;
    if (isSeen(it, row)) evaluate(row, out);
    else if (!isTable) out.putNull();
    if (isTable) while (numbers.length < out.length) numbers.put<u32>(at);
    else if (out.length != at + 1 && failed === null) throw new Error("it puts not one value for a row");
  }
  return isTable ? [numbers, out] : [out];
}

function readState(it: Function_, row: Row): State {
  const state = it.newState!();
  if (row.isNull(0)) return state;
  const bytes = row.bytes(0);
  const from = new Bytes();
  from.add(bytes.dataStart, bytes.length);
  state.load(from);
  if (from.rest > 0) throw new Error(OTHER_VERSION);
  from.free();
  return state;
}

function readStates(it: Function_, input: Input): State[] {
  const count = load<u32>(input.nodes);
  const row = read([BYTEA], input);
  const states: State[] = [];
  for (row.at = 0; row.at < count; row.at++) states.push(readState(it, row));
  return states;
}

function callAggregate(it: Function_, operation: u32, input: Input): Column[] {
  const states = readStates(it, input);
  const out = new Column(operation == Operation.Finish ? it.returns : BYTEA);
  if (operation == Operation.Finish) {
    for (let at = 0; at < states.length && failed === null; at++) {
      failedRow = at;
      states[at].finish(out);
    }
    return [out];
  }
  const groups = read([UNSIGNED], input);
  const others = operation == Operation.Merge ? readStates(it, input) : [];
  const row = operation == Operation.Merge ? groups : read(it.shapes(), input);
  for (let at: u32 = 0; at < input.rows && failed === null; at++) {
    failedRow = operation == Operation.Merge ? -1 : at;
    groups.at = at;
    row.at = at;
    const state = states[groups.get<u32>(0)];
    if (operation == Operation.Merge) state.merge(others[at]);
    else if (!isSeen(it, row)) continue;
    else if (operation == Operation.Update) state.update(row);
    else state.retract(row);
  }
  const bytes = new Bytes();
  for (let at = 0; at < states.length; at++) {
    bytes.length = 0;
    states[at].save(bytes);
    out.putSpan(bytes.data, bytes.length);
  }
  bytes.free();
  return [out];
}
