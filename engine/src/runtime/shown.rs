//! A query whose rows are shown as they come: it reads as anybody may, is in no group, and writes
//! and creates nothing. What it remembers is in memory and gone at its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::client::{Client, ClientError};
use broker::ids::{Offset, TopicPartition};

use super::planned::Planned;
use super::restore::Place;
use super::topics::Partitions;
use super::{Prepared, RunError, Runtime, RuntimeOptions, begin};
use crate::pipeline::{OnError, Query, Settings, Source};
use crate::task::Position;
use crate::topology::{Topology, TopologyError};

/// Where a shown query starts to read its inputs, and where it ends, if it does.
#[derive(Clone, Debug, Default)]
pub struct ShownFrom {
    pub partitions: BTreeMap<TopicPartition, ShownPartition>,
    /// It is over at the ends of the partitions: all windows are closed then.
    pub until_end: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct ShownPartition {
    pub start: Offset,
    pub end: Offset,
}

impl ShownFrom {
    pub(super) fn places(&self) -> Vec<Place> {
        let places = self.partitions.iter().map(|(partition, at)| Place {
            partition: partition.clone(),
            position: Position { next: at.start, end: at.end.max(at.start) },
            resumed: false,
            lost: 0,
            note: None,
        });
        places.collect()
    }

    pub(super) fn ends(&self) -> Option<BTreeMap<TopicPartition, Offset>> {
        let ends = self.partitions.iter().map(|(partition, at)| (partition.clone(), at.end));
        self.until_end.then(|| ends.collect())
    }
}

impl Runtime {
    /// Shows what `query` answers, whose scans name `sources`. [`Runtime::printed`] has its rows.
    /// `skip_failed`: records that fail are left out, whatever their sources say.
    pub async fn show(
        client: Arc<dyn Client>,
        query: &Query,
        sources: &[Arc<Source>],
        from: ShownFrom,
        skip_failed: bool,
    ) -> Result<Runtime, RunError> {
        let name: Arc<str> = query.name.as_str().into();
        let refused = |error: TopologyError| RunError::Topology { pipeline: name.clone(), error };
        let sources: Vec<Arc<Source>> =
            sources.iter().map(|source| without_letters(source, skip_failed)).collect();
        let mut topology = Topology::new(query, &sources).map_err(refused)?;
        topology.late_topic = None;
        // Tables that are looked up are read whole, beside the inputs.
        let mut from = from;
        from.partitions.retain(|partition, _| {
            topology.inputs.iter().any(|input| input.source.topic == *partition.topic)
        });
        let partitions = partitions(client.as_ref(), &name, &topology).await?;
        let Settings { commit_interval, guarantee, batch_rows_max, .. } = Settings::default();
        let planned = vec![Planned {
            pipeline: name.clone(),
            query: name,
            query_index: 0,
            task_index: 0,
            part: 0,
            task: 0,
            tasks: 1,
            is_stateful: !topology.nodes.is_empty(),
            topology,
            first_input: None,
            commit_interval,
            guarantee,
            batch_rows_max,
            copies_wanted: 0,
            state_bytes_max: 0,
            sink_partitions: None,
            shown: Some(Arc::new(from)),
        }];
        let (options, prepared) = (RuntimeOptions::default(), Some(Prepared::default()));
        Ok(begin(client, options, None, planned, prepared, |started, planned| {
            started.run_in(planned, partitions)
        }))
    }
}

/// Dead letters would be written, so what fails is only counted.
pub(crate) fn without_letters(source: &Arc<Source>, skip_failed: bool) -> Arc<Source> {
    match source.on_error {
        OnError::Fail if !skip_failed => source.clone(),
        _ => Arc::new(Source { on_error: OnError::Skip, ..source.as_ref().clone() }),
    }
}

async fn partitions(
    client: &dyn Client,
    name: &Arc<str>,
    topology: &Topology,
) -> Result<Partitions, RunError> {
    let inputs = topology.inputs.iter().map(|input| &input.source.topic);
    let topics = inputs.chain(topology.tables.iter().map(|table| &table.source.topic));
    let mut partitions = Partitions::default();
    for topic in topics {
        let failed = |error| {
            let (pipeline, topic) = (name.clone(), topic.clone());
            RunError::Topic { pipeline, topic, error }
        };
        let found = client.topic(topic).await.map_err(failed)?;
        let found = found.ok_or_else(|| failed(ClientError::UnknownTopic(topic.clone())))?;
        partitions.insert(&found);
    }
    Ok(partitions)
}
