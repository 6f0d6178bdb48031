//! Which files a task has, of several that read what one pattern names.
//!
//! A text is shared out by how it begins, which stays as it is when its file is renamed, copied or
//! compressed: so no name that a file gets moves it to a task that does not know how far it was
//! read. How it begins is known once its first record is complete; until then it is nobody's,
//! and there is nothing to be read of it. A whole file is shared out by its name, which is what it
//! is known by.
//!
//! Tasks of one process agree: what is new goes to the task that reads others of its family (the
//! names that rotation gives a file), else to the one with the least to read. Tasks that run in
//! several processes cannot ask each other: there a hash decides, so that some may have more than
//! others, and a log's rotated file and its successor may be read side by side. Texts that begin
//! alike are one task's in any case.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What a file counts beside its bytes, so that many small ones are shared evenly too.
const FILE_WEIGHT: u64 = 64 << 10;
/// Texts and families that are remembered although no file of theirs is there.
const GONE_MAX: usize = 10_000;

/// What one task has.
#[derive(Clone, Debug)]
pub enum Share {
    All,
    Hashed { task: usize, tasks: usize },
    Agreed { task: usize, agreement: Arc<Agreement> },
}

/// What is shared out.
#[derive(Clone, Debug)]
pub struct Part {
    /// A hash of what stays: how a text begins, or a name.
    pub key: u64,
    pub family: PathBuf,
    pub bytes: u64,
}

/// What the tasks of one connector in one process have agreed on.
#[derive(Debug)]
pub struct Agreement {
    tasks: usize,
    owners: Mutex<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    keys: HashMap<u64, usize>,
    /// Where new texts of a family go.
    families: HashMap<PathBuf, usize>,
}

impl Share {
    /// Whether all there is is this task's.
    pub fn is_all(&self) -> bool {
        matches!(self, Share::All)
    }

    /// Which of these are this task's. They are all that there is.
    pub fn owned(&self, parts: &[Part]) -> Vec<bool> {
        match self {
            Share::All => vec![true; parts.len()],
            Share::Hashed { task, tasks } => {
                parts.iter().map(|part| part.key % *tasks as u64 == *task as u64).collect()
            }
            Share::Agreed { task, agreement } => {
                let mut owners = agreement.owners.lock().unwrap_or_else(PoisonError::into_inner);
                owners.share_out(parts, agreement.tasks);
                parts.iter().map(|part| owners.keys.get(&part.key) == Some(task)).collect()
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
    /// Gives what is new to the tasks with the least to read, the largest first.
    fn share_out(&mut self, parts: &[Part], tasks: usize) {
        let mut new: HashMap<&PathBuf, u64> = HashMap::new();
        let mut loads = vec![0; tasks];
        for part in parts {
            let weight = part.bytes.saturating_add(FILE_WEIGHT);
            match self.keys.get(&part.key).or_else(|| self.families.get(&part.family)).copied() {
                Some(owner) => {
                    loads[owner] += weight;
                    self.families.entry(part.family.clone()).or_insert(owner);
                }
                None => *new.entry(&part.family).or_default() += weight,
            }
        }
        let mut new: Vec<_> = new.into_iter().collect();
        new.sort_by(|(a, weight_a), (b, weight_b)| weight_b.cmp(weight_a).then(a.cmp(b)));
        for (family, weight) in new {
            // Another text of it may be known.
            if !self.families.contains_key(family) {
                let least = (0..tasks).min_by_key(|task| loads[*task]).unwrap_or(0);
                loads[least] += weight;
                self.families.insert(family.clone(), least);
            }
        }
        for part in parts {
            self.keys.entry(part.key).or_insert(self.families[&part.family]);
        }
        if self.families.len() + self.keys.len() > 2 * (parts.len() + GONE_MAX) {
            let keys: HashSet<u64> = parts.iter().map(|part| part.key).collect();
            let families: HashSet<&PathBuf> = parts.iter().map(|part| &part.family).collect();
            self.keys.retain(|key, _| keys.contains(key));
            self.families.retain(|family, _| families.contains(family));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(tasks: usize) -> Vec<Share> {
        let agreement = Arc::new(Agreement::new(tasks));
        let share = |task| Share::Agreed { task, agreement: agreement.clone() };
        (0..tasks).map(share).collect()
    }

    fn part(key: u64, family: &str, bytes: u64) -> Part {
        Part { key, family: family.into(), bytes }
    }

    /// The keys that each task has.
    fn divided(shares: &[Share], parts: &[Part]) -> Vec<Vec<u64>> {
        let of = |share: &Share| {
            let owned = share.owned(parts).into_iter();
            parts.iter().zip(owned).filter(|(_, owned)| *owned).map(|(part, _)| part.key).collect()
        };
        shares.iter().map(of).collect()
    }

    #[test]
    fn files_are_shared_evenly_by_size_and_stay_where_they_are() {
        let three = shares(3);
        let four = [
            part(1, "a/app.log", 1 << 20),
            part(2, "b/app.log", 5),
            part(3, "c/app.log", 5),
            part(4, "d/app.log", 5),
        ];
        assert_eq!(divided(&three, &four), [vec![1], vec![2, 4], vec![3]]);
        // b is rotated, has grown and has a successor; d has grown; a is renamed; one is new.
        let later = [
            part(1, "a/other.log", 1 << 20),
            part(2, "b/app.log", 1 << 20),
            part(5, "b/app.log", 4 << 20),
            part(3, "c/app.log", 5),
            part(6, "c/new.log", 5),
            part(4, "d/app.log", 1 << 20),
        ];
        assert_eq!(divided(&three, &later), [vec![1], vec![2, 5, 4], vec![3, 6]]);
        // Over another's name: the file stays whose it is, and so does what was there.
        let renamed = [part(1, "b/app.log", 1 << 20), part(2, "z", 5), part(7, "b/app.log", 5)];
        assert_eq!(divided(&three, &renamed), [vec![1], vec![2, 7], vec![]]);
    }

    proptest! {
        /// Each is one task's, and the same one's for good, whatever it is called.
        #[test]
        fn nothing_moves_to_another_task(
            looks in prop::collection::vec(
                prop::collection::vec((0..12u64, 0..6usize, 0..200_000u64), 0..10),
                1..12,
            ),
            tasks in 1..5usize,
            agreed in any::<bool>(),
        ) {
            let hashed = |task| Share::Hashed { task, tasks };
            let shares =
                if agreed { shares(tasks) } else { (0..tasks).map(hashed).collect::<Vec<_>>() };
            let mut owners: HashMap<u64, usize> = HashMap::new();
            for look in looks {
                let parts: Vec<Part> =
                    look.iter().map(|(key, family, bytes)| part(*key, &family.to_string(), *bytes))
                        .collect();
                let divided = divided(&shares, &parts);
                prop_assert_eq!(divided.iter().map(Vec::len).sum::<usize>(), parts.len());
                for (task, keys) in divided.iter().enumerate() {
                    for key in keys {
                        prop_assert_eq!(*owners.entry(*key).or_insert(task), task);
                    }
                }
            }
        }
    }
}
