//! Values of any type come back as they were, by a loop and one by one.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, ListArray, PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use proptest::prelude::*;

use super::Running;
use crate::program::{Fault, Invocation, Operation, Running as AnyRunning};
use crate::values::Shape;
use crate::{Host, Module, Options};

static HOST: LazyLock<Arc<Host>> = LazyLock::new(|| Host::new(None).unwrap());

/// Gives back what it is given, whatever that is: an address and a length are all of a list. A
/// list of three fails its row.
const ECHO: &str = r#"(module
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "cabi_realloc") (param $old i32) (param $length i32) (param $align i32)
        (param $size i32) (result i32) (local $at i32)
        (if (local.get $length) (then unreachable))
        (local.set $at (i32.and
            (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get $align))))
        (global.set $next (i32.add (local.get $at) (local.get $size)))
        (block (loop
            (br_if 1 (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
            (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
            unreachable))
        (local.get $at))
    (func (export "columns") (param $at i32) (param $length i32) (result i32)
        (i32.store (i32.const 16) (local.get $at))
        (i32.store (i32.const 20) (local.get $length))
        (i32.const 16))
    (func (export "rows") (param $at i32) (param $length i32) (result i32)
        (i32.store8 (i32.const 32) (i32.eq (local.get $length) (i32.const 3)))
        (i32.store (i32.const 36) (local.get $at))
        (i32.store (i32.const 40) (local.get $length))
        (if (i32.eq (local.get $length) (i32.const 3)) (then
            (i32.store (i32.const 36) (i32.const 64))
            (i32.store (i32.const 40) (i32.const 5))))
        (i32.const 32))
    (func $done (param i32) (global.set $next (i32.const 1024)))
    (export "cabi_post_columns" (func $done))
    (export "cabi_post_rows" (func $done))
    (data (i32.const 64) "three"))"#;

fn wit(shape: &Shape) -> String {
    match shape {
        Shape::Bytes => "list<u8>".to_owned(),
        Shape::List(item) => format!("list<{}>", wit(item)),
        Shape::Option(inner) => format!("option<{}>", wit(inner)),
        Shape::Tuple(parts) => {
            let parts: Vec<String> = parts.iter().map(wit).collect();
            format!("tuple<{}>", parts.join(", "))
        }
        plain => format!("{plain:?}").to_lowercase(),
    }
}

/// Types that loops know. `u8` is left to `list<u8>` within lists.
fn shapes() -> impl Strategy<Value = Shape> {
    let plain = prop_oneof![
        Just(Shape::Bool),
        Just(Shape::S8),
        Just(Shape::S16),
        Just(Shape::U16),
        Just(Shape::S32),
        Just(Shape::U32),
        Just(Shape::S64),
        Just(Shape::U64),
        Just(Shape::F32),
        Just(Shape::F64),
        Just(Shape::String),
        Just(Shape::Bytes),
    ];
    plain.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|shape| match shape {
                Shape::Option(_) => shape,
                shape => Shape::Option(Box::new(shape)),
            }),
            inner.clone().prop_map(|shape| Shape::List(Box::new(shape))),
            proptest::collection::vec(prop_oneof![inner, Just(Shape::U8)], 1..4)
                .prop_map(Shape::Tuple),
        ]
    })
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn numbers<T: ArrowPrimitiveType>(
        &mut self,
        length: usize,
        nulls: Option<NullBuffer>,
        of: impl Fn(u64) -> T::Native,
    ) -> ArrayRef {
        let values = (0..length).map(|_| of(self.next())).collect();
        Arc::new(PrimitiveArray::<T>::new(values, nulls))
    }

    /// NULL only where a type is an option.
    fn array(&mut self, shape: &Shape, length: usize) -> ArrayRef {
        let (shape, nulls) = match shape {
            Shape::Option(inner) => {
                let valid = (0..length).map(|_| !self.next().is_multiple_of(4)).collect();
                (&**inner, Some(valid))
            }
            shape => (shape, None),
        };
        match shape {
            Shape::Bool => {
                let truths = (0..length).map(|_| self.next().is_multiple_of(2)).collect();
                Arc::new(BooleanArray::new(truths, nulls))
            }
            Shape::S8 => self.numbers::<Int8Type>(length, nulls, |n| n as i8),
            Shape::S16 => self.numbers::<Int16Type>(length, nulls, |n| n as i16),
            Shape::S32 => self.numbers::<Int32Type>(length, nulls, |n| n as i32),
            Shape::S64 => self.numbers::<Int64Type>(length, nulls, |n| (n << 13) as i64),
            Shape::U8 => self.numbers::<UInt8Type>(length, nulls, |n| n as u8),
            Shape::U16 => self.numbers::<UInt16Type>(length, nulls, |n| n as u16),
            Shape::U32 => self.numbers::<UInt32Type>(length, nulls, |n| n as u32),
            Shape::U64 => self.numbers::<UInt64Type>(length, nulls, |n| n << 11),
            Shape::F32 => self.numbers::<Float32Type>(length, nulls, |n| n as f32 / 3.0),
            Shape::F64 => self.numbers::<Float64Type>(length, nulls, |n| n as f64 / -3.0),
            Shape::String | Shape::Bytes => {
                let texts: Vec<String> = (0..length).map(|_| self.text()).collect();
                let texts = StringArray::from_iter_values(texts);
                let (offsets, bytes, _) = texts.into_parts();
                match shape {
                    Shape::String => Arc::new(StringArray::new(offsets, bytes, nulls)),
                    _ => Arc::new(BinaryArray::new(offsets, bytes, nulls)),
                }
            }
            Shape::List(item) => {
                let lengths: Vec<usize> = (0..length).map(|_| self.next() as usize % 5).collect();
                let items = self.array(item, lengths.iter().sum());
                let DataType::List(field) = shape.data_type() else { unreachable!() };
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::new(field, offsets, items, nulls))
            }
            Shape::Tuple(parts) => {
                let columns = parts.iter().map(|part| self.array(part, length)).collect();
                let DataType::Struct(fields) = shape.data_type() else { unreachable!() };
                Arc::new(StructArray::new(fields, columns, nulls))
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// One in fifty is long.
    fn text(&mut self) -> String {
        let long = if self.next().is_multiple_of(50) { 9000 } else { 1 };
        "é漢@🦀x".repeat(self.next() as usize % 4 * long)
    }
}

fn running(module: &Module) -> Running {
    match module.start().unwrap() {
        AnyRunning::Typed(running) => running,
        _ => panic!("it is no typed module"),
    }
}

fn call(
    running: &mut Running,
    function: usize,
    array: &ArrayRef,
    by_loop: bool,
) -> Result<ArrayRef, String> {
    let data_type = array.data_type();
    let invocation = Invocation {
        function,
        operation: Operation::Evaluate,
        arguments: std::slice::from_ref(array),
        rows: array.len(),
        results: &[data_type],
    };
    let loop_over = match by_loop {
        true => None,
        false => running.functions[function].2.take(),
    };
    let given = running.call(&invocation);
    if !by_loop {
        running.functions[function].2 = loop_over;
    }
    match given {
        Ok(mut columns) => Ok(columns.remove(0)),
        Err(Fault::Failed { row, reason }) => Err(format!("row {row:?}: {reason}")),
        Err(Fault::Wrong(reason)) => panic!("{reason}"),
        Err(Fault::Stopped(error)) => panic!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn values_of_any_type_come_back_by_loops_and_one_by_one(
        shape in shapes(), seed in 1u64.., lengths in proptest::collection::vec(0usize..200, 1..4),
    ) {
        let column = match &shape {
            Shape::Option(_) => shape.clone(),
            shape => Shape::Option(Box::new(shape.clone())),
        };
        let (item, of) = (wit(&column), wit(&shape));
        let types = format!(
            "package a:b; world w {{
                export columns: func(xs: list<{item}>) -> list<{item}>;
                export rows: func(x: list<{of}>) -> result<list<{of}>, string>;
            }}"
        );
        let options = Options { wit: Some(types), ..Options::default() };
        let module = Module::new(&HOST, ECHO.as_bytes(), options).unwrap();
        let mut running = running(&module);
        let mut random = Random(seed);
        for (cut, length) in lengths.into_iter().enumerate() {
            for (function, (callable, shape)) in
                [("columns", &column), ("rows", &Shape::List(Box::new(shape.clone())))]
                    .into_iter().enumerate()
            {
                prop_assert_eq!(&running.functions[function].1.function.name, callable);
                prop_assert!(running.functions[function].2.is_some(), "it has no loop");
                let array = random.array(shape, length + cut).slice(cut, length);
                let by_loop = call(&mut running, function, &array, true);
                let one_by_one = call(&mut running, function, &array, false);
                prop_assert_eq!(&by_loop, &one_by_one);
                match by_loop {
                    Ok(same) => prop_assert_eq!(&same, &array),
                    Err(reason) => prop_assert!(reason.ends_with("three"), "{}", reason),
                }
            }
        }
    }
}

#[test]
fn functions_have_loops_but_those_of_characters_and_enums() {
    let path = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules").join(name);
    let wit = Some(std::fs::read_to_string(path("typed.wit")).unwrap());
    let options = Options { wit, ..Options::default() };
    let module = Module::load(&HOST, &path("typed.wasm"), options).unwrap();
    let running = running(&module);
    let without = running.functions.iter().filter(|(.., loop_over)| loop_over.is_none());
    let without: Vec<&str> = without.map(|(_, of, _)| &*of.function.name).collect();
    assert_eq!(without, ["name-of"]);
}
