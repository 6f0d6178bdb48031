//! Joins: of a stream with a table, and of two streams.

use std::sync::Arc;

use datafusion_common::{JoinType, NullEquality};
use datafusion_expr::{Expr, ExprSchemable, Join, LogicalPlan, TableScan};
use datafusion_physical_expr::PhysicalExpr;

use super::flow::Changes;
use super::{Flow, Input, Lowering, TableInput, TopologyError};
use crate::operators::filter_project::Step;
use crate::operators::interval_join::{IntervalSpec, SideTime};
use crate::operators::lookup_join::{LookupJoin, LookupKind, PairFilter};
use crate::operators::sides::{Role, Side, Sides};
use crate::pipeline::{Source, SourceKind};
use crate::plan::joins::time_bounds;

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Flow, TopologyError> {
        let tables = (self.table(&join.left), self.table(&join.right));
        let (stream, table_first) = match tables {
            (None, None) => return self.join_of_streams(join),
            (Some(_), Some(_)) => {
                let message = "a join of two tables is not there yet".to_owned();
                return Err(self.no_join(message, "join a stream with each of them"));
            }
            (None, Some(_)) => (&join.left, false),
            (Some(_), None) => (&join.right, true),
        };
        let flow = self.lower(stream)?;
        self.lookup(join, flow, table_first)
    }

    /// A stream that meets a table as it stands.
    fn lookup(
        &mut self,
        join: &Join,
        flow: Flow,
        table_first: bool,
    ) -> Result<Flow, TopologyError> {
        let (stream, table) = match table_first {
            true => (&join.right, &join.left),
            false => (&join.left, &join.right),
        };
        let kind = lookup_kind(join.join_type, table_first).ok_or_else(|| {
            let message = "rows of a table that nothing meets can never come out: there is no end \
                           at which that is known";
            let help = "keep the rows of the stream: stream LEFT JOIN table, or an inner join";
            self.no_join(message.to_owned(), help)
        })?;
        self.check_keyed(join)?;
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

    fn join_of_streams(&mut self, join: &Join) -> Result<Flow, TopologyError> {
        let (left, right) = (self.lower(&join.left)?, self.lower(&join.right)?);
        let sources = self.sources;
        let source_of = |scan: &TableScan| {
            let name = scan.table_name.table();
            sources.iter().find(|source| source.name == name).cloned()
        };
        let Some(bounds) = time_bounds(join, &source_of) else {
            let message = "rows of two streams that may meet at any time would have to be kept \
                           for ever";
            let help = "say how near in time they are, such as AND b.ts BETWEEN a.ts AND a.ts + \
                        INTERVAL '1 hour', by the event time of both; or join windows, by equal \
                        window_start and window_end; or declare one of them as a table";
            return Err(self.no_join(message.to_owned(), help));
        };
        if left.updating || right.updating {
            let message = "rows that are taken back cannot be joined by time yet".to_owned();
            let help = "write them to a topic with a query of their own, and declare that as a \
                        table";
            return Err(self.no_join(message, help));
        }
        let sides = Arc::new(self.sides(join)?);
        let time = |side: usize, of: &LogicalPlan, flow: &Flow| {
            let (least, most) = bounds.event_after_ms[side];
            // What comes from another join may hold times older than its own.
            let event_after_ms = (least.saturating_sub(flow.lag_ms), most);
            let time = self.expr(&bounds.times[side], of.schema())?;
            Ok::<_, TopologyError>(SideTime { time, event_after_ms })
        };
        let times = [time(0, &join.left, &left)?, time(1, &join.right, &right)?];
        let spec = IntervalSpec { sides, times, within_ms: bounds.within_ms };
        let lag_ms = spec.lag_ms();
        let mut flow = self.built.node(vec![left, right], Arc::new(spec), Changes::Final);
        flow.lag_ms = flow.lag_ms.saturating_add(lag_ms);
        Ok(flow)
    }

    /// Which rows of two inputs that are kept meet.
    fn sides(&self, join: &Join) -> Result<Sides, TopologyError> {
        let roles = Role::of(join.join_type).ok_or_else(|| {
            let message = "EXISTS and IN within OR cannot run as a stream yet".to_owned();
            self.no_join(message, "write a query for each part, and UNION them")
        })?;
        let mut keys = [Vec::new(), Vec::new()];
        for (left, right) in &join.on {
            keys[0].push(self.expr(left, join.left.schema())?);
            keys[1].push(self.expr(right, join.right.schema())?);
            self.check_types(left, &join.left, right, &join.right)?;
        }
        let [left, right] = keys;
        let schema = |of: &LogicalPlan| of.schema().inner().clone();
        Ok(Sides {
            of: [
                Side { schema: schema(&join.left), keys: left },
                Side { schema: schema(&join.right), keys: right },
            ],
            roles,
            nulls_equal: join.null_equality == NullEquality::NullEqualsNull,
            filter: self.pair_filter(join)?,
            schema: join.schema.inner().clone(),
        })
    }

    fn check_keyed(&self, join: &Join) -> Result<(), TopologyError> {
        if !join.on.is_empty() {
            return Ok(());
        }
        let message = "a join needs columns that are equal: else every row meets every other";
        let help = "such as JOIN airports ON flights.dest = airports.faa";
        Err(self.no_join(message.to_owned(), help))
    }

    fn no_join(&self, message: String, help: &'static str) -> TopologyError {
        TopologyError::Join { query: self.query.to_owned(), message, help }
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
