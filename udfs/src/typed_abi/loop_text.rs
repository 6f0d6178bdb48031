//! Loops over rows in WebAssembly, which call a guest's functions as the canonical ABI has it.
//!
//! A loop is in a module of its own, with its own memory `$m`: the columns of a batch come and go
//! there, laid out as in [`crate::columns`]. For each row it
//!
//! 1. lowers the arguments: numbers as they are; text and lists into memory of the guest's
//!    `cabi_realloc`;
//! 2. calls the guest's core function;
//! 3. lifts the value out of the guest's memory `$g` and appends it to the columns of the result;
//! 4. calls `cabi_post_…`, where there is one.
//!
//! What a guest gives is only copied here, and a pointer that is none traps. The host looks at the
//! columns as at those of any guest.

use std::fmt::Write;

use super::exports::{Fails, Function, Lift};
use crate::limits::LOOP_PAGES_MAX;
use crate::values::Shape;

/// The most flat parameters of a core function: others are passed in memory.
const FLAT_MAX: usize = 16;
/// The most types within the types of a function, so that a loop does not become very long.
const SHAPES_MAX: usize = 200;

/// What is written of the result, which is `result<tuple<list<tuple<u32, u32>>, list<list<u8>>>,
/// tuple<u32, string>>`: nodes and buffers, or the row that fails and why.
const RESULT_SIZE: u32 = 20;

/// Whether there can be a loop for a function.
pub(crate) fn has_loop(function: &Function) -> bool {
    let Function { parameters, result, fails, by_columns, .. } = function;
    let shapes = || parameters.iter().chain([result]);
    let flat_count: usize = match by_columns {
        true => parameters.len() * 2,
        false => parameters.iter().map(|shape| flat(shape).len()).sum(),
    };
    // A row of one number is passed as that number.
    let result_in_memory = *by_columns || *fails != Fails::Never || flat(result).len() > 1;
    shapes().all(is_plain)
        && shapes().map(count).sum::<usize>() <= SHAPES_MAX
        && flat_count <= FLAT_MAX
        && *fails != Fails::WithValue
        && (result_in_memory || core_type(result).is_some())
}

/// The text of a module with a loop for each function: `call0`, `call1` … It imports from `guest`
/// the functions `f0` …, and where they have them the memories `m0` …, `r0` … that allocate, and
/// `p0` … for after the return.
pub(crate) fn module(functions: &[(&Function, &Lift)]) -> String {
    let mut imports = String::new();
    let mut imported = 0;
    for (index, (function, lift)) in functions.iter().enumerate() {
        let (parameters, result) = core_signature(function);
        let mut import = |name: &str, ty: String| {
            let _ = writeln!(imports, "(import \"guest\" \"{name}{index}\" {ty})");
        };
        import("f", format!("(func $f{index} (param {parameters}) (result {result}))"));
        if lift.memory.is_some() {
            import("m", format!("(memory $g{index} 0)"));
        }
        if lift.realloc.is_some() {
            import("r", format!("(func $r{index} (param i32 i32 i32 i32) (result i32))"));
        }
        if lift.post_return.is_some() {
            import("p", format!("(func $p{index} (param {result}))"));
        }
        imported += 1 + u32::from(lift.realloc.is_some()) + u32::from(lift.post_return.is_some());
    }
    let mut text = format!("(module\n{imports}{}", runtime(imported));
    for (index, (function, lift)) in functions.iter().enumerate() {
        text.push_str(&Writer::new(index, imported).function(function, lift));
    }
    text.push(')');
    text
}

/// What loops share. The functions have numbers in place of names, so that the place where a guest
/// was stopped is never one of them.
fn runtime(alloc: u32) -> String {
    format!(
        r#"(memory $m (export "memory") 1 {LOOP_PAGES_MAX})
        (global $next (mut i32) (i32.const 16))
        (func (param $size i32) (result i32) (local $at i32) (local $missing i32)
            (local.set $at (global.get $next))
            (global.set $next (i32.and
                (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7))
                (i32.const -8)))
            (if (i32.lt_u (global.get $next) (local.get $at)) (then unreachable))
            (local.set $missing (i32.sub
                (i32.shr_u (i32.add (global.get $next) (i32.const 65535)) (i32.const 16))
                (memory.size $m)))
            (if (i32.gt_s (local.get $missing) (i32.const 0)) (then
                (if (i32.eq (memory.grow $m (local.get $missing)) (i32.const -1))
                    (then unreachable))))
            (local.get $at))
        (func (param $at i32) (param $used i32) (param $more i32) (result i32 i32)
            (local $size i32) (local $to i32)
            (local.set $size (i32.add (local.get $used) (local.get $more)))
            (if (i32.lt_u (local.get $size) (local.get $used)) (then unreachable))
            (local.set $size (i32.add (i32.shl (local.get $size) (i32.const 1)) (i32.const 64)))
            (local.set $to (call {alloc} (local.get $size)))
            (memory.copy $m $m (local.get $to) (local.get $at) (local.get $used))
            (local.get $to) (local.get $size))
        (func (export "realloc") (param $old i32) (param $length i32) (param i32)
            (param $size i32) (result i32) (local $at i32)
            (local.set $at (call {alloc} (local.get $size)))
            (memory.copy $m $m (local.get $at) (local.get $old) (local.get $length))
            (local.get $at))
        (func (export "done") (param i32) (global.set $next (i32.const 16)))
        "#
    )
}

/// Whether a loop can make and read values of a type.
fn is_plain(shape: &Shape) -> bool {
    match shape {
        Shape::Char | Shape::Enum(_) => false,
        Shape::List(shape) | Shape::Option(shape) => is_plain(shape),
        Shape::Record(_) | Shape::Tuple(_) => parts(shape).iter().all(|part| is_plain(part)),
        _ => true,
    }
}

fn count(shape: &Shape) -> usize {
    1 + match shape {
        Shape::List(shape) | Shape::Option(shape) => count(shape),
        _ => parts(shape).iter().map(|part| count(part)).sum(),
    }
}

/// The fields of a row.
fn parts(shape: &Shape) -> Vec<&Shape> {
    match shape {
        Shape::Record(fields) => fields.iter().map(|(_, shape)| shape).collect(),
        Shape::Tuple(shapes) => shapes.iter().collect(),
        _ => Vec::new(),
    }
}

/// The type of a core value, for what is one.
fn core_type(shape: &Shape) -> Option<&'static str> {
    Some(match shape {
        Shape::Bool | Shape::S8 | Shape::U8 | Shape::S16 | Shape::U16 => "i32",
        Shape::S32 | Shape::U32 => "i32",
        Shape::S64 | Shape::U64 => "i64",
        Shape::F32 => "f32",
        Shape::F64 => "f64",
        _ => return None,
    })
}

/// The core values that a value is passed as.
fn flat(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::String | Shape::Bytes | Shape::List(_) => vec!["i32", "i32"],
        Shape::Option(shape) => ["i32"].into_iter().chain(flat(shape)).collect(),
        Shape::Record(_) | Shape::Tuple(_) => parts(shape).into_iter().flat_map(flat).collect(),
        shape => core_type(shape).into_iter().collect(),
    }
}

/// Parameters and result of a core function, as text.
fn core_signature(function: &Function) -> (String, &'static str) {
    let parameters: Vec<&str> = match function.by_columns {
        true => function.parameters.iter().flat_map(|_| ["i32", "i32"]).collect(),
        false => function.parameters.iter().flat_map(flat).collect(),
    };
    let is_direct = !function.by_columns && function.fails == Fails::Never;
    let result = core_type(&function.result).filter(|_| is_direct).unwrap_or("i32");
    (parameters.join(" "), result)
}

/// Size and alignment in memory.
fn layout(shape: &Shape) -> (u32, u32) {
    match shape {
        Shape::Bool | Shape::S8 | Shape::U8 | Shape::Enum(_) => (1, 1),
        Shape::S16 | Shape::U16 => (2, 2),
        Shape::S32 | Shape::U32 | Shape::F32 | Shape::Char => (4, 4),
        Shape::S64 | Shape::U64 | Shape::F64 => (8, 8),
        Shape::String | Shape::Bytes | Shape::List(_) => (8, 4),
        Shape::Option(shape) => {
            let (size, align) = layout(shape);
            ((align + size).next_multiple_of(align), align)
        }
        Shape::Record(_) | Shape::Tuple(_) => {
            let places = places(shape);
            let align = places.iter().map(|(_, part)| layout(part).1).max().unwrap_or(1);
            let end = places.last().map_or(0, |(at, part)| at + layout(part).0);
            (end.next_multiple_of(align), align)
        }
    }
}

/// Where the fields of a row are in memory.
fn places(shape: &Shape) -> Vec<(u32, &Shape)> {
    let mut end = 0;
    let place = |part| {
        let (size, align) = layout(part);
        let at = u32::next_multiple_of(end, align);
        end = at + size;
        (at, part)
    };
    parts(shape).into_iter().map(place).collect()
}

/// How a number is read from memory.
fn load(shape: &Shape) -> &'static str {
    match shape {
        Shape::S8 => "i32.load8_s",
        Shape::Bool | Shape::U8 => "i32.load8_u",
        Shape::S16 => "i32.load16_s",
        Shape::U16 => "i32.load16_u",
        Shape::S64 | Shape::U64 => "i64.load",
        Shape::F32 => "f32.load",
        Shape::F64 => "f64.load",
        _ => "i32.load",
    }
}

fn store(shape: &Shape) -> &'static str {
    match shape {
        Shape::Bool | Shape::S8 | Shape::U8 => "i32.store8",
        Shape::S16 | Shape::U16 => "i32.store16",
        Shape::S64 | Shape::U64 => "i64.store",
        Shape::F32 => "f32.store",
        Shape::F64 => "f64.store",
        _ => "i32.store",
    }
}

/// Locals with the addresses of an array's buffers.
struct Source {
    validity: String,
    validity_length: String,
    data: Vec<String>,
    children: Vec<Source>,
}

/// Locals of an array that is being written.
struct Sink {
    length: String,
    nulls: String,
    validity: Buffer,
    data: Vec<Buffer>,
    children: Vec<Sink>,
}

/// Locals of a buffer that grows.
struct Buffer {
    at: String,
    used: String,
    size: String,
}

struct Writer {
    /// Of the function.
    index: usize,
    /// The number of the function that allocates; after it, that of the one that makes buffers
    /// longer.
    alloc: u32,
    locals: String,
    locals_count: usize,
    code: String,
}

/// Appends a line of code.
macro_rules! put {
    ($writer:expr, $($text:tt)*) => {{
        let line = format!($($text)*);
        $writer.code.push_str(&line);
        $writer.code.push('\n');
    }};
}

impl Writer {
    fn new(index: usize, alloc: u32) -> Writer {
        let (locals, code) = (String::new(), String::new());
        Writer { index, alloc, locals, locals_count: 0, code }
    }

    fn function(mut self, function: &Function, lift: &Lift) -> String {
        let mut buffers = 0;
        let sources: Vec<Source> =
            function.parameters.iter().map(|shape| self.source(shape, &mut buffers)).collect();
        let sink = self.sink(&function.result, true);
        let (_, result_type) = core_signature(function);
        let result = self.local(result_type);
        match function.by_columns {
            true => self.by_columns(function, &sources, &sink, &result, lift),
            false => self.by_rows(function, &sources, &sink, &result, lift),
        }
        self.give(&sink);
        let Writer { index, locals, code, .. } = self;
        format!(
            "(func (export \"call{index}\") (param $rows i32) (param $in i32) (param i32)\n\
             (result i32) (local $row i32)\n{locals}{code})\n"
        )
    }

    fn local(&mut self, ty: &str) -> String {
        let name = format!("$l{}", self.locals_count);
        self.locals_count += 1;
        let _ = writeln!(self.locals, "(local {name} {ty})");
        name
    }

    /// A local that begins as something.
    fn set(&mut self, ty: &str, value: &str) -> String {
        let local = self.local(ty);
        put!(self, "(local.set {local} {value})");
        local
    }

    // --- arguments ---

    fn source(&mut self, shape: &Shape, next: &mut u32) -> Source {
        let part = |writer: &mut Writer, offset: u32| {
            let at = *next * 8 + offset;
            writer.set("i32", &format!("(i32.load $m offset={at} (local.get $in))"))
        };
        let validity = part(self, 0);
        let validity_length = part(self, 4);
        *next += 1;
        let shape = if let Shape::Option(shape) = shape { shape } else { shape };
        let count = match shape {
            Shape::String | Shape::Bytes => 2,
            Shape::Record(_) | Shape::Tuple(_) => 0,
            _ => 1,
        };
        let mut data = Vec::new();
        for _ in 0..count {
            let at = *next * 8;
            data.push(self.set("i32", &format!("(i32.load $m offset={at} (local.get $in))")));
            *next += 1;
        }
        let children = match shape {
            Shape::List(item) => vec![self.source(item, next)],
            shape => parts(shape).into_iter().map(|part| self.source(part, next)).collect(),
        };
        Source { validity, validity_length, data, children }
    }

    /// Leaves the core values of an item in locals.
    fn lower(&mut self, shape: &Shape, source: &Source, index: &str) -> Vec<String> {
        match shape {
            Shape::String | Shape::Bytes => self.lower_text(source, index).into(),
            Shape::List(item) => self.lower_list(item, source, index).into(),
            Shape::Option(inner) => {
                let some = self.set("i32", &is_valid(source, index));
                put!(self, "(if (local.get {some}) (then");
                let values = self.lower(inner, source, index);
                put!(self, ") (else");
                for (value, ty) in values.iter().zip(flat(inner)) {
                    put!(self, "(local.set {value} ({ty}.const 0))");
                }
                put!(self, "))");
                [some].into_iter().chain(values).collect()
            }
            Shape::Record(_) | Shape::Tuple(_) => {
                let parts = parts(shape).into_iter().zip(&source.children);
                parts.flat_map(|(part, source)| self.lower(part, source, index)).collect()
            }
            shape => {
                let ty = core_type(shape).unwrap_or("i32");
                vec![self.set(ty, &number(shape, source, index))]
            }
        }
    }

    /// Writes an item to the guest's memory.
    fn lower_into(&mut self, shape: &Shape, source: &Source, index: &str, to: (&str, u32)) {
        let (guest, (at, offset)) = (format!("$g{}", self.index), to);
        match shape {
            Shape::String | Shape::Bytes | Shape::List(_) => {
                let [address, length] = match shape {
                    Shape::List(item) => self.lower_list(item, source, index),
                    _ => self.lower_text(source, index),
                };
                let after = offset + 4;
                for (local, offset) in [(address, offset), (length, after)] {
                    put!(
                        self,
                        "(i32.store {guest} offset={offset} (local.get {at}) (local.get {local}))"
                    );
                }
            }
            Shape::Option(inner) => {
                let some = self.set("i32", &is_valid(source, index));
                put!(
                    self,
                    "(i32.store8 {guest} offset={offset} (local.get {at}) (local.get {some}))"
                );
                put!(self, "(if (local.get {some}) (then");
                self.lower_into(inner, source, index, (at, offset + layout(inner).1));
                put!(self, "))");
            }
            Shape::Record(_) | Shape::Tuple(_) => {
                for ((place, part), source) in places(shape).into_iter().zip(&source.children) {
                    self.lower_into(part, source, index, (at, offset + place));
                }
            }
            shape => {
                let (store, value) = (store(shape), number(shape, source, index));
                put!(self, "({store} {guest} offset={offset} (local.get {at}) {value})");
            }
        }
    }

    /// Address and length of a text in the guest's memory.
    fn lower_text(&mut self, source: &Source, index: &str) -> [String; 2] {
        let writer = self.index;
        let [start, length] = self.span(source, index);
        let size = format!("(local.get {length})");
        let at = self.allocate(1, &size);
        let bytes = &source.data[1];
        put!(
            self,
            "(memory.copy $g{writer} $m (local.get {at})
                (i32.add (local.get {bytes}) (local.get {start})) (local.get {length}))"
        );
        [at, length]
    }

    fn lower_list(&mut self, item: &Shape, source: &Source, index: &str) -> [String; 2] {
        let [start, length] = self.span(source, index);
        let at = self.lower_items(item, &source.children[0], &start, &length);
        [at, length]
    }

    /// The address of so many items in the guest's memory.
    fn lower_items(&mut self, item: &Shape, source: &Source, start: &str, count: &str) -> String {
        let (size, align) = layout(item);
        let all = format!("(i32.mul (local.get {count}) (i32.const {size}))");
        let at = self.allocate(align, &all);
        let to = self.set("i32", &format!("(local.get {at})"));
        let index = self.set("i32", &format!("(local.get {start})"));
        let end = self.set("i32", &format!("(i32.add (local.get {start}) (local.get {count}))"));
        put!(self, "(block (loop (br_if 1 (i32.ge_u (local.get {index}) (local.get {end})))");
        self.lower_into(item, source, &index, (&to, 0));
        put!(self, "(local.set {to} (i32.add (local.get {to}) (i32.const {size})))");
        put!(self, "(local.set {index} (i32.add (local.get {index}) (i32.const 1)))");
        put!(self, "(br 0)))");
        at
    }

    /// Where an item begins, and how long it is.
    fn span(&mut self, source: &Source, index: &str) -> [String; 2] {
        let offsets = &source.data[0];
        let at =
            format!("(i32.add (local.get {offsets}) (i32.shl (local.get {index}) (i32.const 2)))");
        let at = self.set("i32", &at);
        let start = self.set("i32", &format!("(i32.load $m (local.get {at}))"));
        let length =
            format!("(i32.sub (i32.load $m offset=4 (local.get {at})) (local.get {start}))");
        let length = self.set("i32", &length);
        [start, length]
    }

    fn allocate(&mut self, align: u32, size: &str) -> String {
        let index = self.index;
        self.set(
            "i32",
            &format!("(call $r{index} (i32.const 0) (i32.const 0) (i32.const {align}) {size})"),
        )
    }

    // --- calls ---

    fn by_rows(
        &mut self,
        function: &Function,
        sources: &[Source],
        sink: &Sink,
        result: &str,
        lift: &Lift,
    ) {
        put!(self, "(block (loop (br_if 1 (i32.ge_u (local.get $row) (local.get $rows)))");
        let mut arguments = Vec::new();
        for (shape, source) in function.parameters.iter().zip(sources) {
            arguments.extend(self.lower(shape, source, "$row"));
        }
        self.call(&arguments, result);
        if function.fails != Fails::Never {
            self.fail(function, result, lift);
            let payload = payload(function);
            self.lift(&function.result, sink, (result, payload));
        } else if core_type(&function.result).is_some() {
            self.lift_number(&function.result, sink, &format!("(local.get {result})"));
        } else {
            self.lift(&function.result, sink, (result, 0));
        }
        self.after(result, lift);
        put!(self, "(local.set $row (i32.add (local.get $row) (i32.const 1)))");
        put!(self, "(br 0)))");
    }

    fn by_columns(
        &mut self,
        function: &Function,
        sources: &[Source],
        sink: &Sink,
        result: &str,
        lift: &Lift,
    ) {
        let zero = self.local("i32");
        let mut arguments = Vec::new();
        for (shape, source) in function.parameters.iter().zip(sources) {
            arguments.push(self.lower_items(shape, source, &zero, "$rows"));
            arguments.push("$rows".to_owned());
        }
        self.call(&arguments, result);
        self.lift_items(&function.result, sink, (result, 0));
        self.after(result, lift);
    }

    fn call(&mut self, arguments: &[String], result: &str) {
        let index = self.index;
        let arguments: String =
            arguments.iter().map(|local| format!(" (local.get {local})")).collect();
        put!(self, "(local.set {result} (call $f{index}{arguments}))");
    }

    fn after(&mut self, result: &str, lift: &Lift) {
        if lift.post_return.is_some() {
            let index = self.index;
            put!(self, "(call $p{index} (local.get {result}))");
        }
    }

    /// Ends the loop where a value says that its row fails.
    fn fail(&mut self, function: &Function, result: &str, lift: &Lift) {
        let (guest, alloc) = (format!("$g{}", self.index), self.alloc);
        put!(self, "(if (i32.load8_u {guest} (local.get {result})) (then");
        let out = self.set("i32", &format!("(call {alloc} (i32.const {RESULT_SIZE}))"));
        put!(self, "(i32.store8 $m (local.get {out}) (i32.const 1))");
        put!(self, "(i32.store $m offset=4 (local.get {out}) (local.get $row))");
        let (mut at, mut length) = ("(i32.const 0)".to_owned(), "(i32.const 0)".to_owned());
        if function.fails == Fails::WithText {
            let (payload, after) = (payload(function), payload(function) + 4);
            let text = self
                .set("i32", &format!("(i32.load {guest} offset={payload} (local.get {result}))"));
            let bytes =
                self.set("i32", &format!("(i32.load {guest} offset={after} (local.get {result}))"));
            let copy = self.set("i32", &format!("(call {alloc} (local.get {bytes}))"));
            put!(
                self,
                "(memory.copy $m {guest} (local.get {copy}) (local.get {text}) (local.get {bytes}))"
            );
            (at, length) = (format!("(local.get {copy})"), format!("(local.get {bytes})"));
        }
        put!(self, "(i32.store $m offset=8 (local.get {out}) {at})");
        put!(self, "(i32.store $m offset=12 (local.get {out}) {length})");
        self.after(result, lift);
        put!(self, "(return (local.get {out}))))");
    }

    // --- results ---

    /// `is_outermost`: it has as many items as there are rows.
    fn sink(&mut self, shape: &Shape, is_outermost: bool) -> Sink {
        let shape = if let Shape::Option(shape) = shape { shape } else { shape };
        let (length, nulls) = (self.local("i32"), self.local("i32"));
        let validity = self.buffer(None);
        let width = is_outermost.then(|| match shape {
            Shape::Bool => 1,
            shape => core_type(shape).map_or(4, |_| layout(shape).0),
        });
        let mut data = Vec::new();
        match shape {
            Shape::String | Shape::Bytes => data.extend([self.buffer(width), self.buffer(None)]),
            Shape::Record(_) | Shape::Tuple(_) => {}
            _ => data.push(self.buffer(width)),
        }
        let children = match shape {
            Shape::List(item) => vec![self.sink(item, false)],
            shape => {
                let parts = parts(shape).into_iter();
                parts.map(|part| self.sink(part, is_outermost)).collect()
            }
        };
        if matches!(shape, Shape::String | Shape::Bytes | Shape::List(_)) {
            self.append("i32.store", 4, &data[0], "(i32.const 0)");
        }
        Sink { length, nulls, validity, data, children }
    }

    /// A buffer with room for so many bytes of each row, if that is known.
    fn buffer(&mut self, width: Option<u32>) -> Buffer {
        let [at, used, size] = [(); 3].map(|()| self.local("i32"));
        if let Some(width) = width {
            let alloc = self.alloc;
            put!(
                self,
                "(local.set {size} (i32.add (i32.mul (local.get $rows) (i32.const {width}))
                    (i32.const 8)))"
            );
            put!(self, "(local.set {at} (call {alloc} (local.get {size})))");
        }
        Buffer { at, used, size }
    }

    /// Makes room for so many bytes.
    fn reserve(&mut self, buffer: &Buffer, used: &str, more: &str) {
        let (Buffer { at, size, .. }, grow) = (buffer, self.alloc + 1);
        put!(
            self,
            "(if (i32.gt_u (i32.add {used} {more}) (local.get {size})) (then
                (call {grow} (local.get {at}) {used} {more})
                (local.set {size}) (local.set {at})))"
        );
    }

    fn append(&mut self, store: &str, width: u32, buffer: &Buffer, value: &str) {
        let Buffer { at, used, .. } = buffer;
        self.reserve(buffer, &format!("(local.get {used})"), &format!("(i32.const {width})"));
        put!(self, "({store} $m (i32.add (local.get {at}) (local.get {used})) {value})");
        put!(self, "(local.set {used} (i32.add (local.get {used}) (i32.const {width})))");
    }

    /// Appends a bit to those before it.
    fn append_bit(&mut self, buffer: &Buffer, before: &str, bit: &str) {
        let Buffer { at, used, .. } = buffer;
        let byte = self.set("i32", &format!("(i32.shr_u (local.get {before}) (i32.const 3))"));
        put!(self, "(if (i32.eqz (i32.and (local.get {before}) (i32.const 7))) (then");
        self.reserve(buffer, &format!("(local.get {byte})"), "(i32.const 1)");
        put!(self, "(i32.store8 $m (i32.add (local.get {at}) (local.get {byte})) (i32.const 0))))");
        let place = self.set("i32", &format!("(i32.add (local.get {at}) (local.get {byte}))"));
        put!(
            self,
            "(i32.store8 $m (local.get {place}) (i32.or (i32.load8_u $m (local.get {place}))
                (i32.shl {bit} (i32.and (local.get {before}) (i32.const 7)))))"
        );
        put!(self, "(local.set {used} (i32.add (local.get {byte}) (i32.const 1)))");
    }

    fn lift_number(&mut self, shape: &Shape, sink: &Sink, value: &str) {
        match shape {
            Shape::Bool => {
                let bit = format!("(i32.ne {value} (i32.const 0))");
                self.append_bit(&sink.data[0], &sink.length, &bit);
            }
            shape => self.append(store(shape), layout(shape).0, &sink.data[0], value),
        }
        self.count(&sink.length);
    }

    /// Takes a value out of the guest's memory.
    fn lift(&mut self, shape: &Shape, sink: &Sink, from: (&str, u32)) {
        let (guest, (at, offset)) = (format!("$g{}", self.index), from);
        match shape {
            Shape::Option(inner) => {
                put!(self, "(if (i32.load8_u {guest} offset={offset} (local.get {at})) (then");
                self.append_bit(&sink.validity, &sink.length, "(i32.const 1)");
                self.lift(inner, sink, (at, offset + layout(inner).1));
                put!(self, ") (else");
                self.lift_null(shape, sink);
                put!(self, "))");
            }
            Shape::String | Shape::Bytes => {
                let [text, length] = self.pair(from);
                let bytes = &sink.data[1];
                let Buffer { at, used, .. } = bytes;
                self.reserve(
                    bytes,
                    &format!("(local.get {used})"),
                    &format!("(local.get {length})"),
                );
                put!(
                    self,
                    "(memory.copy $m {guest} (i32.add (local.get {at}) (local.get {used}))
                        (local.get {text}) (local.get {length}))"
                );
                put!(self, "(local.set {used} (i32.add (local.get {used}) (local.get {length})))");
                self.end_item(sink, used);
            }
            Shape::List(item) => {
                self.lift_items(item, &sink.children[0], from);
                self.end_item(sink, &sink.children[0].length);
            }
            Shape::Record(_) | Shape::Tuple(_) => {
                for ((place, part), sink) in places(shape).into_iter().zip(&sink.children) {
                    self.lift(part, sink, (at, offset + place));
                }
                self.count(&sink.length);
            }
            shape => {
                let value = format!("({} {guest} offset={offset} (local.get {at}))", load(shape));
                self.lift_number(shape, sink, &value);
            }
        }
    }

    /// Takes the items of a list out of the guest's memory.
    fn lift_items(&mut self, item: &Shape, sink: &Sink, from: (&str, u32)) {
        let [at, left] = self.pair(from);
        let size = layout(item).0;
        put!(self, "(block (loop (br_if 1 (i32.eqz (local.get {left})))");
        self.lift(item, sink, (&at, 0));
        put!(self, "(local.set {at} (i32.add (local.get {at}) (i32.const {size})))");
        put!(self, "(local.set {left} (i32.sub (local.get {left}) (i32.const 1)))");
        put!(self, "(br 0)))");
    }

    /// An address and a length out of the guest's memory.
    fn pair(&mut self, (at, offset): (&str, u32)) -> [String; 2] {
        let guest = self.index;
        [offset, offset + 4].map(|offset| {
            let value = format!("(i32.load $g{guest} offset={offset} (local.get {at}))");
            self.set("i32", &value)
        })
    }

    /// NULL, for what may be it; what stands in a field of a row that is NULL, for what may not.
    fn lift_null(&mut self, shape: &Shape, sink: &Sink) {
        match shape {
            Shape::Option(inner) => {
                self.append_bit(&sink.validity, &sink.length, "(i32.const 0)");
                self.count(&sink.nulls);
                self.lift_null(inner, sink);
            }
            Shape::String | Shape::Bytes => self.end_item(sink, &sink.data[1].used),
            Shape::List(_) => self.end_item(sink, &sink.children[0].length),
            Shape::Record(_) | Shape::Tuple(_) => {
                for (part, sink) in parts(shape).into_iter().zip(&sink.children) {
                    self.lift_null(part, sink);
                }
                self.count(&sink.length);
            }
            shape => {
                let zero = format!("({}.const 0)", core_type(shape).unwrap_or("i32"));
                self.lift_number(shape, sink, &zero);
            }
        }
    }

    /// A text or list ends where its column does.
    fn end_item(&mut self, sink: &Sink, end: &str) {
        self.append("i32.store", 4, &sink.data[0], &format!("(local.get {end})"));
        self.count(&sink.length);
    }

    fn count(&mut self, local: &str) {
        put!(self, "(local.set {local} (i32.add (local.get {local}) (i32.const 1)))");
    }

    /// Leaves the address of the result.
    fn give(&mut self, sink: &Sink) {
        let alloc = self.alloc;
        let (mut nodes, mut buffers) = (Vec::new(), Vec::new());
        flatten(sink, &mut nodes, &mut buffers);
        let out = self.set("i32", &format!("(call {alloc} (i32.const {RESULT_SIZE}))"));
        put!(self, "(i32.store8 $m (local.get {out}) (i32.const 0))");
        for (pairs, offset) in [(nodes, 4), (buffers, 12)] {
            let count = pairs.len();
            let list = self.set("i32", &format!("(call {alloc} (i32.const {}))", count * 8));
            for (index, (first, second)) in pairs.iter().enumerate() {
                let at = index * 8;
                put!(self, "(i32.store $m offset={at} (local.get {list}) {first})");
                let at = at + 4;
                put!(self, "(i32.store $m offset={at} (local.get {list}) {second})");
            }
            put!(self, "(i32.store $m offset={offset} (local.get {out}) (local.get {list}))");
            let after = offset + 4;
            put!(self, "(i32.store $m offset={after} (local.get {out}) (i32.const {count}))");
        }
        put!(self, "(local.get {out})");
    }
}

/// Where the value of a `result` is, or its error.
fn payload(function: &Function) -> u32 {
    let align = layout(&function.result).1;
    match function.fails {
        Fails::WithText => align.max(4),
        _ => align,
    }
}

fn is_valid(source: &Source, index: &str) -> String {
    let Source { validity, validity_length, .. } = source;
    let bit = bit(validity, index);
    format!("(if (result i32) (local.get {validity_length}) (then {bit}) (else (i32.const 1)))")
}

fn bit(bits: &str, index: &str) -> String {
    format!(
        "(i32.and (i32.const 1) (i32.shr_u
            (i32.load8_u $m (i32.add (local.get {bits})
                (i32.shr_u (local.get {index}) (i32.const 3))))
            (i32.and (local.get {index}) (i32.const 7))))"
    )
}

/// An item of a column of numbers.
fn number(shape: &Shape, source: &Source, index: &str) -> String {
    let data = &source.data[0];
    match shape {
        Shape::Bool => bit(data, index),
        shape => format!(
            "({} $m (i32.add (local.get {data}) (i32.mul (local.get {index}) (i32.const {}))))",
            load(shape),
            layout(shape).0
        ),
    }
}

/// Nodes and buffers in the order of [`crate::columns`].
fn flatten(sink: &Sink, nodes: &mut Vec<(String, String)>, buffers: &mut Vec<(String, String)>) {
    let get = |local: &str| format!("(local.get {local})");
    let Sink { length, nulls, validity, data, children } = sink;
    nodes.push((get(length), get(nulls)));
    let used = format!("(select {} (i32.const 0) {})", get(&validity.used), get(nulls));
    buffers.push((get(&validity.at), used));
    buffers.extend(data.iter().map(|buffer| (get(&buffer.at), get(&buffer.used))));
    for child in children {
        flatten(child, nodes, buffers);
    }
}
