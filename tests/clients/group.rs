//! All messages of a partition go to the same member of a group while it lives: shown by what the
//! members print, each of them a process that runs examples/clients/python/group.py.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use tempfile::tempdir;

use super::fixture::{PATIENCE, Running};
use super::{client, example, python};

/// Where librdkafka puts each customer's orders, in the order in which the example writes them.
const CUSTOMERS: [(&str, u32); 8] = [
    ("ada", 0),
    ("alan", 1),
    ("barbara", 1),
    ("edsger", 4),
    ("frances", 5),
    ("grace", 3),
    ("john", 2),
    ("tony", 3),
];
const PARTITIONS: u32 = 6;
const ORDERS: usize = 48;

/// Members by name, with the partitions that they last said they have.
type Held = BTreeMap<String, BTreeSet<u32>>;

struct Group {
    address: String,
    members: BTreeMap<String, Child>,
    held: Held,
    /// Killed.
    dead: BTreeSet<String>,
    /// What all members print; each line begins with the member's name.
    lines: Receiver<String>,
    printer: Sender<String>,
    /// The lines so far.
    seen: Vec<String>,
}

/// A message, as a member printed it.
#[derive(Debug, PartialEq)]
struct Read {
    member: String,
    partition: u32,
    /// Customer and order.
    message: String,
}

impl Group {
    fn new(address: String) -> Group {
        let (printer, lines) = channel();
        let (members, held, dead) = (BTreeMap::new(), Held::new(), BTreeSet::new());
        Group { address, members, held, dead, lines, printer, seen: Vec::new() }
    }

    fn script(&self) -> Command {
        let mut command = Command::new(python());
        command.arg(example("python/group.py")).args(["--bootstrap-server", &self.address]);
        command
    }

    fn join(&mut self, name: &str) {
        let mut command = self.script();
        command.args(["read", name]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut member = command.spawn().unwrap();
        let (output, printer) = (member.stdout.take().unwrap(), self.printer.clone());
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if printer.send(line).is_err() {
                    break;
                }
            }
        });
        self.members.insert(name.to_owned(), member);
    }

    /// Asks it to end, and waits until it has.
    fn leave(&mut self, name: &str) {
        let mut member = self.members.remove(name).unwrap();
        let id = member.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(member.wait().unwrap().success(), "{name}: {:#?}", self.seen);
    }

    /// kill -9.
    fn die(&mut self, name: &str) {
        let mut member = self.members.remove(name).unwrap();
        member.kill().unwrap();
        member.wait().unwrap();
        self.held.remove(name);
        self.dead.insert(name.to_owned());
    }

    /// The next line; where it tells a message, that.
    fn next(&mut self, deadline: Instant) -> Option<Read> {
        let time = deadline.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(time);
        let line = line.unwrap_or_else(|_| panic!("{:?}: {:#?}", self.held, self.seen));
        self.seen.push(line.clone());
        let (member, said) = line.split_once(": ").unwrap();
        if let Some(held) = said.strip_prefix("has partitions ") {
            // What it said before it was killed may be read only now, and holds no more.
            if self.dead.contains(member) {
                return None;
            }
            let held = held.split(' ').filter_map(|partition| partition.parse().ok()).collect();
            self.held.insert(member.to_owned(), held);
            return None;
        }
        let (partition, message) = said.strip_prefix("partition ")?.split_once(": ")?;
        let partition = partition.parse().unwrap();
        Some(Read { member: member.to_owned(), partition, message: message.to_owned() })
    }

    /// Waits until the members that live have all partitions, each as many as the others.
    fn settle(&mut self) -> Held {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_settled() {
            let read = self.next(deadline);
            assert_eq!(read, None, "nothing is left to read: {:#?}", self.seen);
        }
        self.held.retain(|member, _| self.members.contains_key(member));
        self.held.clone()
    }

    fn is_settled(&self) -> bool {
        let share = PARTITIONS as usize / self.members.len();
        let of = |member| self.held.get(member).filter(|held| held.len() == share);
        let held: Option<Vec<_>> = self.members.keys().map(of).collect();
        let left = |member: &String| !self.members.contains_key(member);
        held.is_some_and(|held| {
            held.into_iter().flatten().collect::<BTreeSet<_>>().len() == PARTITIONS as usize
        }) && self.held.iter().all(|(member, held)| !left(member) || held.is_empty())
    }

    /// Writes orders and waits for them: each comes once, in its partition's order, to the one
    /// member that has the partition.
    fn pass_orders(&mut self) {
        client(self.script().args(["write", &ORDERS.to_string()]));
        let deadline = Instant::now() + PATIENCE;
        let mut read: BTreeMap<u32, Vec<Read>> = BTreeMap::new();
        let mut left = ORDERS;
        while left > 0 {
            let Some(message) = self.next(deadline) else { continue };
            read.entry(message.partition).or_default().push(message);
            left -= 1;
        }
        assert_eq!(read, self.orders_by_partition(), "{:#?}", self.seen);
    }

    fn orders_by_partition(&self) -> BTreeMap<u32, Vec<Read>> {
        let mut orders: BTreeMap<u32, Vec<Read>> = BTreeMap::new();
        for number in 1..=ORDERS {
            let (customer, partition) = CUSTOMERS[number % CUSTOMERS.len()];
            let holder = self.held.iter().find(|(_, held)| held.contains(&partition));
            let member = holder.expect("all partitions are held").0.clone();
            let message = format!("{customer}, order {number}");
            orders.entry(partition).or_default().push(Read { member, partition, message });
        }
        orders
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            // It may have ended by itself.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

#[test]
fn all_messages_of_a_partition_go_to_one_member_while_it_lives() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let mut group = Group::new(address);

    group.join("north");
    group.join("south");
    let two = group.settle();
    group.pass_orders();

    // One more gets its share from both, and what they keep is what they had.
    group.join("west");
    let three = group.settle();
    assert!(three["north"].is_subset(&two["north"]), "{:#?}", group.seen);
    assert!(three["south"].is_subset(&two["south"]), "{:#?}", group.seen);
    group.pass_orders();

    // Of a member that leaves, the partitions move to the others, who keep their own.
    group.leave("south");
    let without_south = group.settle();
    assert!(three["north"].is_subset(&without_south["north"]), "{:#?}", group.seen);
    assert!(three["west"].is_subset(&without_south["west"]), "{:#?}", group.seen);
    group.pass_orders();

    // A member that is killed has its partitions until its session times out.
    group.join("east");
    let four = group.settle();
    group.die("west");
    let without_west = group.settle();
    assert!(four["north"].is_subset(&without_west["north"]), "{:#?}", group.seen);
    assert!(four["east"].is_subset(&without_west["east"]), "{:#?}", group.seen);
    group.pass_orders();

    // No message comes again to whoever takes over.
    group.leave("north");
    group.settle();
}
