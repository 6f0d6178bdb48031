//! What a source's task passes before it writes anything, so that it does so alone (KIP-618).
//!
//! ```text
//! fence earlier  once for each configuration: tasks of the ones before can write no more
//! producer       of the task's transactional id: the same task elsewhere can write no more
//! check          the configuration is still the group's
//! ```
//!
//! Tasks of two configurations may have the same file or table by different numbers, so the
//! transactional id of one alone does not keep the other out. A worker that is cut off from the
//! group, and knows no better, is stopped by the last step: whatever comes after that is fenced by
//! the first step of those who know more.

use std::sync::Arc;

use broker::client::{Client, ProducerOptions};
use broker::ids::Offset;
use futures::StreamExt;
use futures::stream;

use super::configs::{ATTEMPTS_MAX, Change, ConfigTopic};
use crate::config::ConnectorConfig;
use crate::herder::{HerderError, Target};
use crate::task::TaskError;
use crate::worker::{WorkerOptions, task_count};

/// How many are fenced at a time.
const FENCED_AT_ONCE: usize = 8;

/// One configuration of one connector of a group; cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    pub(super) configs: Arc<ConfigTopic>,
    pub(super) client: Arc<dyn Client>,
    pub(super) options: WorkerOptions,
    pub(super) config: Arc<ConnectorConfig>,
    pub(super) at: Offset,
}

impl PartialEq for Gate {
    fn eq(&self, other: &Gate) -> bool {
        self.at == other.at && self.config.name() == other.config.name()
    }
}

impl Gate {
    pub(crate) async fn fence_earlier(&self) -> Result<(), TaskError> {
        let name = self.config.name();
        if self.configs.now().state.to_fence(name).is_none() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS_MAX {
            let changing = self.configs.begin().await?;
            let Some(tasks) = changing.configs.to_fence(name) else { return Ok(()) };
            // Who is overtaken in the middle of this by another worker, that fences them too and
            // says so, may still hit a task which that one has started since: it starts again by
            // itself, and what it had not committed comes again.
            fence(&self.client, &self.options, name, tasks).await?;
            let changes = vec![Change::fenced(name, task_count(&self.config))];
            if changing.commit(changes).await? {
                return Ok(());
            }
        }
        Err(self.configs.contended().into())
    }

    pub(crate) async fn check(&self) -> Result<(), TaskError> {
        self.configs.read_to_end().await?;
        let now = self.configs.now();
        let name = self.config.name();
        let is_current = now.state.get(name).is_some_and(|declared| declared.at == self.at);
        if !is_current || now.state.target(name) != Target::Running {
            return Err("the group has another configuration of it by now".into());
        }
        Ok(())
    }
}

/// Lets none of a connector's first tasks write any more that were started before now.
pub(super) async fn fence(
    client: &Arc<dyn Client>,
    options: &WorkerOptions,
    connector: &str,
    tasks: usize,
) -> Result<(), HerderError> {
    let all = stream::iter(0..tasks).map(|task| async move {
        let transactional_id = Some(options.transactional_id(connector, task));
        let options = ProducerOptions { transactional_id, ..ProducerOptions::default() };
        client.producer(options).await.map(drop)
    });
    let mut all = all.buffer_unordered(FENCED_AT_ONCE);
    while let Some(fenced) = all.next().await {
        fenced.map_err(|error| {
            let what = format!("connector '{connector}': earlier tasks cannot be fenced");
            HerderError::Failed(format!("{what}: {error}"))
        })?;
    }
    Ok(())
}
