//! Which files a task has, of several that read what one pattern names.
//!
//! All names that rotation gives a file are one family, and a family is read by one task. Tasks of
//! one process agree: a family that is new goes to the task with the least to read, and stays
//! there, under another name too. Tasks that run in several processes cannot ask each other: there
//! a family's name decides, so that some may have more than others.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::identity::FileId;
use super::pattern::Found;
use super::rotation;

/// What a file counts beside its bytes, so that many small ones are shared evenly too.
const FILE_WEIGHT: u64 = 64 << 10;
/// Families that are remembered although no file of theirs is there.
const GONE_MAX: usize = 10_000;

/// What one task has.
#[derive(Clone, Debug)]
pub enum Share {
    All,
    /// By the names of families.
    Named {
        task: usize,
        tasks: usize,
    },
    Agreed {
        task: usize,
        agreement: Arc<Agreement>,
    },
}

/// What the tasks of one connector in one process have agreed on.
#[derive(Debug)]
pub struct Agreement {
    tasks: usize,
    owners: Mutex<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    families: HashMap<PathBuf, usize>,
    /// Of files, whatever they are called by now.
    inodes: HashMap<u64, usize>,
}

impl Share {
    /// Leaves those files that are this task's.
    pub fn retain(&self, found: &mut Vec<Found>) {
        match self {
            Share::All => {}
            Share::Named { task, tasks } => {
                found.retain(|file| named(&rotation::family(&file.path), *tasks) == *task);
            }
            Share::Agreed { task, agreement } => {
                let mut owners = agreement.owners.lock().unwrap_or_else(PoisonError::into_inner);
                owners.share_out(found, agreement.tasks);
                let owner = |file: &Found| owners.families.get(&rotation::family(&file.path));
                found.retain(|file| owner(file) == Some(task));
            }
        }
    }

    /// Whether a file that was read before is this task's. What there is must be shared out
    /// already.
    pub fn has(&self, path: &Path, inode: Option<u64>) -> bool {
        let family = rotation::family(path);
        match self {
            Share::All => true,
            Share::Named { task, tasks } => named(&family, *tasks) == *task,
            Share::Agreed { task, agreement } => {
                let mut owners = agreement.owners.lock().unwrap_or_else(PoisonError::into_inner);
                let by_inode = inode.and_then(|inode| owners.inodes.get(&inode)).copied();
                let gone = || by_inode.unwrap_or_else(|| named(&family, agreement.tasks));
                *owners.families.entry(family.clone()).or_insert_with(gone) == *task
            }
        }
    }
}

impl Agreement {
    pub fn new(tasks: usize) -> Agreement {
        Agreement { tasks, owners: Mutex::default() }
    }
}

impl Owners {
    /// Gives families that are new to the tasks with the least to read, the largest first.
    fn share_out(&mut self, found: &[Found], tasks: usize) {
        let mut new: HashMap<PathBuf, u64> = HashMap::new();
        let mut loads = vec![0; tasks];
        for file in found {
            let (family, inode) = (rotation::family(&file.path), FileId::of(&file.metadata).inode);
            let weight = file.metadata.len().saturating_add(FILE_WEIGHT);
            let renamed = || self.inodes.get(&inode).copied();
            match self.families.get(&family).copied().or_else(renamed) {
                Some(owner) => {
                    loads[owner] += weight;
                    self.families.insert(family, owner);
                }
                None => *new.entry(family).or_default() += weight,
            }
        }
        let mut new: Vec<_> = new.into_iter().filter(|(family, _)| !self.has(family)).collect();
        new.sort_by(|(a, weight_a), (b, weight_b)| weight_b.cmp(weight_a).then(a.cmp(b)));
        for (family, weight) in new {
            let least = (0..tasks).min_by_key(|task| loads[*task]).unwrap_or(0);
            loads[least] += weight;
            self.families.insert(family, least);
        }
        let there = found.iter().map(|file| (FileId::of(&file.metadata).inode, &file.path));
        let there = there.map(|(inode, path)| (inode, rotation::family(path)));
        let there: HashMap<u64, PathBuf> = there.collect();
        if self.families.len() + self.inodes.len() > 2 * (there.len() + GONE_MAX) {
            let families: std::collections::HashSet<&PathBuf> = there.values().collect();
            self.families.retain(|family, _| families.contains(family));
            self.inodes.clear();
        }
        let owners = there.into_iter().map(|(inode, family)| (inode, self.families[&family]));
        self.inodes.extend(owners.collect::<Vec<_>>());
    }

    fn has(&self, family: &Path) -> bool {
        self.families.contains_key(family)
    }
}

/// By a family's name, without the directory that it may be moved to.
fn named(family: &Path, tasks: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    family.file_name().hash(&mut hasher);
    (hasher.finish() % tasks as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::file::pattern::Pattern;

    fn shares(tasks: usize) -> Vec<Share> {
        let agreement = Arc::new(Agreement::new(tasks));
        let share = |task| Share::Agreed { task, agreement: agreement.clone() };
        (0..tasks).map(share).collect()
    }

    /// What each task has of a directory.
    fn divided(dir: &Path, shares: &[Share]) -> Vec<Vec<String>> {
        let pattern = Pattern::new(&dir.join("**")).unwrap().unwrap();
        let name = |file: Found| file.path.strip_prefix(dir).unwrap().display().to_string();
        let of = |share: &Share| {
            let mut found = pattern.list().unwrap();
            share.retain(&mut found);
            found.into_iter().map(name).collect()
        };
        shares.iter().map(of).collect()
    }

    #[test]
    fn files_are_shared_evenly_by_size_and_stay_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for host in ["a", "b", "c", "d"] {
            fs::create_dir(at(host)).unwrap();
            fs::write(at(host).join("app.log"), "line\n").unwrap();
        }
        fs::write(at("a/app.log"), vec![b'x'; 1 << 20]).unwrap();
        let three = shares(3);
        let expected = [vec!["a/app.log"], vec!["b/app.log", "d/app.log"], vec!["c/app.log"]];
        assert_eq!(divided(dir.path(), &three), expected);
        // Rotated, grown, and new ones there.
        fs::rename(at("b/app.log"), at("b/app.log.1")).unwrap();
        fs::write(at("b/app.log"), vec![b'x'; 4 << 20]).unwrap();
        fs::write(at("d/app.log"), vec![b'x'; 1 << 20]).unwrap();
        fs::write(at("c/new.log"), "line\n").unwrap();
        fs::rename(at("a/app.log"), at("a/other.log")).unwrap();
        let expected = [
            vec!["a/other.log"],
            vec!["b/app.log", "b/app.log.1", "d/app.log"],
            vec!["c/app.log", "c/new.log"],
        ];
        assert_eq!(divided(dir.path(), &three), expected);
        // A task that begins anew finds its own, and what is gone is one's as well.
        assert!(three[0].has(&at("a/app.log"), None) && !three[1].has(&at("a/app.log"), None));
        let gone = three.iter().filter(|share| share.has(&at("gone.log"), Some(0)));
        assert_eq!(gone.count(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write { name: usize, bytes: usize },
        Rotate { name: usize },
        Rename { from: usize, to: usize },
        Remove { name: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = 0..8usize;
        prop_oneof![
            4 => (name.clone(), 0..200_000usize)
                .prop_map(|(name, bytes)| Step::Write { name, bytes }),
            2 => name.clone().prop_map(|name| Step::Rotate { name }),
            1 => (name.clone(), 8..20usize).prop_map(|(from, to)| Step::Rename { from, to }),
            1 => name.prop_map(|name| Step::Remove { name }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        /// Each file is one task's, and a family's files are the same one's for good.
        #[test]
        fn no_family_is_read_by_two_tasks(
            steps in prop::collection::vec(step(), 1..30),
            tasks in 1..5usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &usize| dir.path().join(format!("{name}.log"));
            let shares = shares(tasks);
            let mut of_family: HashMap<PathBuf, usize> = HashMap::new();
            for step in steps {
                let _ = match &step {
                    Step::Write { name, bytes } => fs::write(at(name), vec![b'x'; *bytes]),
                    Step::Rotate { name } => {
                        fs::rename(at(name), dir.path().join(format!("{name}.log.1")))
                    }
                    Step::Rename { from, to } => fs::rename(at(from), at(to)),
                    Step::Remove { name } => fs::remove_file(at(name)),
                };
                let divided = divided(dir.path(), &shares);
                let there = Pattern::new(dir.path()).unwrap().unwrap().list().unwrap().len();
                prop_assert_eq!(divided.iter().map(Vec::len).sum::<usize>(), there);
                for (task, names) in divided.iter().enumerate() {
                    for name in names {
                        let family = rotation::family(Path::new(name));
                        prop_assert_eq!(*of_family.entry(family).or_insert(task), task);
                    }
                }
            }
        }
    }
}
