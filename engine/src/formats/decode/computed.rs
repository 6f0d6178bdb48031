//! Columns that are computed of others.
//!
//! Where that fails for a batch it is halved until those rows stand alone for which it fails: they
//! cost themselves and no other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{DFSchema, DataFusionError, Result};
use datafusion_expr::Expr;
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use super::Origin;
use crate::formats::{DecodeError, FormatError};
use crate::operators::reason;
use crate::pipeline::{ColumnFrom, Source};

/// What computes the columns that are wanted.
pub(super) struct Computing {
    /// What they are computed of: columns of the record.
    pub inputs: Vec<(Origin, Field)>,
    schema: SchemaRef,
    columns: Vec<(Field, Arc<dyn PhysicalExpr>)>,
}

/// What rows came to.
pub(super) struct Computed {
    /// Of those rows that are good.
    pub columns: Vec<ArrayRef>,
    /// The other rows.
    pub failed: Vec<(usize, DecodeError)>,
}

/// The computed ones of these columns, ascending.
pub(super) fn columns(source: &Source, among: &[usize]) -> Vec<usize> {
    let is_computed =
        |column: &usize| matches!(source.columns[*column].from, ColumnFrom::Computed(_));
    let mut columns: Vec<usize> = among.iter().copied().filter(is_computed).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

fn expr(source: &Source, column: usize) -> Option<&Expr> {
    match &source.columns[column].from {
        ColumnFrom::Computed(expr) => Some(expr),
        _ => None,
    }
}

/// The columns that these are computed of, ascending.
pub(super) fn inputs(source: &Source, computed: &[usize]) -> Result<Vec<usize>, FormatError> {
    let mut inputs = Vec::new();
    for expr in computed.iter().filter_map(|&column| expr(source, column)) {
        for input in expr.column_refs() {
            let place = source.columns.iter().position(|column| column.name == input.name);
            inputs.push(place.ok_or_else(|| {
                FormatError::Shape(format!("there is no column '{}' to compute with", input.name))
            })?);
        }
    }
    inputs.sort_unstable();
    inputs.dedup();
    Ok(inputs)
}

impl Computing {
    pub fn new(
        source: &Source,
        computed: &[usize],
        origin: impl Fn(usize) -> Origin,
    ) -> Result<Computing, FormatError> {
        let inputs = inputs(source, computed)?;
        let fields: Vec<Field> =
            inputs.iter().map(|&column| source.schema.field(column).clone()).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields.clone()));
        let wrong = |column: usize, error: DataFusionError| {
            let name = source.schema.field(column).name();
            FormatError::Shape(format!("column '{name}': {}", reason(error)))
        };
        let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let mut columns = Vec::new();
        for &column in computed {
            let Some(expr) = expr(source, column) else { continue };
            let physical = DFSchema::try_from(Arc::clone(&schema))
                .and_then(|schema| create_physical_expr(expr, &schema, &props, &context));
            let physical = physical.map_err(|error| wrong(column, error))?;
            columns.push((source.schema.field(column).clone(), physical));
        }
        let inputs = inputs.into_iter().map(origin).zip(fields).collect();
        Ok(Computing { inputs, schema, columns })
    }

    /// `inputs`: the columns that were asked for, of so many rows.
    pub fn compute(&self, inputs: Vec<ArrayRef>, rows: usize) -> Computed {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), inputs, &options)
            .expect("columns have the types of their fields and one length");
        let (mut pieces, mut failed) = (Vec::new(), Vec::new());
        self.compute_part(&batch, 0, &mut pieces, &mut failed);
        match self.joined(pieces) {
            Ok(columns) => Computed { columns, failed },
            // All of them are more than a column holds.
            Err(error) => {
                let (field, _) = &self.columns[0];
                let error = self.failure(field, error);
                let columns = self.columns.iter();
                let columns = columns.map(|(field, _)| new_empty_array(field.data_type()));
                let failed = (0..rows).map(|row| (row, error.clone())).collect();
                Computed { columns: columns.collect(), failed }
            }
        }
    }

    fn compute_part(
        &self,
        batch: &RecordBatch,
        first: usize,
        pieces: &mut Vec<Vec<ArrayRef>>,
        failed: &mut Vec<(usize, DecodeError)>,
    ) {
        let count = batch.num_rows();
        match self.try_compute(batch) {
            Ok(piece) => pieces.push(piece),
            Err(error) if count <= 1 => failed.extend((0..count).map(|_| (first, error.clone()))),
            Err(_) => {
                let half = count / 2;
                for (start, len) in [(0, half), (half, count - half)] {
                    self.compute_part(&batch.slice(start, len), first + start, pieces, failed);
                }
            }
        }
    }

    fn try_compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, DecodeError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (field, expr) in &self.columns {
            let array = expr.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()));
            let array = array.map_err(|error| self.failure(field, error))?;
            columns.push(match array.data_type() == field.data_type() {
                true => array,
                false => cast(&array, field.data_type())
                    .map_err(|error| self.failure(field, error.into()))?,
            });
        }
        Ok(columns)
    }

    fn joined(&self, mut pieces: Vec<Vec<ArrayRef>>) -> Result<Vec<ArrayRef>> {
        if pieces.len() == 1 {
            return Ok(pieces.remove(0));
        }
        let columns = self.columns.iter().enumerate().map(|(at, (field, _))| {
            let of: Vec<&dyn Array> = pieces.iter().map(|piece| piece[at].as_ref()).collect();
            match of.is_empty() {
                true => Ok(new_empty_array(field.data_type())),
                false => Ok(concat(&of)?),
            }
        });
        columns.collect()
    }

    #[cold]
    fn failure(&self, field: &Field, error: DataFusionError) -> DecodeError {
        DecodeError::Computed { column: field.name().clone(), reason: reason(error) }
    }
}
