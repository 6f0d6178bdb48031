//! Filters go down to where their rows come from, but not below an aggregate without GROUP BY.
//!
//! `SELECT … FROM (SELECT count(*) AS c FROM a) WHERE c IS NULL` has no rows. To the optimiser that
//! condition is plainly false, and what looks at no column it asks before the aggregate as well as
//! after it: but that aggregate has a row of no rows at all. So there a filter stays where it is;
//! it could go further only if it looked at nothing.

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

/// DataFusion's rule, with this exception.
#[derive(Debug, Default)]
pub(crate) struct PushDownFilterToTotals(PushDownFilter);

impl OptimizerRule for PushDownFilterToTotals {
    fn name(&self) -> &str {
        "push_down_filter_to_totals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Filter(filter) = &plan
            && let LogicalPlan::Aggregate(aggregate) = filter.input.as_ref()
            && aggregate.group_expr.is_empty()
        {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}
