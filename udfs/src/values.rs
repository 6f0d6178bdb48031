//! Single values of WIT types, and items of Arrow's arrays.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, PrimitiveArray, StringArray,
    StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{ComponentDefinedType, ComponentValType};
use wasmparser::types::TypesRef;
use wasmtime::component::Val;

use crate::typed_abi::exports::Fails;

/// Types within types: what is deeper is left out.
const DEPTH_MAX: usize = 16;

/// A WIT type that has a type of SQL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Bool,
    S8,
    S16,
    S32,
    S64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Char,
    String,
    Enum(Vec<String>),
    Bytes,
    List(Box<Shape>),
    Option(Box<Shape>),
    Record(Vec<(String, Shape)>),
    Tuple(Vec<Shape>),
}

impl Shape {
    /// # Errors
    ///
    /// The name of a type that has no counterpart.
    pub fn new(types: TypesRef<'_>, ty: &ComponentValType) -> Result<Shape, String> {
        Shape::nested(types, ty, 0)
    }

    fn nested(types: TypesRef<'_>, ty: &ComponentValType, depth: usize) -> Result<Shape, String> {
        let below = |ty: &ComponentValType| Shape::nested(types, ty, depth + 1);
        if depth > DEPTH_MAX {
            return Err("its type is nested too deeply".to_owned());
        }
        let ty = match ty {
            ComponentValType::Primitive(primitive) => return Shape::primitive(*primitive),
            ComponentValType::Type(id) => &types[*id],
        };
        Ok(match ty {
            ComponentDefinedType::Primitive(primitive) => return Shape::primitive(*primitive),
            ComponentDefinedType::Enum(names) => {
                Shape::Enum(names.iter().map(|name| name.as_str().to_owned()).collect())
            }
            ComponentDefinedType::List { element, .. } => match below(element)? {
                Shape::U8 => Shape::Bytes,
                item => Shape::List(Box::new(item)),
            },
            ComponentDefinedType::Option { ty, .. } => match below(ty)? {
                Shape::Option(_) => return Err("an option of an option".to_owned()),
                shape => Shape::Option(Box::new(shape)),
            },
            ComponentDefinedType::Record(record) => {
                let fields = record.fields.iter();
                let fields = fields.map(|(name, ty)| Ok((name.as_str().to_owned(), below(ty)?)));
                Shape::Record(fields.collect::<Result<_, String>>()?)
            }
            ComponentDefinedType::Tuple(tuple) => {
                Shape::Tuple(tuple.types.iter().map(below).collect::<Result<_, _>>()?)
            }
            ComponentDefinedType::Variant(_) => {
                return Err("a variant has no type in SQL".to_owned());
            }
            ComponentDefinedType::Flags(_) => return Err("flags have no type in SQL".to_owned()),
            ComponentDefinedType::Result { .. } => return Err("a result within a type".to_owned()),
            ComponentDefinedType::Map { .. } => return Err("a map has no type in SQL".to_owned()),
            ComponentDefinedType::FixedLengthList { .. } => {
                return Err("a list of a fixed length has no type in SQL".to_owned());
            }
            _ => return Err("a resource, stream or future has no type in SQL".to_owned()),
        })
    }

    fn primitive(ty: PrimitiveValType) -> Result<Shape, String> {
        Ok(match ty {
            PrimitiveValType::Bool => Shape::Bool,
            PrimitiveValType::S8 => Shape::S8,
            PrimitiveValType::S16 => Shape::S16,
            PrimitiveValType::S32 => Shape::S32,
            PrimitiveValType::S64 => Shape::S64,
            PrimitiveValType::U8 => Shape::U8,
            PrimitiveValType::U16 => Shape::U16,
            PrimitiveValType::U32 => Shape::U32,
            PrimitiveValType::U64 => Shape::U64,
            PrimitiveValType::F32 => Shape::F32,
            PrimitiveValType::F64 => Shape::F64,
            PrimitiveValType::Char => Shape::Char,
            PrimitiveValType::String => Shape::String,
            PrimitiveValType::ErrorContext => {
                return Err("an error context has no type in SQL".to_owned());
            }
        })
    }

    pub fn data_type(&self) -> DataType {
        match self {
            Shape::Bool => DataType::Boolean,
            Shape::S8 => DataType::Int8,
            Shape::S16 => DataType::Int16,
            Shape::S32 => DataType::Int32,
            Shape::S64 => DataType::Int64,
            Shape::U8 => DataType::UInt8,
            Shape::U16 => DataType::UInt16,
            Shape::U32 => DataType::UInt32,
            Shape::U64 => DataType::UInt64,
            Shape::F32 => DataType::Float32,
            Shape::F64 => DataType::Float64,
            Shape::Char | Shape::String | Shape::Enum(_) => DataType::Utf8,
            Shape::Bytes => DataType::Binary,
            Shape::List(item) => DataType::new_list(item.data_type(), true),
            Shape::Option(shape) => shape.data_type(),
            Shape::Record(fields) => {
                let fields = fields.iter();
                let field = |(name, shape): &(String, Shape)| {
                    Field::new(crate::signature::sql_name(name), shape.data_type(), true)
                };
                DataType::Struct(fields.map(field).collect())
            }
            Shape::Tuple(shapes) => {
                let fields = shapes.iter().enumerate();
                let field = |(index, shape): (usize, &Shape)| {
                    Field::new(format!("f{index}"), shape.data_type(), true)
                };
                DataType::Struct(fields.map(field).collect())
            }
        }
    }

    pub fn is_option(&self) -> bool {
        matches!(self, Shape::Option(_))
    }

    /// T of `list<option<T>>`, as an option.
    pub fn optional_item(&self) -> Option<&Shape> {
        match self {
            Shape::List(item) if item.is_option() => Some(item),
            _ => None,
        }
    }
}

/// An item of an array.
///
/// # Errors
///
/// If there is NULL within it where the function knows none. An argument itself is never NULL
/// there.
pub(crate) fn value(shape: &Shape, array: &dyn Array, row: usize) -> Result<Val, String> {
    Ok(match shape {
        Shape::Option(_) if array.is_null(row) => Val::Option(None),
        Shape::Option(shape) => Val::Option(Some(Box::new(value(shape, array, row)?))),
        _ if array.is_null(row) => {
            return Err("an argument has NULL within it, and its type no option there".to_owned());
        }
        Shape::Bool => Val::Bool(array.as_boolean().value(row)),
        Shape::S8 => Val::S8(number::<Int8Type>(array, row)),
        Shape::S16 => Val::S16(number::<Int16Type>(array, row)),
        Shape::S32 => Val::S32(number::<Int32Type>(array, row)),
        Shape::S64 => Val::S64(number::<Int64Type>(array, row)),
        Shape::U8 => Val::U8(number::<UInt8Type>(array, row)),
        Shape::U16 => Val::U16(number::<UInt16Type>(array, row)),
        Shape::U32 => Val::U32(number::<UInt32Type>(array, row)),
        Shape::U64 => Val::U64(number::<UInt64Type>(array, row)),
        Shape::F32 => Val::Float32(number::<Float32Type>(array, row)),
        Shape::F64 => Val::Float64(number::<Float64Type>(array, row)),
        Shape::String => Val::String(array.as_string::<i32>().value(row).to_owned()),
        Shape::Enum(names) => {
            let name = array.as_string::<i32>().value(row);
            match names.iter().any(|known| known == name) {
                true => Val::Enum(name.to_owned()),
                false => return Err(format!("'{name}' is none of {}", names.join(", "))),
            }
        }
        Shape::Char => {
            let text = array.as_string::<i32>().value(row);
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (Some(c), None) => Val::Char(c),
                _ => return Err("a text that is not one character, for a char".to_owned()),
            }
        }
        Shape::Bytes => {
            let bytes = array.as_binary::<i32>().value(row);
            Val::List(bytes.iter().map(|byte| Val::U8(*byte)).collect())
        }
        Shape::List(item) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|at| value(item, items.as_ref(), at));
            Val::List(items.collect::<Result<_, _>>()?)
        }
        Shape::Record(fields) => {
            let fields = fields.iter().zip(array.as_struct().columns());
            let field = |((name, shape), column): (&(String, Shape), &ArrayRef)| {
                Ok((name.clone(), value(shape, column.as_ref(), row)?))
            };
            Val::Record(fields.map(field).collect::<Result<_, String>>()?)
        }
        Shape::Tuple(shapes) => {
            let items = shapes.iter().zip(array.as_struct().columns());
            let items = items.map(|(shape, column)| value(shape, column.as_ref(), row));
            Val::Tuple(items.collect::<Result<_, _>>()?)
        }
    })
}

fn number<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// An array of these values; they are taken out of the slice.
pub(crate) fn array(
    shape: &Shape,
    data_type: &DataType,
    values: &mut [Val],
) -> Result<ArrayRef, String> {
    let optional = Items { is_option: shape.is_option() };
    let shape = match shape {
        Shape::Option(shape) => shape,
        shape => shape,
    };
    macro_rules! numbers {
        ($of:ty, $val:ident) => {{
            let items = optional.of(values, |value| match value {
                Val::$val(number) => Some(number),
                _ => None,
            })?;
            Arc::new(PrimitiveArray::<$of>::from(items)) as ArrayRef
        }};
    }
    Ok(match shape {
        Shape::S8 => numbers!(Int8Type, S8),
        Shape::S16 => numbers!(Int16Type, S16),
        Shape::S32 => numbers!(Int32Type, S32),
        Shape::S64 => numbers!(Int64Type, S64),
        Shape::U8 => numbers!(UInt8Type, U8),
        Shape::U16 => numbers!(UInt16Type, U16),
        Shape::U32 => numbers!(UInt32Type, U32),
        Shape::U64 => numbers!(UInt64Type, U64),
        Shape::F32 => numbers!(Float32Type, Float32),
        Shape::F64 => numbers!(Float64Type, Float64),
        Shape::Bool => {
            let truths = optional.of(values, |value| match value {
                Val::Bool(truth) => Some(truth),
                _ => None,
            })?;
            Arc::new(BooleanArray::from(truths))
        }
        Shape::String | Shape::Enum(_) | Shape::Char => {
            let texts = optional.of(values, |value| match value {
                Val::String(text) | Val::Enum(text) => Some(text),
                Val::Char(c) => Some(c.to_string()),
                _ => None,
            })?;
            Arc::new(texts.into_iter().collect::<StringArray>())
        }
        Shape::Bytes => {
            let byte = |value| match value {
                Val::U8(byte) => Some(byte),
                _ => None,
            };
            let texts = optional.of(values, |value| match value {
                Val::List(bytes) => bytes.into_iter().map(byte).collect::<Option<Vec<u8>>>(),
                _ => None,
            })?;
            Arc::new(texts.into_iter().collect::<BinaryArray>())
        }
        Shape::List(item) => lists(item, data_type, &optional, values)?,
        Shape::Record(_) | Shape::Tuple(_) => rows(shape, data_type, &optional, values)?,
        Shape::Option(_) => return Err("an option of an option".to_owned()),
    })
}

fn unexpected() -> String {
    "a value has another type than its function".to_owned()
}

/// Values that may be options.
struct Items {
    is_option: bool,
}

impl Items {
    /// What is in each value: a value of another type is a mistake.
    fn of<T>(
        &self,
        values: &mut [Val],
        inner: impl Fn(Val) -> Option<T>,
    ) -> Result<Vec<Option<T>>, String> {
        let items = values.iter_mut().map(|value| match self.take(value) {
            None => Ok(None),
            Some(value) => inner(value).map(Some).ok_or_else(unexpected),
        });
        items.collect()
    }

    fn take(&self, value: &mut Val) -> Option<Val> {
        match (self.is_option, std::mem::replace(value, Val::Bool(false))) {
            (true, Val::Option(value)) => value.map(|value| *value),
            (_, value) => Some(value),
        }
    }
}

fn lists(
    item: &Shape,
    data_type: &DataType,
    optional: &Items,
    values: &mut [Val],
) -> Result<ArrayRef, String> {
    let DataType::List(field) = data_type else { return Err(unexpected()) };
    let (mut all, mut lengths, mut there) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let list = match optional.take(value) {
            None => None,
            Some(Val::List(items)) => Some(items),
            Some(_) => return Err(unexpected()),
        };
        there.push(list.is_some());
        lengths.push(list.as_ref().map_or(0, Vec::len));
        all.extend(list.unwrap_or_default());
    }
    let items = array(item, field.data_type(), &mut all)?;
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let nulls = Some(NullBuffer::from(there)).filter(|nulls| nulls.null_count() > 0);
    let lists = ListArray::try_new(field.clone(), offsets, items, nulls);
    Ok(Arc::new(lists.map_err(|error| error.to_string())?))
}

fn rows(
    shape: &Shape,
    data_type: &DataType,
    optional: &Items,
    values: &mut [Val],
) -> Result<ArrayRef, String> {
    let DataType::Struct(fields) = data_type else { return Err(unexpected()) };
    let shapes: Vec<&Shape> = match shape {
        Shape::Record(fields) => fields.iter().map(|(_, shape)| shape).collect(),
        Shape::Tuple(shapes) => shapes.iter().collect(),
        _ => return Err(unexpected()),
    };
    let mut columns: Vec<Vec<Val>> = shapes.iter().map(|_| Vec::new()).collect();
    let mut there = Vec::with_capacity(values.len());
    for value in values {
        let items: Option<Vec<Val>> = match optional.take(value) {
            None => None,
            Some(Val::Record(fields)) => Some(fields.into_iter().map(|(_, value)| value).collect()),
            Some(Val::Tuple(items)) => Some(items),
            Some(_) => return Err(unexpected()),
        };
        there.push(items.is_some());
        match items {
            Some(items) if items.len() == columns.len() => {
                columns.iter_mut().zip(items).for_each(|(column, item)| column.push(item));
            }
            Some(_) => return Err(unexpected()),
            None => {
                let shapes = columns.iter_mut().zip(&shapes);
                shapes.for_each(|(column, shape)| column.push(zero(shape)));
            }
        }
    }
    let arrays = columns
        .iter_mut()
        .zip(&shapes)
        .zip(fields)
        .map(|((column, shape), field)| array(shape, field.data_type(), column));
    let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
    let nulls = Some(NullBuffer::from(there)).filter(|nulls| nulls.null_count() > 0);
    let rows = StructArray::try_new(fields.clone(), arrays, nulls);
    Ok(Arc::new(rows.map_err(|error| error.to_string())?))
}

/// What stands in a field of a row that is NULL.
fn zero(shape: &Shape) -> Val {
    match shape {
        Shape::Bool => Val::Bool(false),
        Shape::S8 => Val::S8(0),
        Shape::S16 => Val::S16(0),
        Shape::S32 => Val::S32(0),
        Shape::S64 => Val::S64(0),
        Shape::U8 => Val::U8(0),
        Shape::U16 => Val::U16(0),
        Shape::U32 => Val::U32(0),
        Shape::U64 => Val::U64(0),
        Shape::F32 => Val::Float32(0.0),
        Shape::F64 => Val::Float64(0.0),
        Shape::Char => Val::Char('\0'),
        Shape::String | Shape::Enum(_) => Val::String(String::new()),
        Shape::Bytes | Shape::List(_) => Val::List(Vec::new()),
        Shape::Option(_) => Val::Option(None),
        Shape::Record(fields) => {
            let field = |(name, shape): &(String, Shape)| (name.clone(), zero(shape));
            Val::Record(fields.iter().map(field).collect())
        }
        Shape::Tuple(shapes) => Val::Tuple(shapes.iter().map(zero).collect()),
    }
}

/// A guest's error, for a person.
pub(crate) fn text(value: &Val) -> String {
    match value {
        Val::String(text) | Val::Enum(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// What a `result` has if all is well, and what it fails with; none, if it is no result.
pub(crate) fn result(
    types: TypesRef<'_>,
    ty: &ComponentValType,
) -> Option<(Option<ComponentValType>, Fails)> {
    let ComponentValType::Type(id) = ty else { return None };
    let ComponentDefinedType::Result { ok, err, .. } = &types[*id] else { return None };
    let fails = match err.map(|error| Shape::new(types, &error)) {
        None => Fails::Silently,
        Some(Ok(Shape::String)) => Fails::WithText,
        Some(_) => Fails::WithValue,
    };
    Some((*ok, fails))
}
