//! Random lives of log files in a directory, followed through stops and crashes.
//!
//! A *life* is what a file holds between being created or emptied and being emptied or deleted;
//! each line names its own. What must hold, whatever happens in whatever order:
//!
//! - lines of a life are delivered in order, each once, without a gap, from its first;
//! - a life is delivered whole in the end, however it was renamed, copied before it was emptied,
//!   and compressed, unless it was emptied without a copy, or deleted.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Append { log: usize, lines: usize, terminated: bool },
    Rename { log: usize },
    CopyTruncate { log: usize },
    Compress { which: usize, with_zstd: bool },
    Empty { log: usize },
    Delete { which: usize },
    Drain,
    Fill { lines: usize },
    Commit,
    Stop { crash: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let log = 0..2usize;
    prop_oneof![
        6 => (log.clone(), 0..4usize, any::<bool>())
            .prop_map(|(log, lines, terminated)| Op::Append { log, lines, terminated }),
        3 => log.clone().prop_map(|log| Op::Rename { log }),
        3 => log.clone().prop_map(|log| Op::CopyTruncate { log }),
        3 => (0..4usize, any::<bool>())
            .prop_map(|(which, with_zstd)| Op::Compress { which, with_zstd }),
        1 => log.prop_map(|log| Op::Empty { log }),
        1 => (0..4usize).prop_map(|which| Op::Delete { which }),
        4 => Just(Op::Drain),
        4 => (1..4usize).prop_map(|lines| Op::Fill { lines }),
        3 => Just(Op::Commit),
        3 => any::<bool>().prop_map(|crash| Op::Stop { crash }),
    ]
}

const LOGS: [&str; 2] = ["a.log", "b.log"];

#[derive(Debug, Default)]
struct Life {
    lines: Vec<String>,
    partial: String,
    /// `None`: emptied or deleted.
    path: Option<PathBuf>,
    /// What was not read of it may be gone.
    lossy: bool,
}

struct World {
    fixture: Fixture,
    lives: Vec<Life>,
    rotations: usize,
    directory: Option<Directory>,
    delivered: Vec<String>,
    stored: Stored,
    committed: usize,
}

impl World {
    fn life_at(&self, path: &Path) -> Option<usize> {
        self.lives.iter().position(|life| life.path.as_deref() == Some(path))
    }

    fn log(&mut self, log: usize) -> usize {
        let path = self.fixture.path(LOGS[log]);
        self.life_at(&path).unwrap_or_else(|| {
            self.lives.push(Life { path: Some(path), ..Life::default() });
            self.lives.len() - 1
        })
    }

    fn append(&mut self, log: usize, lines: usize, terminated: bool) {
        let index = self.log(log);
        let life = &mut self.lives[index];
        let mut text = String::new();
        for line in 0..lines {
            if life.partial.is_empty() {
                // Of different lengths, so that a file written anew within the clock's tick differs.
                let more = "x".repeat(index % 17);
                life.partial = format!("{index}:{}{more}", life.lines.len());
                text.push_str(&life.partial);
            } else {
                life.partial.push('+');
                text.push('+');
            }
            if line + 1 < lines || terminated {
                text.push('\n');
                life.lines.push(std::mem::take(&mut life.partial));
            }
        }
        append(life.path.as_ref().unwrap(), &text);
    }

    /// The name for the next rotated file.
    fn rotated(&mut self, log: usize) -> PathBuf {
        self.rotations += 1;
        self.fixture.path(&format!("{}.{}", LOGS[log], self.rotations))
    }

    /// A rotated file that is there.
    fn some_rotated(&self, which: usize) -> Option<usize> {
        let rotated = |life: &Life| life.path.as_deref().is_some_and(rotation::is_rotated);
        let all: Vec<_> = (0..self.lives.len()).filter(|at| rotated(&self.lives[*at])).collect();
        all.get(which).copied()
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Append { log, lines, terminated } => self.append(log, lines, terminated),
            Op::Rename { log } => {
                let Some(life) = self.life_at(&self.fixture.path(LOGS[log])) else { return };
                let to = self.rotated(log);
                fs::rename(self.fixture.path(LOGS[log]), &to).unwrap();
                self.lives[life].path = Some(to);
            }
            Op::CopyTruncate { log } => {
                let path = self.fixture.path(LOGS[log]);
                let Some(life) = self.life_at(&path) else { return };
                let to = self.rotated(log);
                fs::copy(&path, &to).unwrap();
                fs::File::create(&path).unwrap();
                self.lives[life].path = Some(to);
            }
            Op::Compress { which, with_zstd } => {
                let Some(life) = self.some_rotated(which) else { return };
                let path = self.lives[life].path.clone().unwrap();
                if path.extension().is_some_and(|end| end != "gz" && end != "zst") {
                    self.lives[life].path = Some(compress(&path, with_zstd));
                }
            }
            Op::Empty { log } => {
                let path = self.fixture.path(LOGS[log]);
                let Some(life) = self.life_at(&path) else { return };
                fs::File::create(&path).unwrap();
                (self.lives[life].path, self.lives[life].lossy) = (None, true);
            }
            Op::Delete { which } => {
                let Some(life) = self.some_rotated(which) else { return };
                fs::remove_file(self.lives[life].path.take().unwrap()).unwrap();
                self.lives[life].lossy = true;
            }
            Op::Drain => {
                let lines = drain(self.directory());
                self.delivered.extend(lines);
            }
            Op::Fill { lines } => self.fill(lines),
            Op::Commit => self.commit(),
            Op::Stop { crash } => {
                if !crash {
                    self.commit();
                }
                self.directory = None;
                self.delivered.truncate(self.committed);
            }
        }
        self.check();
    }

    fn directory(&mut self) -> &mut Directory {
        let (fixture, stored) = (&self.fixture, &self.stored);
        self.directory.get_or_insert_with(|| fixture.open_with(FOLLOW, stored, true))
    }

    fn fill(&mut self, mut lines: usize) {
        let mut got = Vec::new();
        let directory = self.directory();
        directory.look_again();
        let take = |line: Piece<'_>| {
            got.push(String::from_utf8(line.bytes.to_vec()).unwrap());
            lines -= 1;
            if lines > 0 { Taken::More } else { Taken::Enough }
        };
        directory.fill(take).unwrap();
        self.delivered.extend(got);
    }

    fn commit(&mut self) {
        if let Some(directory) = &mut self.directory {
            store(directory, &mut self.stored);
            self.committed = self.delivered.len();
        }
    }

    fn of_life(&self, life: usize) -> Vec<&String> {
        let begin = format!("{life}:");
        self.delivered.iter().filter(|line| line.starts_with(&begin)).collect()
    }

    fn check(&self) {
        for (index, life) in self.lives.iter().enumerate() {
            let partial = (!life.partial.is_empty()).then_some(&life.partial);
            let whole: Vec<_> = life.lines.iter().chain(partial).collect();
            let got = self.of_life(index);
            assert!(whole.starts_with(&got), "life {index}: {got:?} of {whole:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_delivered_once_and_in_order(ops in prop::collection::vec(op(), 1..50)) {
        let mut world = World {
            fixture: Fixture::new(),
            lives: Vec::new(),
            rotations: 0,
            directory: None,
            delivered: Vec::new(),
            stored: Stored::new(),
            committed: 0,
        };
        for op in ops {
            world.run(op);
        }
        for log in 0..LOGS.len() {
            world.run(Op::Append { log, lines: 2, terminated: true });
        }
        world.run(Op::Drain);
        for (index, life) in world.lives.iter().enumerate().filter(|(_, life)| !life.lossy) {
            let partial = (!life.partial.is_empty()).then_some(&life.partial);
            let whole: Vec<_> = life.lines.iter().chain(partial).collect();
            prop_assert_eq!(world.of_life(index), whole, "life {} of {:?}", index, world.lives);
        }
    }
}
