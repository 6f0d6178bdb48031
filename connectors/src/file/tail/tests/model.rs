//! Random lives of a log file, followed by a tail that is stopped, crashed and resumed at will.
//!
//! A *life* is what a file holds between being created or emptied and being emptied or deleted.
//! Every line carries the life it belongs to. What must hold:
//!
//! - lines of a life are delivered in order, each once, without a gap, from its first; lives
//!   come in order;
//! - a life that the tail has opened is delivered whole, also when it was renamed or deleted
//!   afterwards, unless it was emptied (then the rest is lost, with a line that had no newline),
//!   or it was deleted while the tail was stopped, or renamed while stopped before a byte of it
//!   was seen;
//! - a life that was never at the path while the tail looked is lost.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Append {
        lines: usize,
        terminated: bool,
    },
    /// By a writer that still holds the file that was renamed last.
    AppendToRenamed {
        lines: usize,
        terminated: bool,
    },
    Rename {
        recreate: bool,
    },
    Empty,
    Replace {
        lines: usize,
    },
    Drain,
    Fill {
        lines: usize,
    },
    Commit,
    Stop {
        crash: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4usize, any::<bool>())
            .prop_map(|(lines, terminated)| Op::Append { lines, terminated }),
        1 => (0..3usize, any::<bool>())
            .prop_map(|(lines, terminated)| Op::AppendToRenamed { lines, terminated }),
        2 => any::<bool>().prop_map(|recreate| Op::Rename { recreate }),
        1 => Just(Op::Empty),
        1 => (0..3usize).prop_map(|lines| Op::Replace { lines }),
        3 => Just(Op::Drain),
        3 => (1..4usize).prop_map(|lines| Op::Fill { lines }),
        2 => Just(Op::Commit),
        2 => any::<bool>().prop_map(|crash| Op::Stop { crash }),
    ]
}

/// One life of a file.
#[derive(Debug, Default)]
struct Life {
    /// Whole lines.
    lines: Vec<String>,
    /// A last one without its newline.
    partial: String,
    /// Where it is now; `None` if it was deleted or emptied.
    path: Option<PathBuf>,
    emptied: bool,
}

struct World {
    fixture: Fixture,
    lives: Vec<Life>,
    /// The life that was renamed last.
    renamed: Option<usize>,
    tail: Option<Tail>,
    delivered: Vec<String>,
    committed: (Option<Position>, usize),
    /// The life that the committed position is in, and the one the tail is in.
    committed_life: Option<usize>,
    life: Option<usize>,
    /// Lives that the tail has opened and must deliver whole.
    whole: BTreeSet<usize>,
}

impl World {
    fn new() -> World {
        World {
            fixture: Fixture::new(),
            lives: Vec::new(),
            renamed: None,
            tail: None,
            delivered: Vec::new(),
            committed: (None, 0),
            committed_life: None,
            life: None,
            whole: BTreeSet::new(),
        }
    }

    fn at_path(&self) -> Option<usize> {
        self.lives.iter().position(|life| life.path.as_ref() == Some(&self.fixture.path))
    }

    fn begin_life(&mut self) -> usize {
        let path = Some(self.fixture.path.clone());
        self.lives.push(Life { path, ..Life::default() });
        self.lives.len() - 1
    }

    fn append(&mut self, life: usize, lines: usize, terminated: bool) {
        // The first letter tells lives apart, so that their heads differ from the first byte.
        let letter = char::from(b'0' + life as u8);
        let this = &mut self.lives[life];
        let mut text = String::new();
        for index in 0..lines {
            let number = this.lines.len();
            let rest = match this.partial.is_empty() {
                true => format!("{letter} {number}"),
                false => "…".to_owned(),
            };
            this.partial.push_str(&rest);
            text.push_str(&rest);
            if index + 1 < lines || terminated {
                text.push('\n');
                this.lines.push(std::mem::take(&mut this.partial));
            }
        }
        append(this.path.as_ref().unwrap(), &text);
        if !text.is_empty() && self.renamed.is_some_and(|renamed| renamed < life) {
            // The writer has moved on.
            self.renamed = None;
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Append { lines, terminated } => {
                let life = self.at_path().unwrap_or_else(|| self.begin_life());
                self.append(life, lines, terminated);
            }
            Op::AppendToRenamed { lines, terminated } => {
                if let Some(life) = self.renamed {
                    self.append(life, lines, terminated);
                }
            }
            Op::Rename { recreate } => self.rename(recreate),
            Op::Empty => self.empty(),
            Op::Replace { lines } => self.replace(lines),
            Op::Drain => self.drain(),
            Op::Fill { lines } => self.fill(lines),
            Op::Commit => self.commit(),
            Op::Stop { crash } => {
                if !crash {
                    self.commit();
                }
                self.stop();
            }
        }
        self.check_order();
    }

    fn rename(&mut self, recreate: bool) {
        let Some(life) = self.at_path() else { return };
        let to = self.fixture.path.with_extension(format!("log.{life}"));
        fs::rename(&self.fixture.path, &to).unwrap();
        self.lives[life].path = Some(to);
        self.renamed = Some(life);
        if recreate {
            let life = self.begin_life();
            self.append(life, 0, false);
        }
    }

    fn empty(&mut self) {
        let Some(life) = self.at_path() else { return };
        File::create(&self.fixture.path).unwrap();
        self.lives[life].path = None;
        self.lives[life].emptied = true;
        self.whole.remove(&life);
        let new = self.begin_life();
        // It is the same file: a tail that has it open will find the new life in it.
        if self.life == Some(life) {
            self.life = Some(new);
            self.whole.insert(new);
        }
    }

    fn replace(&mut self, lines: usize) {
        let old = self.at_path();
        if let Some(old) = old {
            self.lives[old].path = None;
        }
        let aside = self.fixture.path.with_extension("tmp");
        let new = self.begin_life();
        self.lives[new].path = Some(aside.clone());
        self.append(new, lines, true);
        fs::rename(&aside, &self.fixture.path).unwrap();
        self.lives[new].path = Some(self.fixture.path.clone());
    }

    fn tail(&mut self) -> &mut Tail {
        if self.tail.is_none() {
            let resume = self.committed.0.clone();
            self.life = self.committed_life.filter(|life| {
                let seen = resume.as_ref().and_then(|at| at.identity).map_or(0, |id| id.1.bytes);
                let life = &self.lives[*life];
                life.path.is_some() && (seen > 0 || life.path.as_ref() == Some(&self.fixture.path))
            });
            self.life = self.life.or(self.at_path());
            self.whole.extend(self.life);
            self.tail = Some(self.fixture.tail(FOLLOW, resume));
        } else if self.life.is_none() {
            self.life = self.at_path();
            self.whole.extend(self.life);
        }
        self.tail.as_mut().unwrap()
    }

    fn fill(&mut self, mut lines: usize) {
        let mut got = Vec::new();
        let tail = self.tail();
        tail.fill(|line| {
            got.push(String::from_utf8(line.bytes.to_vec()).unwrap());
            lines -= 1;
            if lines > 0 { Taken::More } else { Taken::Enough }
        })
        .unwrap();
        self.delivered.extend(got);
        self.note_life();
    }

    fn drain(&mut self) {
        let got = drain(self.tail());
        self.delivered.extend(got);
        if let Some(life) = self.at_path().filter(|life| !self.lives[*life].is_empty()) {
            self.life = Some(life);
            self.whole.insert(life);
        }
        self.check_whole();
    }

    /// After a fill that stopped early the tail may be in a later life than was known.
    fn note_life(&mut self) {
        let id = self.tail.as_ref().and_then(|tail| tail.current.as_ref()).map(|open| open.id);
        let there = self.lives.iter().position(|life| {
            let path = life.path.as_ref();
            path.and_then(|path| fs::metadata(path).ok()).map(|file| FileId::of(&file)) == id
        });
        if id.is_some() && there.is_some() {
            self.life = there;
            self.whole.extend(there);
        }
    }

    fn commit(&mut self) {
        if let Some(tail) = &self.tail
            && let Some(position) = tail.position()
        {
            self.committed = (Some(position), self.delivered.len());
            self.note_life();
            // An emptying that was not noticed yet leaves a position that nothing will match.
            let open = self.tail.as_ref().and_then(|tail| tail.current.as_ref());
            let known = open.is_some_and(|open| open.is_unchanged().unwrap());
            self.committed_life = self.life.filter(|_| known);
        }
    }

    /// What was not committed is taken back, as its transaction would be.
    fn stop(&mut self) {
        self.tail = None;
        self.life = None;
        self.delivered.truncate(self.committed.1);
        self.whole.clear();
    }

    fn of_life(&self, life: usize) -> Vec<&String> {
        let letter = char::from(b'0' + life as u8);
        self.delivered.iter().filter(|line| line.starts_with(letter)).collect()
    }

    fn check_order(&self) {
        let lives: Vec<_> = self.delivered.iter().map(|line| line.as_bytes()[0]).collect();
        assert!(lives.is_sorted(), "lives out of order: {:?}", self.delivered);
        for (index, life) in self.lives.iter().enumerate() {
            let whole =
                life.lines.iter().chain((!life.partial.is_empty()).then_some(&life.partial));
            let whole: Vec<_> = whole.collect();
            let got = self.of_life(index);
            assert!(whole.starts_with(&got), "life {index}: {got:?} of {whole:?}");
        }
    }

    fn check_whole(&self) {
        for index in self.whole.iter().copied() {
            let life = &self.lives[index];
            // Once the tail has moved on, a last line without a newline counts too.
            let over = self.life.is_some_and(|now| now > index);
            let mut expected: Vec<_> = life.lines.iter().collect();
            if over && !life.partial.is_empty() {
                expected.push(&life.partial);
            }
            assert_eq!(self.of_life(index), expected, "life {index} of {:?}", self.lives);
        }
    }
}

impl Life {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.partial.is_empty()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_delivered_once_and_in_order(ops in prop::collection::vec(op(), 1..40)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.run(Op::Append { lines: 1, terminated: true });
        world.run(Op::Drain);
        prop_assert!(world.whole.contains(&world.at_path().unwrap()));
    }
}
