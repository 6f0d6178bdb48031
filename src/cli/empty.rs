//! `millstream run --explain-empty`: queries that write nothing, and why.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::describe::QueryDescription;
use engine::describe::empty::{WhyEmpty, why_empty};
use engine::runtime::QueryProgress;
use engine::time::WallTime;

use crate::render;

/// How often a query that goes on writing nothing is looked at again.
pub const EXPLAIN_EMPTY_EVERY: Duration = Duration::from_secs(5);

/// What all queries are, and what was last said of each.
pub struct EmptyQueries {
    queries: Vec<(QueryDescription, Option<WhyEmpty>)>,
}

impl EmptyQueries {
    pub fn new(queries: Vec<QueryDescription>) -> EmptyQueries {
        EmptyQueries { queries: queries.into_iter().map(|query| (query, None)).collect() }
    }

    /// Explains those that have written nothing, unless all there is to say has been said.
    pub fn explain(&mut self, progress: &[QueryProgress]) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        for ((query, said), progress) in self.queries.iter_mut().zip(progress) {
            let why = why_empty(query, progress, now);
            if let Some(why) = &why
                && said.as_ref() != Some(why)
            {
                render::why_empty::print(&query.name, why);
            }
            *said = why;
        }
    }
}
