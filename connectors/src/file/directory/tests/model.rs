//! Random lives of log files in a directory, followed through stops and crashes.
//!
//! A *life* is what a file holds between being created or emptied and being emptied or deleted;
//! each line names its own. What must hold, whatever happens in whatever order:
//!
//! - lines of a life are delivered in order, each once, without a gap, from its first;
//! - that is so by however many tasks, which look, commit, stop and crash at moments of their own,
//!   also when there are fewer or more of them later;
//! - a life is delivered whole in the end, however it was renamed, copied before it was emptied,
//!   and compressed, unless it was emptied without a copy, or deleted.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::file::share::Agreement;

#[derive(Clone, Copy, Debug)]
enum Op {
    Append {
        log: usize,
        lines: usize,
        terminated: bool,
    },
    Rename {
        log: usize,
    },
    /// To a name of another family, or over a file that is there.
    Move {
        log: usize,
        to: usize,
    },
    CopyTruncate {
        log: usize,
    },
    Compress {
        which: usize,
        with_zstd: bool,
    },
    Empty {
        log: usize,
    },
    Delete {
        which: usize,
    },
    Drain {
        task: usize,
    },
    Fill {
        task: usize,
        lines: usize,
    },
    Commit {
        task: usize,
    },
    Stop {
        task: usize,
        crash: bool,
    },
    /// All stop, and as many begin.
    Rebalance {
        tasks: usize,
        crash: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let log = 0..2usize;
    let task = 0..3usize;
    prop_oneof![
        6 => (log.clone(), 0..4usize, any::<bool>())
            .prop_map(|(log, lines, terminated)| Op::Append { log, lines, terminated }),
        3 => log.clone().prop_map(|log| Op::Rename { log }),
        1 => (log.clone(), 0..3usize).prop_map(|(log, to)| Op::Move { log, to }),
        3 => log.clone().prop_map(|log| Op::CopyTruncate { log }),
        3 => (0..4usize, any::<bool>())
            .prop_map(|(which, with_zstd)| Op::Compress { which, with_zstd }),
        1 => log.prop_map(|log| Op::Empty { log }),
        1 => (0..4usize).prop_map(|which| Op::Delete { which }),
        4 => task.clone().prop_map(|task| Op::Drain { task }),
        4 => (task.clone(), 1..4usize).prop_map(|(task, lines)| Op::Fill { task, lines }),
        3 => task.clone().prop_map(|task| Op::Commit { task }),
        3 => (task, any::<bool>()).prop_map(|(task, crash)| Op::Stop { task, crash }),
        1 => (1..4usize, any::<bool>())
            .prop_map(|(tasks, crash)| Op::Rebalance { tasks, crash }),
    ]
}

const LOGS: [&str; 2] = ["a.log", "b.log"];
/// Names that files are moved to: of other families, and of one that is there.
const OTHERS: [&str; 3] = ["2026-a.log", "c.log", "b.log"];

#[derive(Debug, Default)]
struct Life {
    lines: Vec<String>,
    partial: String,
    /// `None`: emptied or deleted.
    path: Option<PathBuf>,
    /// What was not read of it may be gone.
    lossy: bool,
    /// Its file was moved.
    moved: bool,
    /// A copy has a name that its file had for a while, before that and after that another: no
    /// name leads from the one to the other if nobody looked meanwhile.
    untraceable: bool,
}

struct World {
    fixture: Fixture,
    lives: Vec<Life>,
    rotations: usize,
    /// Lives that were copied, of files that were moved, since then; by where these are.
    copied: HashMap<PathBuf, Vec<usize>>,
    tasks: Vec<Task>,
    /// Whether they run in one process.
    alone: bool,
    agreement: Arc<Agreement>,
    /// In the order of commits.
    committed: Vec<String>,
    stored: Stored,
}

#[derive(Default)]
struct Task {
    directory: Option<Directory>,
    /// Since the last commit.
    delivered: Vec<String>,
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
                if let Some(copied) = self.copied.remove(&self.fixture.path(LOGS[log])) {
                    self.copied.insert(to.clone(), copied);
                }
                self.lives[life].path = Some(to);
            }
            Op::CopyTruncate { log } => {
                let path = self.fixture.path(LOGS[log]);
                let Some(life) = self.life_at(&path) else { return };
                let to = self.rotated(log);
                fs::copy(&path, &to).unwrap();
                fs::File::create(&path).unwrap();
                if let Some(copied) = self.copied.get_mut(&path) {
                    copied.push(life);
                }
                self.lives[life].path = Some(to);
            }
            Op::Compress { which, with_zstd } => {
                let Some(life) = self.some_rotated(which) else { return };
                let path = self.lives[life].path.clone().unwrap();
                if path.extension().is_some_and(|end| end != "gz" && end != "zst") {
                    self.lives[life].untraceable |= self.lives[life].moved;
                    self.lose_name(&path);
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
                let path = self.lives[life].path.take().unwrap();
                self.lose_name(&path);
                fs::remove_file(path).unwrap();
                self.lives[life].lossy = true;
            }
            Op::Move { log, to } => {
                let (from, to) = (self.fixture.path(LOGS[log]), self.fixture.path(OTHERS[to]));
                if from == to || !from.exists() {
                    return;
                }
                self.lose_name(&from);
                self.lose_name(&to);
                self.copied.insert(to.clone(), Vec::new());
                let life = self.log(log);
                if let Some(replaced) = self.life_at(&to).filter(|one| *one != life) {
                    (self.lives[replaced].path, self.lives[replaced].lossy) = (None, true);
                }
                fs::rename(from, &to).unwrap();
                (self.lives[life].path, self.lives[life].moved) = (Some(to), true);
            }
            Op::Drain { task } => {
                let task = task % self.tasks.len();
                let lines = drain(self.directory(task));
                self.tasks[task].delivered.extend(lines);
            }
            Op::Fill { task, lines } => self.fill(task % self.tasks.len(), lines),
            Op::Commit { task } => self.commit(task % self.tasks.len()),
            Op::Stop { task, crash } => self.stop(task % self.tasks.len(), crash),
            Op::Rebalance { tasks, crash } => {
                for task in 0..self.tasks.len() {
                    self.stop(task, crash);
                }
                self.begin(tasks);
            }
        }
        self.check();
    }

    /// A file is no longer called that: what it had under that name alone is a copy of nothing
    /// that is known.
    fn lose_name(&mut self, path: &Path) {
        for life in self.copied.remove(path).into_iter().flatten() {
            self.lives[life].untraceable = true;
        }
    }

    fn begin(&mut self, tasks: usize) {
        self.tasks = (0..tasks).map(|_| Task::default()).collect();
        self.agreement = Arc::new(Agreement::new(tasks));
    }

    fn directory(&mut self, task: usize) -> &mut Directory {
        let (fixture, stored, tasks) = (&self.fixture, &self.stored, self.tasks.len());
        let share = match (tasks, self.alone) {
            (1, _) => Share::All,
            (_, true) => Share::Agreed { task, agreement: self.agreement.clone() },
            (_, false) => Share::Hashed { task, tasks },
        };
        let open = || fixture.open_share(FOLLOW, stored, true, share);
        self.tasks[task].directory.get_or_insert_with(open)
    }

    fn fill(&mut self, task: usize, mut lines: usize) {
        let mut got = Vec::new();
        let directory = self.directory(task);
        directory.look_again();
        let take = |line: Piece<'_>| {
            got.push(String::from_utf8(line.bytes.to_vec()).unwrap());
            lines -= 1;
            if lines > 0 { Taken::More } else { Taken::Enough }
        };
        directory.fill(take).unwrap();
        self.tasks[task].delivered.extend(got);
    }

    fn commit(&mut self, task: usize) {
        let task = &mut self.tasks[task];
        if let Some(directory) = &mut task.directory {
            store(directory, &mut self.stored);
            self.committed.append(&mut task.delivered);
        }
    }

    fn stop(&mut self, task: usize, crash: bool) {
        if !crash {
            self.commit(task);
        }
        self.tasks[task] = Task::default();
    }

    /// Ends the last lines of files that nothing will follow.
    fn end_moved(&mut self) {
        for life in self.lives.iter_mut().filter(|life| !life.partial.is_empty()) {
            let Some(path) = life.path.as_deref().filter(|path| !rotation::is_rotated(path)) else {
                continue;
            };
            append(path, "\n");
            life.lines.push(std::mem::take(&mut life.partial));
        }
    }

    fn drain_all(&mut self) {
        for task in 0..self.tasks.len() {
            self.run(Op::Drain { task });
        }
    }

    /// All lines of a life; one task has it.
    fn of_life(&self, life: usize) -> Vec<&String> {
        let begin = format!("{life}:");
        let delivered = self.tasks.iter().flat_map(|task| &task.delivered);
        self.committed.iter().chain(delivered).filter(|line| line.starts_with(&begin)).collect()
    }

    fn check(&self) {
        let traceable = |(_, life): &(usize, &Life)| !life.untraceable;
        for (index, life) in self.lives.iter().enumerate().filter(traceable) {
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
    fn every_line_is_delivered_once_and_in_order(
        ops in prop::collection::vec(op(), 1..50),
        tasks in 1..4usize,
        alone in any::<bool>(),
    ) {
        let mut world = World {
            fixture: Fixture::new(),
            lives: Vec::new(),
            rotations: 0,
            copied: HashMap::new(),
            tasks: Vec::new(),
            alone,
            agreement: Arc::new(Agreement::new(tasks)),
            committed: Vec::new(),
            stored: Stored::new(),
        };
        world.begin(tasks);
        for op in ops {
            world.run(op);
        }
        for log in 0..LOGS.len() {
            world.run(Op::Append { log, lines: 2, terminated: true });
        }
        world.end_moved();
        world.drain_all();
        let whole = |(_, life): &(usize, &Life)| !life.lossy && !life.untraceable;
        for (index, life) in world.lives.iter().enumerate().filter(whole) {
            let partial = (!life.partial.is_empty()).then_some(&life.partial);
            let whole: Vec<_> = life.lines.iter().chain(partial).collect();
            prop_assert_eq!(world.of_life(index), whole, "life {} of {:?}", index, world.lives);
        }
    }
}
