//! A planned query to the plan that runs: types made to agree, then rewritten.
//!
//! The rules are those of DataFusion that hold for rows which keep coming. Left out are rules
//! that need statistics or an end of input, that turn one aggregate into two (DISTINCT), and that
//! remove a source altogether (`WHERE false`): the topology has a place for each leaf.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion_optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion_optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion_optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion_optimizer::simplify_expressions::SimplifyExpressions;
use datafusion_optimizer::{Analyzer, Optimizer, OptimizerContext};

use super::context::options;
use super::greatest::by_rank;
use super::grouping_sets::ExpandGroupingSets;
use super::push_down_filter::PushDownFilterToTotals;

/// Makes types agree, as a batch engine does before it rewrites anything.
pub(crate) fn analyze(plan: LogicalPlan) -> Result<LogicalPlan> {
    Analyzer::new().execute_and_check(plan, &Arc::new(options()), |_, _| {})
}

pub(crate) fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut options = options();
    // A value that changes with its table is one side of a join.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let options = Arc::new(options);
    let analyzer = Analyzer::with_rules(vec![
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(ExpandGroupingSets),
        Arc::new(TypeCoercion::new()),
    ]);
    let plan = analyzer.execute_and_check(plan, &options, |_, _| {})?;
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilterToTotals::default()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new_with_config_options(options);
    by_rank(optimizer.optimize(plan, &context, |_, _| {})?)
}
