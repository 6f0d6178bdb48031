//! The canonical ABI of `millstream:udf@0.1.0`: how the host's calls arrive, and what it reads.
//!
//! What the host hands over is in memory of [`realloc`] and the function's own; what it is given
//! stays until it says that it has read it.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Once;

use crate::host::{Level, log};
use crate::output::Outputs;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Scalar,
    Table,
    Aggregate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    Evaluate,
    Update,
    Retract,
    Merge,
    Finish,
}

pub struct Argument {
    pub name: &'static str,
    pub sql_type: String,
    pub default: Option<&'static str>,
}

pub struct Signature {
    pub name: &'static str,
    pub kind: Kind,
    pub arguments: Vec<Argument>,
    pub returns: String,
    pub sees_null: bool,
    pub is_deterministic: bool,
    pub retracts: bool,
}

/// One of a module's functions.
pub struct Function {
    /// Where it stands in its file.
    pub line: u32,
    pub signature: fn() -> Signature,
    pub run: fn(Operation, &Batch) -> Result<Outputs, Failure>,
}

/// Columns of rows, as they come.
pub struct Batch {
    pub rows: usize,
    pub(crate) nodes: Vec<Node>,
    pub(crate) buffers: Vec<Vec<u8>>,
}

/// Why a call gives nothing.
pub struct Failure {
    pub row: Option<u32>,
    pub message: String,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Node {
    pub length: u32,
    pub nulls: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Buffer {
    pub data: *const u8,
    pub length: usize,
}

impl Buffer {
    fn of<T>(items: &[T]) -> Buffer {
        Buffer { data: items.as_ptr().cast(), length: items.len() }
    }
}

#[repr(C)]
struct ArgumentRecord {
    name: Buffer,
    sql_type: Buffer,
    has_default: u8,
    default: Buffer,
}

#[repr(C)]
struct SignatureRecord {
    name: Buffer,
    kind: u8,
    arguments: Buffer,
    returns: Buffer,
    sees_null: u8,
    is_deterministic: u8,
    retracts: u8,
}

/// `result<batch, failure>`.
#[expect(dead_code, reason = "the host reads it")]
#[repr(C, u8)]
enum CallResult {
    Ok { rows: u32, nodes: Buffer, buffers: Buffer },
    Err { has_row: u8, row: u32, message: Buffer },
}

thread_local! {
    /// Those of the module.
    static FUNCTIONS: RefCell<Vec<&'static Function>> = const { RefCell::new(Vec::new()) };
    /// What the host has not read yet.
    static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Adds a function to the module, if it is not there yet: constructors may be called twice.
pub fn register(function: &'static Function) {
    FUNCTIONS.with_borrow_mut(|functions| {
        if !functions.iter().any(|known| std::ptr::eq(*known, function)) {
            functions.push(function);
        }
    });
}

/// The module's functions, as they follow each other in a file.
fn functions() -> Vec<&'static Function> {
    #[cfg(target_family = "wasm")]
    {
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }
        static CALLED: Once = Once::new();
        // SAFETY: the linker makes it of all constructors, and those of libraries are called by
        // nobody else where there is no `_initialize`.
        CALLED.call_once(|| {
            unsafe { __wasm_call_ctors() };
            FUNCTIONS.with_borrow_mut(|functions| functions.sort_by_key(|of| of.line));
        });
    }
    FUNCTIONS.with_borrow(Vec::clone)
}

fn keep<T: 'static>(value: T) {
    KEPT.with_borrow_mut(|kept| kept.push(Box::new(value)));
}

/// Gives away a record that stays until [`read`].
fn give<T: 'static>(record: T) -> *const u8 {
    let record = Box::new(record);
    let address = (&raw const *record).cast();
    keep(record);
    address
}

/// The host has read what it was given.
fn read() {
    KEPT.take();
}

/// A panic's message goes to the log: all that the host sees of it is that the module gave up.
fn tell_of_panics() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
    });
}

/// `describe: func() -> list<signature>`
fn describe() -> *const u8 {
    tell_of_panics();
    let records = functions().into_iter().map(|function| record((function.signature)()));
    let records: Vec<SignatureRecord> = records.collect();
    let list = Buffer::of(&records);
    keep(records);
    give(list)
}

fn record(signature: Signature) -> SignatureRecord {
    let arguments = signature.arguments.iter().map(|argument| ArgumentRecord {
        name: Buffer::of(argument.name.as_bytes()),
        sql_type: Buffer::of(argument.sql_type.as_bytes()),
        has_default: argument.default.is_some().into(),
        default: Buffer::of(argument.default.unwrap_or_default().as_bytes()),
    });
    let arguments: Vec<ArgumentRecord> = arguments.collect();
    let record = SignatureRecord {
        name: Buffer::of(signature.name.as_bytes()),
        kind: signature.kind as u8,
        arguments: Buffer::of(&arguments),
        returns: Buffer::of(signature.returns.as_bytes()),
        sees_null: signature.sees_null.into(),
        is_deterministic: signature.is_deterministic.into(),
        retracts: signature.retracts.into(),
    };
    keep((signature, arguments));
    record
}

/// `call: func(function: u32, operation: operation, input: batch) -> result<batch, failure>`
///
/// # Safety
///
/// `input` is what the host hands over, in memory of [`realloc`].
unsafe fn call(function: u32, operation: u32, input: Input) -> *const u8 {
    tell_of_panics();
    // SAFETY: as the caller says.
    let batch = unsafe { input.batch() };
    let operation = match operation {
        0 => Operation::Evaluate,
        1 => Operation::Update,
        2 => Operation::Retract,
        3 => Operation::Merge,
        _ => Operation::Finish,
    };
    give(match (functions()[function as usize].run)(operation, &batch) {
        Ok(Outputs { nodes, buffers, kept }) => {
            let rows = nodes.first().map_or(0, |node| node.length);
            let result =
                CallResult::Ok { rows, nodes: Buffer::of(&nodes), buffers: Buffer::of(&buffers) };
            keep((nodes, buffers, kept));
            result
        }
        Err(Failure { row, message }) => {
            let (has_row, row) = (row.is_some().into(), row.unwrap_or(0));
            let result = CallResult::Err { has_row, row, message: Buffer::of(message.as_bytes()) };
            keep(message);
            result
        }
    })
}

/// A batch as parameters.
struct Input {
    rows: u32,
    nodes: *mut Node,
    nodes_count: usize,
    buffers: *mut Buffer,
    buffers_count: usize,
}

impl Input {
    /// # Safety
    ///
    /// All of it is in memory of [`realloc`], once.
    unsafe fn batch(self) -> Batch {
        // SAFETY: each list was allocated for just so many items, and is given away once.
        unsafe {
            let owned = |buffer: &Buffer| {
                Vec::from_raw_parts(buffer.data.cast_mut(), buffer.length, buffer.length)
            };
            let buffers = Vec::from_raw_parts(self.buffers, self.buffers_count, self.buffers_count);
            Batch {
                rows: self.rows as usize,
                nodes: Vec::from_raw_parts(self.nodes, self.nodes_count, self.nodes_count),
                buffers: buffers.iter().map(owned).collect(),
            }
        }
    }
}

/// `cabi_realloc`
///
/// # Safety
///
/// `old` has `length` bytes of this function and this alignment, or `length` is 0.
unsafe fn realloc(old: *mut u8, length: usize, align: usize, size: usize) -> *mut u8 {
    use std::alloc::{Layout, alloc, handle_alloc_error, realloc};

    if size == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    let layout = |size| {
        Layout::from_size_align(size, align).expect("the host asks for what can be in memory")
    };
    // SAFETY: as the caller says; neither size is 0.
    let fresh = unsafe {
        match length {
            0 => alloc(layout(size)),
            length => realloc(old, layout(length), size),
        }
    };
    if fresh.is_null() {
        handle_alloc_error(layout(size));
    }
    fresh
}

/// What a module exports. Where it is no WebAssembly, nobody calls it.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
mod exports {
    use super::{Buffer, Input, Node};

    #[cfg_attr(target_family = "wasm", unsafe(export_name = "cabi_realloc"))]
    unsafe extern "C" fn realloc(
        old: *mut u8,
        length: usize,
        align: usize,
        size: usize,
    ) -> *mut u8 {
        // SAFETY: as the canonical ABI has it.
        unsafe { super::realloc(old, length, align, size) }
    }

    #[cfg_attr(
        target_family = "wasm",
        unsafe(export_name = "millstream:udf/functions@0.1.0#describe")
    )]
    extern "C" fn describe() -> *const u8 {
        super::describe()
    }

    #[cfg_attr(
        target_family = "wasm",
        unsafe(export_name = "cabi_post_millstream:udf/functions@0.1.0#describe")
    )]
    extern "C" fn described(_: *const u8) {
        super::read();
    }

    #[cfg_attr(target_family = "wasm", unsafe(export_name = "millstream:udf/functions@0.1.0#call"))]
    unsafe extern "C" fn call(
        function: u32,
        operation: u32,
        rows: u32,
        nodes: *mut Node,
        nodes_count: usize,
        buffers: *mut Buffer,
        buffers_count: usize,
    ) -> *const u8 {
        let input = Input { rows, nodes, nodes_count, buffers, buffers_count };
        // SAFETY: the host hands it over in memory of `realloc`.
        unsafe { super::call(function, operation, input) }
    }

    #[cfg_attr(
        target_family = "wasm",
        unsafe(export_name = "cabi_post_millstream:udf/functions@0.1.0#call")
    )]
    extern "C" fn called(_: *const u8) {
        super::read();
    }
}
