//! The task: records to the writer, and what becomes of its errors.

use async_trait::async_trait;
use broker::ids::{Offset, TopicPartition};

use super::config::SinkConfig;
use super::writer::{self, WriteError, Writer};
use crate::config::ConnectorConfig;
use crate::errors::Retriable;
use crate::task::{Put, SinkPartition, SinkRecords, SinkTask, TaskError};

/// The sink into tables.
#[derive(Debug)]
pub struct PostgresSink {
    config: Result<SinkConfig, String>,
    writer: Option<Writer>,
}

/// As many as are allowed: partitions are divided over them.
pub fn tasks(config: &ConnectorConfig) -> Vec<Box<dyn SinkTask>> {
    let task = |_| {
        let sink = PostgresSink { config: SinkConfig::new(config), writer: None };
        Box::new(sink) as Box<dyn SinkTask>
    };
    (0..config.integer("tasks.max")).map(task).collect()
}

/// Changes which records the database is taken to hold; its rows stay.
pub fn alter_offsets(
    config: &ConnectorConfig,
    offsets: &[(TopicPartition, Option<Offset>)],
) -> Result<(), TaskError> {
    let config = SinkConfig::new(config)?;
    // It is called on a thread where that may take its time.
    let runtime = tokio::runtime::Handle::current();
    Ok(runtime.block_on(writer::alter_offsets(&config, offsets))?)
}

impl PostgresSink {
    fn writer(&mut self) -> Result<&mut Writer, TaskError> {
        if self.writer.is_none() {
            self.writer = Some(Writer::new(self.config.clone()?));
        }
        Ok(self.writer.as_mut().expect("it was just put there"))
    }

    /// After an error nothing is known of the connection.
    fn failed(&mut self, error: WriteError) -> TaskError {
        if let Some(writer) = &mut self.writer {
            writer.disconnect();
        }
        match error.is_transient() {
            true => Retriable(error.into()).into(),
            false => error.into(),
        }
    }
}

#[async_trait]
impl SinkTask for PostgresSink {
    fn wants_values(&self) -> bool {
        true
    }

    async fn open(
        &mut self,
        partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        let opened = self.writer()?.open(partitions).await;
        opened.map_err(|error| self.failed(error))
    }

    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        let (partition, next) = (records.partition(), records.next_offset());
        let put = self.writer()?.put(partition, records.values(), next).await;
        put.map_err(|error| self.failed(error))
    }

    async fn disposed(&mut self) -> Result<(), TaskError> {
        let finished = self.writer()?.finish().await;
        finished.map_err(|error| self.failed(error))
    }

    async fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        Ok(self.writer()?.offsets())
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        self.writer()?.close(partitions);
        Ok(())
    }
}
