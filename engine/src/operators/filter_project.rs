//! Filters, projections, joins with tables and lists to rows, in the order of the plan, over whole
//! batches.
//!
//! The rule: a row that passes every filter comes out once, at its place among the others, with
//! its event time. A filter that is NULL for a row drops it, as in SQL. What a join does with a row
//! is [`lookup_join`](super::lookup_join)'s rule, and what becomes of lists
//! [`unnest`](super::unnest)'s.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::SchemaRef;
use datafusion_common::{Result, exec_datafusion_err, internal_datafusion_err};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{PhysicalExpr, split_conjunction};

use super::guarded::guarded;
use super::lookup_join::{LookupJoin, Table};
use super::unnest::Unnest;
use crate::formats::Rows;
use crate::formats::decode::times_ms;
use crate::tally::{Dropped, StageTally, StepTally};

/// Steps that follow each other without anything kept in between.
#[derive(Clone, Debug)]
pub struct Stage {
    steps: Vec<Step>,
    schema: SchemaRef,
}

#[derive(Clone, Debug)]
pub enum Step {
    Filter(Arc<dyn PhysicalExpr>),
    Project {
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    },
    Join(Arc<LookupJoin>),
    Unnest(Arc<Unnest>),
    /// What happens at another time than it did so far: at that of this column.
    HappensAt(usize),
}

impl Stage {
    /// A stage that passes rows of `schema` on as they are.
    pub fn new(schema: SchemaRef) -> Stage {
        Stage { steps: Vec::new(), schema }
    }

    pub fn push(&mut self, step: Step) {
        match &step {
            Step::Filter(_) | Step::HappensAt(_) => {}
            Step::Project { schema, .. } => self.schema = schema.clone(),
            Step::Join(join) => self.schema = join.schema.clone(),
            Step::Unnest(unnest) => self.schema = unnest.schema.clone(),
        }
        self.steps.push(step);
    }

    /// Gives tables other numbers.
    pub fn renumber_tables(&mut self, number: impl Fn(usize) -> usize) {
        for step in &mut self.steps {
            if let Step::Join(join) = step {
                let join = Arc::make_mut(join);
                join.table = number(join.table);
            }
        }
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Whether rows meet that table here.
    pub fn joins(&self, table: usize) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Join(join) if join.table == table))
    }

    /// Of the rows that come out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Where these columns of rows that come in are in those that come out; `None` if one is not.
    pub fn places_of(&self, columns: Vec<usize>) -> Option<Vec<usize>> {
        self.steps.iter().try_fold(columns, |columns, step| match step {
            Step::Filter(_) | Step::HappensAt(_) => Some(columns),
            Step::Project { exprs, .. } => {
                let is_it = |expr: &Arc<dyn PhysicalExpr>, column: usize| {
                    expr.downcast_ref::<Column>().is_some_and(|of| of.index() == column)
                };
                let place = |column| exprs.iter().position(|expr| is_it(expr, column));
                columns.into_iter().map(place).collect()
            }
            Step::Join(join) if !join.table_first => Some(columns),
            Step::Join(_) | Step::Unnest(_) => None,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Takes rows through all steps; `tables` are those of the topology.
    pub fn apply(&self, rows: Rows, tables: &[Table]) -> Result<Rows> {
        self.apply_counted(rows, tables, &StageTally::default(), &mut StageTally::default())
    }

    /// The same, and counts in `tally` what goes through each step, where `so_far` was counted
    /// before.
    pub fn apply_counted(
        &self,
        mut rows: Rows,
        tables: &[Table],
        so_far: &StageTally,
        tally: &mut StageTally,
    ) -> Result<Rows> {
        for (index, step) in self.steps.iter().enumerate() {
            if rows.is_empty() {
                break;
            }
            tally.0.push(StepTally { rows_in: rows.len() as u64, ..StepTally::default() });
            let counted = &mut tally.0[index];
            match step {
                Step::Filter(predicate) => {
                    let kept = keep(&rows, predicate.as_ref())?;
                    if kept.is_empty() && !so_far.has_passed(index) {
                        counted.dropped = dropped(&rows, predicate);
                    }
                    rows = kept;
                }
                Step::Project { exprs, schema } => {
                    let batch = project(&rows.batch, exprs, schema)?;
                    rows = rows.with_batch(batch);
                }
                Step::Join(join) => rows = join.apply(rows, &tables[join.table])?,
                Step::Unnest(unnest) => {
                    let (elements, dropped) = unnest.apply(&rows)?;
                    (rows, counted.dropped) = (elements, vec![dropped]);
                }
                Step::HappensAt(column) => {
                    let times = times_ms(rows.batch.column(*column));
                    let is_time = || internal_datafusion_err!("column {column} is no time");
                    rows.event_times_ms = times.ok_or_else(is_time)?;
                }
            }
            counted.rows_out = rows.len() as u64;
        }
        if rows.is_empty() {
            rows = Rows::empty(&self.schema);
        }
        Ok(rows)
    }
}

fn keep(rows: &Rows, predicate: &dyn PhysicalExpr) -> Result<Rows> {
    let mask = mask(&rows.batch, predicate)?;
    match mask.true_count() {
        count if count == rows.batch.num_rows() => Ok(rows.clone()),
        _ => rows.filter(&mask),
    }
}

/// Which condition of a filter has dropped how many of these rows; nothing is known of those
/// behind one that fails.
fn dropped(rows: &Rows, predicate: &Arc<dyn PhysicalExpr>) -> Vec<Dropped> {
    let mut left = rows.clone();
    let mut dropped = Vec::new();
    for condition in split_conjunction(predicate) {
        let Ok(holds) = evaluate(&left.batch, condition.as_ref()) else { break };
        let Some(holds) = holds.as_boolean_opt() else { break };
        let nulls = holds.null_count() as u64;
        let Ok(passed) = left.filter(&without_nulls(holds)) else { break };
        dropped.push(Dropped { rows: (left.len() - passed.len()) as u64, nulls });
        left = passed;
    }
    dropped
}

/// Which rows a predicate is true for: nowhere NULL.
pub fn mask(batch: &RecordBatch, predicate: &dyn PhysicalExpr) -> Result<BooleanArray> {
    let mask = evaluate(batch, predicate)?;
    let mask = mask.as_boolean_opt().ok_or_else(|| {
        exec_datafusion_err!("filter '{predicate}' is {}, not boolean", mask.data_type())
    })?;
    Ok(without_nulls(mask))
}

fn without_nulls(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() }
}

/// One value per row.
pub fn evaluate(batch: &RecordBatch, expr: &dyn PhysicalExpr) -> Result<ArrayRef> {
    guarded(|| expr.evaluate(batch)?.into_array(batch.num_rows()))
}

fn project(
    batch: &RecordBatch,
    exprs: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let columns =
        exprs.iter().map(|expr| evaluate(batch, expr.as_ref())).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Filter(predicate) => write!(f, "filter {predicate}"),
            Step::Join(join) => write!(f, "{join}"),
            Step::Unnest(unnest) => write!(f, "{unnest}"),
            Step::HappensAt(column) => write!(f, "happens at column {column}"),
            Step::Project { exprs, schema } => {
                let columns: Vec<String> = exprs
                    .iter()
                    .zip(schema.fields())
                    .map(|(expr, field)| match expr.downcast_ref::<Column>() {
                        Some(column) if column.name() == field.name() => column.to_string(),
                        _ => format!("{} = {expr}", field.name()),
                    })
                    .collect();
                write!(f, "project {}", columns.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion_expr::Operator;
    use datafusion_physical_expr::expressions::{binary, col, lit};

    use super::*;

    fn rows(schema: &SchemaRef, values: &[Option<i64>]) -> Rows {
        let column = Arc::new(Int64Array::from(values.to_vec()));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
        Rows::new(batch, Int64Array::new_null(values.len()))
    }

    #[test]
    fn conditions_are_looked_at_one_by_one_until_a_row_has_passed() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let condition =
            |op, value: i64| binary(col("n", &schema).unwrap(), op, lit(value), &schema).unwrap();
        let (more, less) = (condition(Operator::Gt, 3), condition(Operator::Lt, 6));
        let both = binary(more, Operator::And, less, &schema).unwrap();
        let mut stage = Stage::new(schema.clone());
        stage.push(Step::Filter(both));
        let mut so_far = StageTally::default();
        for (values, passed) in [
            (&[Some(1), None, Some(9), Some(2)][..], 0),
            (&[Some(5), Some(1)], 1),
            (&[Some(1), None], 1),
        ] {
            let mut tally = StageTally::default();
            stage.apply_counted(rows(&schema, values), &[], &so_far, &mut tally).unwrap();
            so_far += &tally;
            assert_eq!(so_far.0[0].rows_out, passed);
        }
        assert_eq!(so_far.0[0].rows_in, 8);
        let dropped = [Dropped { rows: 3, nulls: 1 }, Dropped { rows: 1, nulls: 0 }];
        assert_eq!(so_far.0[0].dropped, dropped);
    }
}
