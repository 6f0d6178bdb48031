//! What is in the directory after a crash at any step, and when files are rolled.

use broker::client::FetchedBatches;
use broker::ids::LeaderEpoch;
use broker::record::{BatchBuilder, ProducerStamp};
use proptest::prelude::*;

mod columns;

use std::io;

use super::*;
use crate::file::layout::TimeStep;
use crate::file::rows::RowFormat;

const DAY_MS: i64 = 24 * 3600 * 1000;

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn opened(index: i32) -> SinkPartition {
    SinkPartition { partition: partition(index), topic_id: Some(uuid::Uuid::from_u128(1)) }
}

/// Records of a partition whose values are their offsets, on three days in turn.
fn records(index: i32, start: i64, to: i64, from: i64) -> SinkRecords {
    let mut builder = BatchBuilder::default();
    for offset in start..to {
        builder.append(offset % 3 * DAY_MS, None, Some(format!("{index}:{offset}").as_bytes()));
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
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { dir: tempfile::tempdir().unwrap() }
    }

    fn options(&self) -> PartOptions {
        PartOptions {
            root: self.dir.path().join("out"),
            layout: Layout { fields: Vec::new(), time: Some(TimeStep::Day) },
            left_out: Vec::new(),
            packing: Packing::None,
            roll_bytes: 1_000_000,
            roll_after: Duration::from_secs(3600),
            roll_records: u64::MAX,
            open_max: 64,
            held_max: 10_000,
            ending: ".txt",
        }
    }

    fn parts(&self, options: PartOptions) -> Parts {
        Parts::new(options, Rows::new(RowFormat::Text))
    }

    /// Complete files, by path.
    fn files(&self) -> BTreeMap<String, String> {
        let root = self.dir.path().join("out");
        let text = |name: String| {
            let text = fs::read_to_string(root.join(&name)).unwrap();
            (name, text)
        };
        self.names().into_iter().map(text).collect()
    }

    /// The paths of complete files.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let root = self.dir.path().join("out");
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                    continue;
                }
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                names.push(path.strip_prefix(&root).unwrap().display().to_string());
            }
        }
        names.sort();
        names
    }
}

#[test]
fn files_get_their_names_when_they_are_complete() {
    let fixture = Fixture::new();
    let mut parts = fixture.parts(fixture.options());
    assert_eq!(parts.open(&[opened(0)]).unwrap(), [(partition(0), Offset(0))]);
    parts.put(&records(0, 0, 4, 0)).unwrap();
    assert_eq!(parts.flush().unwrap(), [(partition(0), Offset(0))]);
    assert_eq!(fixture.files(), BTreeMap::new());
    parts.finish().unwrap();
    assert_eq!(parts.flush().unwrap(), [(partition(0), Offset(4))]);
    let name =
        |day: u32, first: u32| format!("year=1970/month=01/day={day:02}/t+0+{first:010}.txt");
    let expected = [(1, 0, "0:0\n0:3\n"), (2, 1, "0:1\n"), (3, 2, "0:2\n")];
    let expected = expected.map(|(day, first, text)| (name(day, first), text.to_owned()));
    assert_eq!(fixture.files(), BTreeMap::from(expected));
    // Beside each other, not over each other, if offsets count anew.
    drop(parts);
    let mut parts = fixture.parts(fixture.options());
    alter_offsets(&fixture.options().root, &[(partition(0), None)]).unwrap();
    assert_eq!(parts.open(&[opened(0)]).unwrap(), [(partition(0), Offset(0))]);
    parts.put(&records(0, 0, 1, 0)).unwrap();
    parts.finish().unwrap();
    assert_eq!(fixture.files().len(), 4);
}

#[test]
fn size_time_and_too_many_files_roll() {
    let fixture = Fixture::new();
    let options = PartOptions { roll_bytes: 8, ..fixture.options() };
    let mut parts = fixture.parts(options);
    parts.open(&[opened(0)]).unwrap();
    parts.put(&records(0, 0, 4, 0)).unwrap();
    assert_eq!(parts.flush().unwrap(), [(partition(0), Offset(4))]);
    assert_eq!(fixture.files().len(), 4, "3 that the third record ended, and the fourth's");
    drop(parts);
    let options = PartOptions { roll_after: Duration::ZERO, ..fixture.options() };
    let mut parts = fixture.parts(options);
    parts.open(&[opened(0)]).unwrap();
    parts.put(&records(0, 4, 5, 4)).unwrap();
    assert!(parts.flush_at().unwrap() <= Instant::now());
    assert_eq!(parts.flush().unwrap(), [(partition(0), Offset(5))]);
    assert_eq!(parts.flush_at(), None);
    drop(parts);
    let options = PartOptions { open_max: 2, ..fixture.options() };
    let mut parts = fixture.parts(options);
    parts.open(&[opened(0)]).unwrap();
    parts.put(&records(0, 5, 9, 5)).unwrap();
    assert_eq!(parts.generations[&partition(0)].journal.offset, 7);
}

#[test]
fn two_writers_are_refused_and_compressed_files_can_be_read() {
    for (packing, ending) in [(Packing::Gzip, "gz"), (Packing::Zstd, "zst")] {
        let fixture = Fixture::new();
        let options = PartOptions { packing, layout: Layout::default(), ..fixture.options() };
        let mut parts = fixture.parts(options.clone());
        parts.open(&[opened(0)]).unwrap();
        let mut second = fixture.parts(options);
        assert!(matches!(second.open(&[opened(0)]), Err(OutputError::InUse { .. })));
        parts.put(&records(0, 0, 20_000, 0)).unwrap();
        parts.finish().unwrap();
        let path = fixture.dir.path().join(format!("out/t+0+0000000000.txt.{ending}"));
        let packed = fs::read(path).unwrap();
        let mut text = String::new();
        let read = match packing {
            Packing::Gzip => {
                io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*packed), &mut text)
            }
            _ => io::Read::read_to_string(
                &mut zstd::stream::read::Decoder::new(&*packed).unwrap(),
                &mut text,
            ),
        };
        read.unwrap();
        assert_eq!(text.lines().count(), 20_000);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Put {
        partition: i32,
        records: i64,
    },
    Flush,
    Finish,
    /// Dies after so many more durable steps.
    Die {
        steps: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2i32, 1..20i64)
            .prop_map(|(partition, records)| Step::Put { partition, records }),
        2 => Just(Step::Flush),
        2 => Just(Step::Finish),
        3 => (0..4usize).prop_map(|steps| Step::Die { steps }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever the crashes, at the end each record is in one complete file once, in order.
    #[test]
    fn every_record_is_written_once(steps in prop::collection::vec(step(), 1..40)) {
        let fixture = Fixture::new();
        let all = [opened(0), opened(1)];
        let options = PartOptions { roll_bytes: 60, open_max: 5, ..fixture.options() };
        let open = |next: &mut [i64; 2]| {
            let mut parts = fixture.parts(options.clone());
            let from = parts.open(&all).unwrap();
            // The group is behind: it reads from the start.
            *next = [0; 2];
            (parts, [from[0].1.0, from[1].1.0])
        };
        let mut next = [0; 2];
        let (mut parts, mut from) = open(&mut next);
        for step in steps {
            let done = match step {
                Step::Put { partition, records: count } => {
                    let at = partition as usize;
                    let (start, end) = (next[at], next[at] + count);
                    next[at] = end;
                    if end <= from[at] {
                        continue;
                    }
                    parts.put(&records(partition, start, end, from[at])).map(drop)
                }
                Step::Flush => parts.flush().map(drop),
                Step::Finish => parts.finish(),
                Step::Die { steps } => {
                    parts.steps_left = Some(steps);
                    Ok(())
                }
            };
            if done.is_err() {
                drop(parts);
                (parts, from) = open(&mut next);
            }
        }
        parts.steps_left = None;
        parts.finish().unwrap();
        let complete = parts.flush().unwrap();
        let files = fixture.files();
        for (index, (_, offset)) in complete.into_iter().enumerate() {
            let of_it = format!("{index}:");
            let mut lines: Vec<i64> = Vec::new();
            for text in files.values() {
                let numbers = text.lines().filter_map(|line| line.strip_prefix(&of_it));
                let numbers: Vec<i64> = numbers.map(|number| number.parse().unwrap()).collect();
                prop_assert!(numbers.is_sorted());
                lines.extend(numbers);
            }
            lines.sort();
            prop_assert_eq!(lines, (0..offset.0).collect::<Vec<_>>());
        }
    }
}
