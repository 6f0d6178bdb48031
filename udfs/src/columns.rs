//! Columns on their way into a guest's memory and back: Arrow's arrays flattened to nodes and
//! buffers, as `wit/udf.wit` says.
//!
//! The rule: what comes back is looked at as if it were written to harm. Lengths, offsets, UTF-8
//! and the digits of decimals are checked before an array is made of it.

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, Decimal128Array, OffsetSizeTrait, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::types::Name;

/// The most items an array from a guest may have.
const LENGTH_MAX: u32 = 1 << 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Node {
    length: u32,
    nulls: u32,
}

/// What goes to a guest.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct BatchOut<'a> {
    rows: u32,
    nodes: &'a [Node],
    buffers: &'a [&'a [u8]],
}

/// What a guest gives.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct BatchIn {
    /// Each column has its own length, which is what counts.
    #[expect(dead_code, reason = "part of the record")]
    rows: u32,
    nodes: Vec<Node>,
    buffers: Vec<Vec<u8>>,
}

/// Flattened columns.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    nodes: Vec<Node>,
    buffers: Vec<Buffer>,
}

impl Columns {
    /// Of types that [`crate::types`] has; others are a mistake of the caller.
    pub fn new<'a>(arrays: impl IntoIterator<Item = &'a ArrayRef>) -> Columns {
        let mut columns = Columns::default();
        for array in arrays {
            columns.push(array.as_ref());
        }
        columns
    }

    /// Gives `take` the columns as a batch of so many rows.
    pub fn with_batch<T>(&self, rows: usize, take: impl FnOnce(BatchOut<'_>) -> T) -> T {
        let nodes = &self.nodes;
        self.with_buffers(|buffers| take(BatchOut { rows: rows as u32, nodes, buffers }))
    }

    /// Gives `take` the buffers alone.
    pub fn with_buffers<T>(&self, take: impl FnOnce(&[&[u8]]) -> T) -> T {
        let buffers: Vec<&[u8]> = self.buffers.iter().map(Buffer::as_slice).collect();
        take(&buffers)
    }

    fn push(&mut self, array: &dyn Array) {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let count = nulls.map_or(0, NullBuffer::null_count);
        self.nodes.push(Node { length: array.len() as u32, nulls: count as u32 });
        self.buffers.push(nulls.map_or_else(empty, |nulls| nulls.inner().sliced()));
        match array.data_type() {
            DataType::Boolean => self.buffers.push(array.as_boolean().values().sliced()),
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                self.push_bytes(array.offsets(), array.values());
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                self.push_bytes(array.offsets(), array.values());
            }
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                let (offsets, first, length) = from_zero(array.offsets());
                self.buffers.push(offsets);
                self.push(array.values().slice(first, length).as_ref());
            }
            DataType::Struct(_) => {
                for column in array.as_struct().columns() {
                    self.push(column.as_ref());
                }
            }
            other => {
                let width = other.primitive_width().expect("a type that functions have");
                let data = array.to_data();
                let (start, length) = (data.offset() * width, data.len() * width);
                self.buffers.push(data.buffers()[0].slice_with_length(start, length));
            }
        }
    }

    fn push_bytes(&mut self, offsets: &OffsetBuffer<i32>, values: &Buffer) {
        let (offsets, first, length) = from_zero(offsets);
        self.buffers.push(offsets);
        self.buffers.push(values.slice_with_length(first, length));
    }
}

fn empty() -> Buffer {
    Buffer::from_vec(Vec::<u8>::new())
}

/// Offsets that begin at 0, where they began, and how far they reach from there.
fn from_zero<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (Buffer, usize, usize) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let buffer = match first.as_usize() {
        0 => offsets.inner().inner().clone(),
        _ => Buffer::from_iter(offsets.iter().map(|offset| *offset - first)),
    };
    (buffer, first.as_usize(), (last - first).as_usize())
}

/// The columns of these types, of which nothing else may be left. What is wrong with them, if they
/// are none.
pub fn columns(batch: BatchIn, types: &[&DataType]) -> Result<Vec<ArrayRef>, String> {
    read(batch.nodes, batch.buffers, types)
}

/// The same of nodes, which are lengths and how many items are NULL, and buffers.
pub fn of_parts(
    nodes: Vec<(u32, u32)>,
    buffers: Vec<Vec<u8>>,
    types: &[&DataType],
) -> Result<Vec<ArrayRef>, String> {
    let nodes = nodes.into_iter().map(|(length, nulls)| Node { length, nulls });
    read(nodes.collect(), buffers, types)
}

fn read(
    nodes: Vec<Node>,
    buffers: Vec<Vec<u8>>,
    types: &[&DataType],
) -> Result<Vec<ArrayRef>, String> {
    let mut reader = Reader { nodes: nodes.into_iter(), buffers: buffers.into_iter() };
    let arrays = types.iter().enumerate().map(|(index, data_type)| {
        let said = |error| format!("column {index} ({}): {error}", Name(data_type));
        reader.array(data_type).map(make_array).map_err(said)
    });
    let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
    match (reader.nodes.len(), reader.buffers.len()) {
        (0, 0) => Ok(arrays),
        (nodes, buffers) => Err(format!(
            "{nodes} nodes and {buffers} buffers are left over after {} columns",
            types.len()
        )),
    }
}

struct Reader {
    nodes: std::vec::IntoIter<Node>,
    buffers: std::vec::IntoIter<Vec<u8>>,
}

impl Reader {
    fn array(&mut self, data_type: &DataType) -> Result<ArrayData, String> {
        let node = self.nodes.next().ok_or("there is no node for it")?;
        if node.length > LENGTH_MAX {
            return Err(format!("{} items, more than {LENGTH_MAX}", node.length));
        }
        let length = node.length as usize;
        let nulls = self.nulls(node)?;
        let mut data = ArrayData::builder(data_type.clone()).len(length).nulls(nulls);
        match data_type {
            DataType::Boolean => {
                data = data.add_buffer(self.buffer(length.div_ceil(8), "values")?);
            }
            DataType::Utf8 | DataType::Binary => {
                let offsets = self.buffer((length + 1) * 4, "offsets")?;
                let bytes = self.buffer(0, "bytes")?;
                let is_right = is_ascii(length, &offsets, &bytes);
                data = data.add_buffer(offsets).add_buffer(bytes);
                if is_right {
                    // SAFETY: that is all that there is to be right.
                    return Ok(unsafe { data.align_buffers(true).build_unchecked() });
                }
            }
            DataType::List(item) => {
                data = data.add_buffer(self.buffer((length + 1) * 4, "offsets")?);
                data = data.add_child_data(self.array(item.data_type())?);
            }
            DataType::Struct(fields) => {
                for field in fields {
                    let said = |error| format!("field '{}': {error}", field.name());
                    data = data.add_child_data(self.array(field.data_type()).map_err(said)?);
                }
            }
            other => {
                let width = other.primitive_width().expect("a type that functions have");
                data = data.add_buffer(self.buffer(length * width, "values")?);
            }
        }
        let data = data.align_buffers(true).build().map_err(|error| error.to_string())?;
        if let DataType::Decimal128(precision, _) = data_type {
            let array = Decimal128Array::from(data);
            let in_range = array.validate_decimal_precision(*precision);
            in_range.map_err(|error| error.to_string())?;
            return Ok(array.into_data());
        }
        Ok(data)
    }

    fn nulls(&mut self, node: Node) -> Result<Option<NullBuffer>, String> {
        let length = node.length as usize;
        let bits = self.buffers.next().ok_or("there is no buffer of its validity")?;
        if bits.is_empty() {
            return match node.nulls {
                0 => Ok(None),
                nulls => Err(format!("{nulls} items are NULL, and it has no validity")),
            };
        }
        if bits.len() < length.div_ceil(8) {
            return Err(format!("{} bytes of validity for {length} items", bits.len()));
        }
        let bits = BooleanBuffer::new(Buffer::from_vec(bits), 0, length);
        Ok(Some(NullBuffer::new(bits)).filter(|nulls| nulls.null_count() > 0))
    }

    fn buffer(&mut self, size_min: usize, what: &str) -> Result<Buffer, String> {
        let bytes = self.buffers.next().ok_or_else(|| format!("there is no buffer of {what}"))?;
        match bytes.len() < size_min {
            true => Err(format!("{} bytes of {what}, {size_min} are needed", bytes.len())),
            false => Ok(Buffer::from_vec(bytes)),
        }
    }
}

/// Whether texts are right, as can be seen at a glance: of ASCII alone, with offsets that ascend
/// and end within it. Arrow looks at the others, text by text.
fn is_ascii(length: usize, offsets: &Buffer, bytes: &Buffer) -> bool {
    let offsets = &offsets.as_slice().as_chunks::<4>().0[..=length];
    let offset = |at: usize| i32::from_le_bytes(offsets[at]);
    // Without a branch for each, so that many are looked at at once.
    let ascends = offsets.iter().zip(&offsets[1..]).fold(true, |ascends, (one, next)| {
        ascends & (i32::from_le_bytes(*one) <= i32::from_le_bytes(*next))
    });
    let ends_within = usize::try_from(offset(length)).is_ok_and(|end| end <= bytes.len());
    ascends && offset(0) >= 0 && ends_within && bytes.is_ascii()
}

/// Which rows have no argument that is NULL; none, if that is all of them.
pub fn rows_without_null<'a>(
    arrays: impl IntoIterator<Item = &'a ArrayRef>,
) -> Option<BooleanArray> {
    let nulls = arrays.into_iter().fold(None, |nulls, array| {
        NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref())
    });
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0)?;
    Some(BooleanArray::new(nulls.into_inner(), None))
}
