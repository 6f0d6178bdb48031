//! The file sink: one line per record.

use std::path::PathBuf;

use async_trait::async_trait;
use broker::ids::{Offset, TopicPartition};

use super::blocking::Blocking;
use super::output::Output;
use crate::config::ConnectorConfig;
use crate::task::{Put, SinkPartition, SinkRecords, SinkTask, TaskError};

/// The sink into one file.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    output: Option<Blocking<Output>>,
}

impl FileSink {
    pub fn new(config: &ConnectorConfig) -> FileSink {
        FileSink { path: config.path("file"), output: None }
    }

    fn output(&mut self) -> &mut Blocking<Output> {
        self.output.as_mut().expect("the worker opens partitions before all else")
    }
}

#[async_trait]
impl SinkTask for FileSink {
    async fn open(
        &mut self,
        partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        if self.output.is_none() {
            let output = Blocking::new(self.path.clone()).run(|path| Output::open(path)).await?;
            self.output = Some(Blocking::new(output));
        }
        let partitions = partitions.to_vec();
        Ok(self.output().run(move |output| output.offsets(&partitions)).await)
    }

    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        let records = records.clone();
        Ok(self.output().run(move |output| output.put(&records)).await?)
    }

    async fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        Ok(self.output().run(Output::flush).await?)
    }

    async fn close(&mut self, _partitions: &[TopicPartition]) -> Result<(), TaskError> {
        Ok(())
    }
}
