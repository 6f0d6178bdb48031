//! Debezium's own connector over the same changes, without a broker behind it: its records are
//! made and dropped, where ours are durable. Its start, of some seconds, does not count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::Postgres;

pub struct Debezium {
    classpath: String,
    directory: PathBuf,
}

/// What it took.
pub struct Run {
    pub seconds: f64,
    pub memory_mb: f64,
}

impl Debezium {
    /// Where `connectors/tests/debezium/fetch.sh` has brought it, if that is said.
    pub fn found(directory: &Path) -> Option<Debezium> {
        let jars = PathBuf::from(std::env::var_os("MILLSTREAM_DEBEZIUM_DIR")?);
        let classpath = fs::read_to_string(jars.join("classpath"));
        let classpath = classpath.expect("what connectors/tests/debezium/fetch.sh has written");
        let classpath = classpath.trim().to_owned();
        Some(Debezium { classpath, directory: directory.to_owned() })
    }

    /// What is committed from here on waits for it in the server's log.
    pub async fn make_slot(&self, server: &Postgres) {
        server.sql("create publication debezium for table t").await;
        server.sql("select pg_create_logical_replication_slot('debezium', 'pgoutput')").await;
    }

    /// Until it has given so many records.
    pub fn run(&self, server: &Postgres, snapshot_mode: &str, records: usize) -> Run {
        let properties = self.directory.join("debezium.properties");
        let lines = server.properties(&format!(
            "name=debezium
             offset.storage=org.apache.kafka.connect.storage.FileOffsetBackingStore
             offset.storage.file.filename={}
             database.password=none
             plugin.name=pgoutput
             publication.name=debezium
             slot.name=debezium
             snapshot.mode={snapshot_mode}
             key.converter.schemas.enable=false
             value.converter.schemas.enable=false",
            self.directory.join(format!("{snapshot_mode}.offsets")).display()
        ));
        let host = format!("database.hostname={}", server.directory().display());
        let lines = lines.replace(&host, "database.hostname=127.0.0.1");
        fs::write(&properties, lines).expect("a file");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/debezium/Count.java");
        let mut java = Command::new("setpriv");
        java.args(["--pdeathsig", "KILL", "--", "java", "-cp", &self.classpath]);
        java.arg(source).arg(&properties).arg(records.to_string());
        let ran = java.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("Java");
        assert!(ran.status.success(), "Debezium failed");
        let text = String::from_utf8_lossy(&ran.stdout);
        let numbers = text.lines().map(|line| {
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            digits.parse::<f64>().expect("a number")
        });
        let [took_ns, memory_kb] = numbers.collect::<Vec<_>>().try_into().expect("two lines");
        Run { seconds: took_ns / 1e9, memory_mb: memory_kb / 1024.0 }
    }
}
