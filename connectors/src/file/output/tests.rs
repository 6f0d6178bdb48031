//! What is in the file after a crash at any step, and after others laid hands on it.

use broker::client::FetchedBatches;
use broker::ids::LeaderEpoch;
use broker::record::{BatchBuilder, ProducerStamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn opened(index: i32, id: u128) -> SinkPartition {
    SinkPartition { partition: partition(index), topic_id: Some(Uuid::from_u128(id)) }
}

/// Records `from..to` of a partition whose values are their offsets, read from `start` on.
fn records(index: i32, start: i64, to: i64, from: i64) -> SinkRecords {
    let mut builder = BatchBuilder::default();
    for offset in start..to {
        builder.append(0, None, Some(format!("{index}:{offset}").as_bytes()));
    }
    let batch = builder.build(ProducerStamp::NONE).stamped(Offset(start), LeaderEpoch(0));
    let fetched = FetchedBatches {
        partition: partition(index),
        batches: vec![batch],
        next_offset: Offset(to),
        end_offset: Offset(to),
    };
    SinkRecords::new(fetched, Offset(from))
}

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        Fixture { path: dir.path().join("a/b/out.txt"), _dir: dir }
    }

    fn open(&self) -> Output {
        Output::open(&self.path, Rows::new(RowFormat::Text)).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }

    fn sidecar(&self) -> PathBuf {
        Sidecar::path_for(&self.path)
    }
}

#[test]
fn directories_are_made_and_tombstones_left_out() {
    let fixture = Fixture::new();
    let mut output = fixture.open();
    let mut builder = BatchBuilder::default();
    builder.append(0, Some(b"k"), None);
    builder.append(0, Some(b"k"), Some(b"v"));
    builder.append(0, None, Some(b""));
    let fetched = FetchedBatches {
        partition: partition(0),
        batches: vec![builder.build(ProducerStamp::NONE)],
        next_offset: Offset(4),
        end_offset: Offset(4),
    };
    let put = output.put(&SinkRecords::new(fetched, Offset::ZERO)).unwrap();
    assert_eq!(put, Put { records: 3, bytes: 3, skipped: 1, ..Put::default() });
    assert_eq!(output.flush().unwrap(), [(partition(0), Offset(4))]);
    assert_eq!(fixture.text(), "v\n\n");
}

#[test]
fn what_was_not_flushed_is_cut_off_and_written_again() {
    let fixture = Fixture::new();
    let mut output = fixture.open();
    assert_eq!(output.offsets(&[opened(0, 1)]), [(partition(0), Offset::ZERO)]);
    output.put(&records(0, 0, 2, 0)).unwrap();
    output.flush().unwrap();
    output.put(&records(0, 2, 4, 0)).unwrap();
    assert_eq!(fixture.text(), "0:0\n0:1\n0:2\n0:3\n");
    drop(output);
    let mut output = fixture.open();
    assert_eq!(fixture.text(), "0:0\n0:1\n");
    assert_eq!(output.offsets(&[opened(0, 1)]), [(partition(0), Offset(2))]);
    // The group had committed less: what lies before the recorded offset is passed over.
    output.put(&records(0, 1, 4, 2)).unwrap();
    output.flush().unwrap();
    assert_eq!(fixture.text(), "0:0\n0:1\n0:2\n0:3\n");
}

#[test]
fn a_topic_created_anew_begins_anew() {
    let fixture = Fixture::new();
    let mut output = fixture.open();
    output.offsets(&[opened(0, 1)]);
    output.put(&records(0, 0, 2, 0)).unwrap();
    output.flush().unwrap();
    drop(output);
    let mut output = fixture.open();
    assert_eq!(output.offsets(&[opened(0, 2)]), [(partition(0), Offset::ZERO)]);
}

#[test]
fn what_others_wrote_before_is_kept_and_ended() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.path.parent().unwrap()).unwrap();
    fs::write(&fixture.path, "theirs").unwrap();
    let mut output = fixture.open();
    output.put(&records(0, 0, 1, 0)).unwrap();
    drop(output);
    assert_eq!(fixture.text(), "theirs\n0:0\n");
    let mut output = fixture.open();
    assert_eq!(fixture.text(), "theirs\n");
    output.put(&records(0, 0, 1, 0)).unwrap();
    output.flush().unwrap();
    assert_eq!(fixture.text(), "theirs\n0:0\n");
}

#[test]
fn a_file_that_others_changed_is_never_cut() {
    let fixture = Fixture::new();
    let mut output = fixture.open();
    output.put(&records(0, 0, 3, 0)).unwrap();
    output.flush().unwrap();
    drop(output);
    fs::write(&fixture.path, "something else, and longer than before").unwrap();
    let mut output = fixture.open();
    assert_eq!(output.offsets(&[opened(0, 1)]), [(partition(0), Offset(3))]);
    output.put(&records(0, 3, 4, 3)).unwrap();
    output.flush().unwrap();
    assert_eq!(fixture.text(), "something else, and longer than before\n0:3\n");
    drop(output);
    fs::remove_file(&fixture.path).unwrap();
    let mut output = fixture.open();
    output.put(&records(0, 4, 5, 4)).unwrap();
    output.flush().unwrap();
    assert_eq!(fixture.text(), "0:4\n");
}

#[test]
fn a_file_emptied_or_renamed_while_written_goes_on() {
    let fixture = Fixture::new();
    let mut output = fixture.open();
    output.put(&records(0, 0, 1, 0)).unwrap();
    output.flush().unwrap();
    fs::write(&fixture.path, "").unwrap();
    output.put(&records(0, 1, 2, 1)).unwrap();
    output.flush().unwrap();
    assert_eq!(fixture.text(), "0:1\n");
    let rotated = fixture.path.with_extension("1");
    fs::rename(&fixture.path, &rotated).unwrap();
    output.put(&records(0, 2, 3, 2)).unwrap();
    output.flush().unwrap();
    output.put(&records(0, 3, 4, 3)).unwrap();
    output.flush().unwrap();
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "0:1\n0:2\n");
    assert_eq!(fixture.text(), "0:3\n");
    drop(output);
    fixture.open();
    assert_eq!(fixture.text(), "0:3\n");
}

#[test]
fn two_writers_and_a_broken_sidecar_are_refused() {
    let fixture = Fixture::new();
    let output = fixture.open();
    assert!(matches!(
        Output::open(&fixture.path, Rows::new(RowFormat::Text)),
        Err(OutputError::InUse { .. })
    ));
    drop(output);
    fs::write(fixture.sidecar(), "{}").unwrap();
    assert!(matches!(
        Output::open(&fixture.path, Rows::new(RowFormat::Text)),
        Err(OutputError::Sidecar { .. })
    ));
    let later =
        r#"{"version":2,"length":0,"fingerprint":"0","fingerprint_bytes":0,"partitions":[]}"#;
    fs::write(fixture.sidecar(), later).unwrap();
    let error = Output::open(&fixture.path, Rows::new(RowFormat::Text)).unwrap_err().to_string();
    assert!(error.contains("it is of version 2; this one knows 1"), "{error}");
}

/// A moment at which the process may die, with the disk as it is then.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put {
        partition: i32,
        records: i64,
    },
    Flush,
    /// Dies; the lines of `survive` of 4 unflushed quarters are on disk.
    Crash {
        survive: u64,
        sidecar_half_written: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3i32, 1..20i64)
            .prop_map(|(partition, records)| Step::Put { partition, records }),
        2 => Just(Step::Flush),
        2 => (0..=4u64, any::<bool>()).prop_map(|(survive, sidecar_half_written)| {
            Step::Crash { survive, sidecar_half_written }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the crashes, at the end each record is there once, in order per partition. The
    /// group is always behind: reading starts at 0 after each crash.
    #[test]
    fn every_record_is_written_once(steps in prop::collection::vec(step(), 1..40)) {
        let fixture = Fixture::new();
        let all = [opened(0, 1), opened(1, 1), opened(2, 1)];
        let mut output = fixture.open();
        let mut from = output.offsets(&all);
        let mut next = [0i64; 3];
        let mut durable = fs::metadata(&fixture.path).unwrap().len();
        for step in steps.into_iter().chain([Step::Flush]) {
            match step {
                Step::Put { partition, records: count } => {
                    let at = partition as usize;
                    let (start, end) = (next[at], next[at] + count);
                    output.put(&records(partition, start, end, from[at].1.0)).unwrap();
                    next[at] = end;
                }
                Step::Flush => {
                    output.flush().unwrap();
                    durable = fs::metadata(&fixture.path).unwrap().len();
                }
                Step::Crash { survive, sidecar_half_written } => {
                    drop(output);
                    let file = OpenOptions::new().write(true).open(&fixture.path).unwrap();
                    let written = file.metadata().unwrap().len();
                    file.set_len(durable + (written - durable) * survive / 4).unwrap();
                    if sidecar_half_written {
                        let mut aside = fixture.sidecar().into_os_string();
                        aside.push(".new");
                        fs::write(aside, "{\"version\"").unwrap();
                    }
                    output = fixture.open();
                    from = output.offsets(&all);
                    next = [0; 3];
                }
            }
        }
        let text = fixture.text();
        for SinkPartition { partition, .. } in &all {
            let of_it = format!("{}:", partition.partition);
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&of_it)).collect();
            let known = output.offsets(&all)[partition.partition as usize].1.0;
            let expected: Vec<_> = (0..known).map(|offset| format!("{of_it}{offset}")).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
