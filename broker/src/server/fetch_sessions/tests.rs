//! The rules one by one, and readers that must never miss a change, whatever they do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn named(partition: i32) -> Named {
    Named { topic: "t".into(), topic_id: Uuid::nil(), partition }
}

fn at(offset: i64) -> Position {
    Position { offset, leader_epoch: -1, bytes_max: 1 }
}

fn request(id: i32, epoch: i32, partitions: &[i32], forgotten: &[i32]) -> Request {
    Request {
        id,
        epoch,
        by_topic_id: false,
        partitions: partitions.iter().map(|number| (named(*number), at(0))).collect(),
        forgotten: forgotten.iter().map(|number| named(*number)).collect(),
    }
}

const QUIET: Fetched =
    Fetched { high_watermark: 5, log_start: 0, has_records: false, has_failed: false };

struct Server {
    sessions: FetchSessions,
    ids: i32,
    now_ms: u64,
}

impl Server {
    fn new(sessions_max: usize) -> Server {
        Server { sessions: FetchSessions::new(sessions_max, 100), ids: 0, now_ms: 0 }
    }

    /// The id, and numbers of the partitions told.
    fn fetch(
        &mut self,
        request: Request,
        of: impl Fn(i32) -> Fetched,
    ) -> Result<(i32, Vec<i32>), Refused> {
        let fetching = self.sessions.begin(request, &Principal::anonymous(), self.now_ms)?;
        self.finish(&fetching, of)
    }

    fn finish(
        &mut self,
        fetching: &Fetching,
        of: impl Fn(i32) -> Fetched,
    ) -> Result<(i32, Vec<i32>), Refused> {
        let numbers: Vec<i32> = fetching.partitions.iter().map(|(one, _)| one.partition).collect();
        let fetched: Vec<Fetched> = numbers.iter().map(|number| of(*number)).collect();
        let ids = &mut self.ids;
        let fresh_id = || {
            *ids += 1;
            *ids
        };
        let answer = self.sessions.finish(fetching, &fetched, fresh_id, self.now_ms)?;
        let told = numbers.into_iter().zip(answer.told).filter(|(_, told)| *told);
        Ok((answer.id, told.map(|(number, _)| number).collect()))
    }
}

fn refused(code: ErrorCode, id: i32) -> Result<(i32, Vec<i32>), Refused> {
    Err(Refused { code, id })
}

#[test]
fn only_news_is_told() {
    let mut server = Server::new(2);
    assert_eq!(server.fetch(request(0, 0, &[1, 2], &[]), |_| QUIET), Ok((1, vec![1, 2])));
    assert_eq!(server.fetch(request(1, 1, &[], &[]), |_| QUIET), Ok((1, vec![])));
    let records = |number| Fetched { has_records: number == 1, ..QUIET };
    assert_eq!(server.fetch(request(1, 2, &[], &[]), records), Ok((1, vec![1])));
    // Who was given something goes to the end.
    let moved = |_| Fetched { high_watermark: 6, ..QUIET };
    assert_eq!(server.fetch(request(1, 3, &[], &[]), moved), Ok((1, vec![2, 1])));
    let cut = |_| Fetched { log_start: 1, high_watermark: 6, ..QUIET };
    assert_eq!(server.fetch(request(1, 4, &[], &[2]), cut), Ok((1, vec![1])));
    assert_eq!(server.fetch(request(1, 5, &[3], &[]), cut), Ok((1, vec![3])));
    let failing = |_| Fetched { has_failed: true, ..cut(0) };
    assert_eq!(server.fetch(request(1, 6, &[], &[]), failing), Ok((1, vec![1, 3])));
    assert_eq!(server.fetch(request(1, 7, &[], &[]), cut), Ok((1, vec![1, 3])));
    assert_eq!(server.fetch(request(1, 8, &[], &[]), cut), Ok((1, vec![])));
    // With nothing left it ends.
    assert_eq!(server.fetch(request(1, 9, &[], &[1, 3]), cut), Ok((0, vec![])));
    let gone = refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
    assert_eq!(server.fetch(request(1, 10, &[], &[]), cut), gone);
}

#[test]
fn a_request_must_know_its_session() {
    let mut server = Server::new(2);
    let missing = refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
    assert_eq!(server.fetch(request(7, 1, &[1], &[]), |_| QUIET), missing);
    assert_eq!(server.fetch(request(0, 0, &[1], &[]), |_| QUIET), Ok((1, vec![1])));
    let wrong = refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0);
    assert_eq!(server.fetch(request(1, 2, &[], &[]), |_| QUIET), wrong);
    let by_id = Request { by_topic_id: true, ..request(1, 1, &[], &[]) };
    let mixed = refused(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 0);
    assert_eq!(server.fetch(by_id, |_| QUIET), mixed);
    // Nothing of this has changed the session.
    assert_eq!(server.fetch(request(1, 1, &[], &[]), |_| QUIET), Ok((1, vec![])));
    // Of two at once the first is answered only if the second has not begun.
    let first = server.sessions.begin(request(1, 2, &[], &[]), &Principal::anonymous(), 0).unwrap();
    let second =
        server.sessions.begin(request(1, 3, &[], &[]), &Principal::anonymous(), 0).unwrap();
    let overtaken = refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH, 1);
    assert_eq!(server.finish(&first, |_| QUIET), overtaken);
    assert_eq!(server.finish(&second, |_| QUIET), Ok((1, vec![])));
    // A full fetch closes the session that it names.
    assert_eq!(server.fetch(request(1, -1, &[1], &[]), |_| QUIET), Ok((0, vec![1])));
    assert_eq!(server.fetch(request(1, 4, &[], &[]), |_| QUIET), missing);
}

/// Ids are told to nobody else, but they are only numbers.
#[test]
fn a_session_is_its_owners_alone() {
    let mut server = Server::new(2);
    assert_eq!(server.fetch(request(0, 0, &[1], &[]), |_| QUIET), Ok((1, vec![1])));
    let stranger = Principal::user("stranger");
    let missing = Refused { code: ErrorCode::FETCH_SESSION_ID_NOT_FOUND, id: 0 };
    let begun = server.sessions.begin(request(1, 1, &[2], &[]), &stranger, 0);
    assert_eq!(begun.unwrap_err(), missing);
    // Nor does it close by whoever names it in a full fetch.
    for epoch in [-1, 0] {
        server.sessions.begin(request(1, epoch, &[2], &[]), &stranger, 0).unwrap();
    }
    assert_eq!(server.fetch(request(1, 1, &[], &[]), |_| QUIET), Ok((1, vec![])));
}

#[test]
fn sessions_give_way_by_kafkas_rule() {
    let mut server = Server::new(2);
    assert_eq!(server.fetch(request(0, 0, &[1], &[]), |_| QUIET).unwrap().0, 1);
    assert_eq!(server.fetch(request(0, 0, &[1, 2], &[]), |_| QUIET).unwrap().0, 2);
    // All are young and in use.
    assert_eq!(server.fetch(request(0, 0, &[1, 2, 3], &[]), |_| QUIET), Ok((0, vec![1, 2, 3])));
    server.now_ms = EVICTION_MS + 1;
    server.fetch(request(1, 1, &[], &[]), |_| QUIET).unwrap();
    server.fetch(request(2, 1, &[], &[]), |_| QUIET).unwrap();
    // Of the old ones the smallest gives way, to a larger one alone.
    assert_eq!(server.fetch(request(0, 0, &[1], &[]), |_| QUIET).unwrap().0, 0);
    assert_eq!(server.fetch(request(0, 0, &[1, 2], &[]), |_| QUIET).unwrap().0, 3);
    let gone = refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
    assert_eq!(server.fetch(request(1, 2, &[], &[]), |_| QUIET), gone);
    // What nobody uses gives way to anyone.
    server.now_ms += EVICTION_MS;
    server.fetch(request(2, 2, &[], &[]), |_| QUIET).unwrap();
    server.now_ms += 1;
    assert_eq!(server.fetch(request(0, 0, &[1], &[]), |_| QUIET).unwrap().0, 4);
    assert_eq!(server.fetch(request(3, 1, &[], &[]), |_| QUIET), gone);
}

#[test]
fn partitions_of_all_sessions_are_bounded() {
    let mut server = Server::new(9);
    let many: Vec<i32> = (0..60).collect();
    assert_eq!(server.fetch(request(0, 0, &many, &[]), |_| QUIET).unwrap().0, 1);
    assert_eq!(server.fetch(request(0, 0, &many, &[]), |_| QUIET).unwrap().0, 0);
    let more: Vec<i32> = (60..101).collect();
    let gone = refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
    assert_eq!(server.fetch(request(1, 1, &more, &[]), |_| QUIET), gone);
    assert_eq!(server.sessions.partitions, 0);
    // A partition named twice counts once.
    assert_eq!(server.fetch(request(0, 0, &[5; 90], &[]), |_| QUIET).unwrap().0, 2);
    assert_eq!(server.sessions.partitions, 1);
}

/// What a reader does next.
#[derive(Clone, Debug)]
enum Act {
    /// The log changes: number, high watermark, log start.
    Log(i32, i64, i64),
    Fails(i32, bool),
    Full(usize, Vec<i32>),
    Incremental {
        reader: usize,
        add: Vec<i32>,
        forget: Vec<i32>,
        lost: bool,
    },
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let partition = || 0..6i32;
    let some = || proptest::collection::vec(0..6i32, 0..4);
    prop_oneof![
        (partition(), 0..9i64, 0..3i64).prop_map(|(one, high, start)| Act::Log(one, high, start)),
        (partition(), any::<bool>()).prop_map(|(one, fails)| Act::Fails(one, fails)),
        (0..4usize, some()).prop_map(|(reader, partitions)| Act::Full(reader, partitions)),
        (0..4usize, some(), some(), proptest::bool::weighted(0.1))
            .prop_map(|(reader, add, forget, lost)| Act::Incremental { reader, add, forget, lost }),
        (0..80_000u64).prop_map(Act::Wait),
    ]
}

/// A reader: its session, and what it believes of each partition in it.
#[derive(Default)]
struct Reader {
    id: i32,
    epoch: i32,
    believes: BTreeMap<i32, Option<(i64, i64)>>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn readers_know_what_is_so(acts in proptest::collection::vec(act(), 1..80)) {
        let mut server = Server::new(3);
        let mut log: BTreeMap<i32, (i64, i64, bool)> = BTreeMap::new();
        let mut readers: [Reader; 4] = Default::default();
        for act in acts {
            let (index, sent, lost) = match act {
                Act::Log(number, high, start) => {
                    let entry = log.entry(number).or_default();
                    (entry.0, entry.1) = (high, start);
                    continue;
                }
                Act::Fails(number, fails) => {
                    log.entry(number).or_default().2 = fails;
                    continue;
                }
                Act::Wait(ms) => {
                    server.now_ms += ms;
                    continue;
                }
                Act::Full(index, partitions) => {
                    let reader = &mut readers[index];
                    reader.believes = partitions.iter().map(|one| (*one, None)).collect();
                    let sent = request(reader.id, 0, &partitions, &[]);
                    (reader.id, reader.epoch) = (0, 0);
                    (index, sent, false)
                }
                Act::Incremental { reader: index, add, forget, lost } => {
                    let reader = &mut readers[index];
                    if reader.id == 0 {
                        continue;
                    }
                    add.iter().for_each(|one| _ = reader.believes.entry(*one).or_default());
                    forget.iter().for_each(|one| _ = reader.believes.remove(one));
                    (index, request(reader.id, reader.epoch, &add, &forget), lost)
                }
            };
            let is_full = sent.epoch == 0;
            let look = |number: i32| {
                let (high, start, fails) = log.get(&number).copied().unwrap_or_default();
                match fails {
                    true => Fetched { has_failed: true, high_watermark: -1, log_start: -1, ..QUIET },
                    false => Fetched { high_watermark: high, log_start: start, ..QUIET },
                }
            };
            let answer = server.fetch(sent, look);
            prop_assert!(server.sessions.sessions.len() <= 3);
            let counted = server.sessions.sessions.values().map(|one| one.partitions.len());
            prop_assert_eq!(counted.sum::<usize>(), server.sessions.partitions);
            let reader = &mut readers[index];
            if lost {
                // It never hears of it, and begins anew, as clients do.
                (reader.id, reader.epoch) = (reader.id, -9);
                let wrong = server.fetch(request(reader.id, reader.epoch, &[], &[]), look);
                prop_assert!(wrong.is_err());
                *reader = Reader::default();
                continue;
            }
            match answer {
                Err(error) => {
                    prop_assert_eq!(error.code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
                    *reader = Reader::default();
                }
                // Nothing is left of the session, so it has ended.
                Ok((NO_SESSION, _)) if !is_full => *reader = Reader::default(),
                Ok((id, told)) => {
                    for number in told {
                        let fetched = look(number);
                        let known = (fetched.high_watermark, fetched.log_start);
                        let believed = reader.believes.insert(number, Some(known));
                        prop_assert!(is_full || believed.is_some(), "told of what was forgotten");
                        let news = fetched.has_failed || believed != Some(Some(known));
                        prop_assert!(is_full || news, "{number} was no news");
                    }
                    for (number, believed) in &reader.believes {
                        let fetched = look(*number);
                        let so = (fetched.high_watermark, fetched.log_start);
                        prop_assert_eq!(*believed, Some(so), "of partition {}", number);
                    }
                    (reader.id, reader.epoch) = (id, reader.epoch + 1);
                }
            }
        }
    }
}
