//! Lists to rows, structs to columns.
//!
//! The rule: a row comes out once for each element of its list, with its event time. Several lists
//! are taken apart side by side, the shorter ones filled up with NULL. A row whose lists are NULL
//! or empty does not come out, unless the options say so. A list of lists may be taken apart to
//! any depth, and to several at once.

use std::fmt;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, GenericListViewArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use datafusion_common::{Result, UnnestOptions, exec_err};
use datafusion_expr::logical_plan;

use crate::rows::Rows;
use crate::tally::Dropped;

/// Which columns are taken apart.
#[derive(Debug)]
pub struct Unnest {
    lists: Vec<List>,
    /// Columns whose fields become columns, by index into those that come in.
    structs: Vec<usize>,
    options: UnnestOptions,
    pub schema: SchemaRef,
}

#[derive(Clone, Copy, Debug)]
struct List {
    /// By index into the columns that come in.
    column: usize,
    /// How many lists within lists; at least 1.
    depth: usize,
}

impl Unnest {
    pub fn new(plan: &logical_plan::Unnest) -> Unnest {
        let lists = plan.list_type_columns.iter();
        Unnest {
            lists: lists.map(|(column, of)| List { column: *column, depth: of.depth }).collect(),
            structs: plan.struct_type_columns.clone(),
            options: plan.options.clone(),
            schema: plan.schema.inner().clone(),
        }
    }

    /// Lists, by index into the columns that come in.
    pub fn list_columns(&self) -> impl Iterator<Item = usize> {
        self.lists.iter().map(|list| list.column)
    }

    /// The rows that come of these, and how many of these none come of; its NULLs are those without
    /// any list.
    pub fn apply(&self, rows: &Rows) -> Result<(Rows, Dropped)> {
        let mut without_lists = 0;
        let mut places: UInt64Array = (0..rows.len() as u64).collect();
        let mut elements: Vec<Option<ArrayRef>> = vec![None; self.lists.len()];
        let deepest = self.lists.iter().map(|list| list.depth).max().unwrap_or(0);
        for level in (1..=deepest).rev() {
            let mut lists = Vec::new();
            for (at, list) in self.lists.iter().enumerate().filter(|(_, of)| of.depth >= level) {
                let array = match elements[at].take() {
                    Some(array) => array,
                    None => take(rows.batch.column(list.column), &places, None)?,
                };
                lists.push((at, Lists::of(&array)?));
            }
            let lengths = self.lengths(&lists, places.len());
            if level == deepest {
                let is_without = |row: &usize| {
                    lengths[*row] == 0 && lists.iter().all(|(_, list)| list.ranges[*row].is_none())
                };
                without_lists = (0..rows.len()).filter(is_without).count();
            }
            for (at, list) in &lists {
                elements[*at] = Some(list.elements(&lengths)?);
            }
            let parents = lengths.iter().zip(places.values());
            places =
                parents.flat_map(|(&length, &place)| std::iter::repeat_n(place, length)).collect();
        }
        let batch = self.columns(&rows.batch, &places, &elements)?;
        // Rows come out in the order in which they came in.
        let left = places.values().chunk_by(|one, next| one == next).count();
        let dropped = Dropped { rows: (rows.len() - left) as u64, nulls: without_lists as u64 };
        Ok((rows.with_batch_of(batch, &places)?, dropped))
    }

    /// How many rows come of each.
    fn lengths(&self, lists: &[(usize, Lists)], rows: usize) -> Vec<usize> {
        let of_null = usize::from(self.options.preserve_nulls());
        let of_empty = usize::from(self.options.expand_empty_as_null());
        let length = |row: usize| {
            let lengths = lists.iter().map(|(_, list)| match list.ranges[row] {
                None => of_null.max(of_empty),
                Some((start, end)) if start == end => of_empty,
                Some((start, end)) => end - start,
            });
            lengths.max().unwrap_or(0)
        };
        (0..rows).map(length).collect()
    }

    fn columns(
        &self,
        batch: &RecordBatch,
        places: &UInt64Array,
        elements: &[Option<ArrayRef>],
    ) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (index, column) in batch.columns().iter().enumerate() {
            let of_list = self.lists.iter().zip(elements).filter(|(list, _)| list.column == index);
            let before = columns.len();
            columns.extend(of_list.filter_map(|(_, elements)| elements.clone()));
            if columns.len() > before {
                continue;
            }
            let column = take(column, places, None)?;
            match self.structs.contains(&index) {
                true => columns.extend_from_slice(column.as_struct().columns()),
                false => columns.push(column),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Lists of any kind: where each begins and ends among all elements.
struct Lists {
    values: ArrayRef,
    ranges: Vec<Option<(usize, usize)>>,
}

impl Lists {
    fn of(array: &ArrayRef) -> Result<Lists> {
        let (values, ranges): (_, Vec<(usize, usize)>) = match array.data_type() {
            DataType::List(_) => of_list(array.as_list::<i32>()),
            DataType::LargeList(_) => of_list(array.as_list::<i64>()),
            DataType::ListView(_) => of_view(array.as_list_view::<i32>()),
            DataType::LargeListView(_) => of_view(array.as_list_view::<i64>()),
            DataType::FixedSizeList(_, size) => {
                let (list, size) = (array.as_fixed_size_list(), *size as usize);
                let starts = (0..list.len()).map(|row| list.value_offset(row) as usize);
                (list.values().clone(), starts.map(|start| (start, start + size)).collect())
            }
            other => return exec_err!("UNNEST of {other}, which is no list"),
        };
        let ranges = ranges.into_iter().enumerate();
        let ranges = ranges.map(|(row, range)| array.is_valid(row).then_some(range)).collect();
        Ok(Lists { values, ranges })
    }

    /// The elements of all lists, each filled up to its length.
    fn elements(&self, lengths: &[usize]) -> Result<ArrayRef> {
        let mut wanted = arrow::array::PrimitiveBuilder::<UInt64Type>::with_capacity(
            lengths.iter().sum::<usize>(),
        );
        for (range, &length) in self.ranges.iter().zip(lengths) {
            let (start, end) = range.unwrap_or_default();
            (start..end).for_each(|at| wanted.append_value(at as u64));
            wanted.append_nulls(length - (end - start));
        }
        Ok(take(&self.values, &wanted.finish(), None)?)
    }
}

fn of_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> (ArrayRef, Vec<(usize, usize)>) {
    let ends = list.value_offsets().windows(2);
    (list.values().clone(), ends.map(|ends| (ends[0].as_usize(), ends[1].as_usize())).collect())
}

fn of_view<O: OffsetSizeTrait>(list: &GenericListViewArray<O>) -> (ArrayRef, Vec<(usize, usize)>) {
    let starts = list.value_offsets().iter().zip(list.value_sizes());
    let ranges = starts.map(|(start, size)| (start.as_usize(), start.as_usize() + size.as_usize()));
    (list.values().clone(), ranges.collect())
}

impl fmt::Display for Unnest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.lists.iter().map(|list| match list.depth {
            1 => format!("@{}", list.column),
            depth => format!("@{} to depth {depth}", list.column),
        });
        let structs = self.structs.iter().map(|column| format!("fields of @{column}"));
        write!(f, "unnest {}", lists.chain(structs).collect::<Vec<_>>().join(", "))?;
        if self.options.preserve_nulls() || self.options.expand_empty_as_null() {
            f.write_str(", rows of none kept")?;
        }
        Ok(())
    }
}
