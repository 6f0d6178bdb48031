//! Queries in an order in which each comes after those whose topics it reads.

use std::collections::BTreeSet;

use datafusion_common::DataFusionError;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::LogicalPlan;

use super::context::SourceTable;
use crate::pipeline::{Diagnostic, Query};

/// Refuses a circle; otherwise keeps the order of the file where nothing else is needed.
pub(crate) fn in_order(queries: Vec<Query>, mistakes: &mut Vec<Diagnostic>) -> Option<Vec<Query>> {
    let mut waiting = queries;
    let mut ordered: Vec<Query> = Vec::new();
    while !waiting.is_empty() {
        let to_come: BTreeSet<String> =
            waiting.iter().map(|query| query.sink.topic.clone()).collect();
        let ready = waiting.iter().position(|query| topics_read(&query.plan).is_disjoint(&to_come));
        let Some(ready) = ready else {
            let query = &waiting[0];
            let message = format!(
                "query '{}' reads what depends on its own topic '{}'",
                query.name, query.sink.topic
            );
            let help = "a stream cannot feed itself: write another topic";
            mistakes.push(Diagnostic::error(message, query.span.clone()).help(help));
            return None;
        };
        ordered.push(waiting.remove(ready));
    }
    Some(ordered)
}

fn topics_read(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut topics = BTreeSet::new();
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = scan.source.downcast_ref::<SourceTable>()
        {
            topics.insert(table.0.topic.clone());
        }
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    });
    topics
}
