//! A join of a stream with a table.

use std::sync::Arc;

use datafusion_common::{JoinType, NullEquality};
use datafusion_expr::{Expr, ExprSchemable, Join, LogicalPlan, TableScan};
use datafusion_physical_expr::PhysicalExpr;

use super::{Flow, Input, Lowering, TableInput, TopologyError};
use crate::operators::filter_project::Step;
use crate::operators::lookup_join::{LookupJoin, LookupKind, PairFilter};
use crate::pipeline::{Source, SourceKind};

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Flow, TopologyError> {
        let (stream, table, table_first) = match (self.table(&join.left), self.table(&join.right)) {
            (None, Some(_)) => (&join.left, &join.right, false),
            (Some(_), None) => (&join.right, &join.left, true),
            (None, None) => {
                return Err(self.unsupported(
                    "a join of two streams",
                    "it is not there yet",
                    "declare one of them as a table, with its key",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(self.unsupported(
                    "a join of two tables",
                    "it is not there yet",
                    "join a stream with each of them",
                ));
            }
        };
        let kind = lookup_kind(join.join_type, table_first).ok_or_else(|| {
            self.unsupported(
                "a join that keeps rows of the table without a match",
                "a table has no end at which it is known that none will come",
                "keep the rows of the stream: an inner join, or an outer one of its side",
            )
        })?;
        if join.on.is_empty() {
            return Err(self.unsupported(
                "a join without an equality",
                "every row of the stream would meet every row of the table",
                "say which columns are equal: JOIN … ON stream.column = table.column",
            ));
        }
        let flow = self.lower(stream)?;
        let mut stream_keys = Vec::new();
        let mut table_keys = Vec::new();
        for (left, right) in &join.on {
            let (of_stream, of_table) = if table_first { (right, left) } else { (left, right) };
            stream_keys.push(self.expr(of_stream, stream.schema())?);
            table_keys.push(self.expr(of_table, table.schema())?);
            self.check_types(of_stream, stream, of_table, table)?;
        }
        let nulls_equal = join.null_equality == NullEquality::NullEqualsNull;
        let input = self.table_input(table, table_keys, nulls_equal)?;
        let table_name = input.source.name.clone();
        let filter = self.pair_filter(join)?;
        let table = self.built.table(input);
        let schema = join.schema.inner().clone();
        let keys = stream_keys;
        let step = LookupJoin { kind, table, table_name, keys, filter, table_first, schema };
        Ok(self.built.push(flow, Step::Join(Arc::new(step))))
    }

    /// The planner has made both sides of one type.
    fn check_types(
        &self,
        stream_key: &Expr,
        stream: &LogicalPlan,
        table_key: &Expr,
        table: &LogicalPlan,
    ) -> Result<(), TopologyError> {
        let type_of = |key: &Expr, of: &LogicalPlan| {
            key.get_type(of.schema()).map_err(|error| self.expression_error(error))
        };
        let (left, right) = (type_of(stream_key, stream)?, type_of(table_key, table)?);
        if left == right {
            return Ok(());
        }
        Err(self.wrong(format!("a join of {left} with {right}: CAST one of them")))
    }

    fn pair_filter(&self, join: &Join) -> Result<Option<PairFilter>, TopologyError> {
        let Some(filter) = &join.filter else { return Ok(None) };
        let both = join.left.schema().join(join.right.schema());
        let both = both.map_err(|error| self.expression_error(error))?;
        let predicate = self.expr(filter, &both)?;
        Ok(Some(PairFilter { predicate, schema: both.inner().clone() }))
    }

    /// The scan of a table, if nothing but filters and projections stand above it.
    fn table<'p>(&self, plan: &'p LogicalPlan) -> Option<(&Arc<Source>, &'p TableScan)> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let source = self.sources.iter().find(|source| source.name == name)?;
                matches!(source.kind, SourceKind::Table { .. }).then_some((source, scan))
            }
            LogicalPlan::SubqueryAlias(alias) => self.table(&alias.input),
            LogicalPlan::Projection(projection) => self.table(&projection.input),
            LogicalPlan::Filter(filter) => self.table(&filter.input),
            _ => None,
        }
    }

    fn table_input(
        &self,
        plan: &LogicalPlan,
        join_keys: Vec<Arc<dyn PhysicalExpr>>,
        nulls_equal: bool,
    ) -> Result<TableInput, TopologyError> {
        let Input { source, mut projection, stage, .. } = self.table_stage(plan)?;
        let columns_wanted = projection.len();
        if let SourceKind::Table { key } = &source.kind {
            projection.extend(key);
        }
        Ok(TableInput { source, projection, columns_wanted, stage, join_keys, nulls_equal })
    }

    fn table_stage(&self, plan: &LogicalPlan) -> Result<Input, TopologyError> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.table_stage(&alias.input),
            LogicalPlan::Projection(projection) => {
                let mut input = self.table_stage(&projection.input)?;
                input.stage.push(self.projection(projection)?);
                Ok(input)
            }
            LogicalPlan::Filter(filter) => {
                let mut input = self.table_stage(&filter.input)?;
                let predicate = self.expr(&filter.predicate, filter.input.schema())?;
                input.stage.push(Step::Filter(predicate));
                Ok(input)
            }
            other => {
                let (source, scan) = self.table(other).ok_or_else(|| self.refused(other))?;
                self.scan_of(source, scan)
            }
        }
    }
}

fn lookup_kind(of: JoinType, table_first: bool) -> Option<LookupKind> {
    let kind = match (of, table_first) {
        (JoinType::Inner, _) => LookupKind::Inner,
        (JoinType::Left, false) | (JoinType::Right, true) => LookupKind::Outer,
        (JoinType::LeftSemi, false) | (JoinType::RightSemi, true) => LookupKind::Semi,
        (JoinType::LeftAnti, false) | (JoinType::RightAnti, true) => LookupKind::Anti,
        _ => return None,
    };
    Some(kind)
}
