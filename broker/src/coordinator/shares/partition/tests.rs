use super::*;

const LIMITS: Limits = Limits { locks_max: 20, deliveries_max: 3 };

fn asking(member: &str, records_max: i64, now_ms: u64) -> Asking {
    Asking { member: member.into(), records_max, batch_size: 1_000, now_ms, lock_ms: 100 }
}

fn span(first: i64, last: i64) -> Span {
    Span { first, last, is_aborted: false }
}

fn acquired(first: i64, last: i64, deliveries: i16) -> Acquired {
    Acquired { first, last, deliveries }
}

fn say(first: i64, last: i64, verdict: Verdict) -> Acknowledgement {
    Acknowledgement { first, last, verdicts: vec![verdict] }
}

#[test]
fn records_go_to_one_member_each() {
    let mut partition = SharePartition::new(10, LIMITS);
    assert_eq!(partition.next_fetch(), Some(10));
    // New ones by whole batches.
    let spans = [span(8, 12), span(13, 14), span(15, 20)];
    let one = partition.acquire(&asking("one", 4, 0), 10, &spans);
    assert_eq!(one, [acquired(10, 14, 1)]);
    assert_eq!(partition.next_fetch(), Some(15));
    let two = partition.acquire(&asking("two", 4, 0), 15, &spans[2..]);
    assert_eq!(two, [acquired(15, 20, 1)]);

    assert_eq!(
        partition.acknowledge("two", &[say(10, 14, Verdict::Accept)]),
        Err(Refused::NotAcquired(10))
    );
    assert_eq!(
        partition.acknowledge("one", &[say(10, 15, Verdict::Accept)]),
        Err(Refused::NotAcquired(15))
    );
    assert_eq!(
        partition.acknowledge("one", &[say(20, 21, Verdict::Accept)]),
        Err(Refused::Beyond(21))
    );
    let mixed = Acknowledgement {
        first: 10,
        last: 14,
        verdicts: vec![
            Verdict::Accept,
            Verdict::Release,
            Verdict::Gap,
            Verdict::Reject,
            Verdict::Accept,
        ],
    };
    assert_eq!(partition.acknowledge("one", &[mixed]), Ok(true));
    assert_eq!((partition.start(), partition.next_fetch()), (11, Some(11)));
    // Said once more: what is done is done, what is given back is not its own any more.
    assert_eq!(partition.acknowledge("one", &[say(10, 10, Verdict::Accept)]), Ok(false));
    assert_eq!(
        partition.acknowledge("one", &[say(11, 11, Verdict::Accept)]),
        Err(Refused::NotAcquired(11))
    );
    let again = partition.acquire(&asking("two", 10, 0), 11, &spans);
    assert_eq!(again, [acquired(11, 11, 2)]);
    assert_eq!(partition.acknowledge("two", &[say(11, 11, Verdict::Accept)]), Ok(true));
    assert_eq!(partition.start(), 15);
    assert_eq!(partition.acknowledge("two", &[say(15, 20, Verdict::Accept)]), Ok(true));
    assert_eq!((partition.start(), partition.next_fetch()), (21, Some(21)));
    assert_eq!(partition.kept(), Kept { start: 21, ranges: vec![] });
}

#[test]
fn new_records_come_in_pieces_that_end_with_batches() {
    let mut partition = SharePartition::new(0, LIMITS);
    let asking = Asking { batch_size: 3, ..asking("one", 100, 0) };
    let spans = [span(0, 1), span(2, 3), span(4, 4), span(5, 9), span(10, 10)];
    let given = partition.acquire(&asking, 0, &spans);
    assert_eq!(given, [acquired(0, 3, 1), acquired(4, 9, 1), acquired(10, 10, 1)]);
}

#[test]
fn a_window_is_full_until_its_first_records_are_done() {
    let mut partition = SharePartition::new(0, LIMITS);
    partition.acquire(&asking("one", 100, 0), 0, &[span(0, 19)]);
    assert_eq!(partition.next_fetch(), None);
    partition.acknowledge("one", &[say(1, 19, Verdict::Accept)]).unwrap();
    assert_eq!(partition.next_fetch(), None);
    partition.acknowledge("one", &[say(0, 0, Verdict::Accept)]).unwrap();
    assert_eq!(partition.next_fetch(), Some(20));
}

#[test]
fn locks_end_and_deliveries_are_counted() {
    let mut partition = SharePartition::new(0, LIMITS);
    for delivery in 1..=3 {
        let now_ms = 1_000 * delivery as u64;
        assert_eq!(partition.next_fetch(), Some(0));
        let given = partition.acquire(&asking("one", 5, now_ms), 0, &[span(0, 4)]);
        assert_eq!(given, [acquired(0, 4, delivery)]);
        assert_eq!(partition.next_deadline_ms(), Some(now_ms + 100));
        assert!(!partition.expire(now_ms + 99));
        assert!(partition.expire(now_ms + 100));
    }
    // Given out as often as may be: archived.
    assert_eq!((partition.start(), partition.next_fetch()), (5, Some(5)));
    // What a session's end gives back was not delivered.
    for _ in 0..5 {
        let given = partition.acquire(&asking("one", 1, 0), 5, &[span(5, 5)]);
        assert_eq!(given, [acquired(5, 5, 1)]);
        assert!(partition.release("one") && !partition.release("one"));
    }
    let given = partition.acquire(&asking("one", 1, 0), 5, &[span(5, 5)]);
    partition.take_back("two", &given);
    assert_eq!(partition.next_fetch(), Some(6));
    partition.take_back("one", &given);
    assert_eq!(partition.next_fetch(), Some(5));
}

#[test]
fn what_the_log_does_not_have_is_given_to_nobody() {
    let mut partition = SharePartition::new(0, LIMITS);
    // Compacted away before the first batch, and aborted in the middle.
    let spans = [span(3, 5), Span { is_aborted: true, ..span(6, 8) }, span(9, 9)];
    let given = partition.acquire(&asking("one", 100, 0), 0, &spans);
    assert_eq!(given, [acquired(3, 5, 1), acquired(9, 9, 1)]);
    assert_eq!(partition.start(), 3);
    // Compacted away between two deliveries.
    partition.release("one");
    let given = partition.acquire(&asking("one", 100, 0), 3, &[span(5, 5), span(9, 9)]);
    assert_eq!(given, [acquired(5, 5, 1), acquired(9, 9, 1)]);
    assert_eq!(partition.start(), 5);
    // All of it for nobody: the window moves on.
    partition
        .acknowledge("one", &[say(5, 5, Verdict::Accept), say(9, 9, Verdict::Accept)])
        .unwrap();
    let aborted = [Span { is_aborted: true, ..span(10, 15) }];
    assert_eq!(partition.acquire(&asking("one", 100, 0), 10, &aborted), []);
    assert_eq!(partition.next_fetch(), Some(16));
}

#[test]
fn the_log_may_begin_later_and_end_earlier() {
    let mut partition = SharePartition::new(0, LIMITS);
    partition.acquire(&asking("one", 100, 0), 0, &[span(0, 9)]);
    assert!(partition.log_starts_at(4) && !partition.log_starts_at(4));
    assert_eq!(partition.start(), 4);
    assert_eq!(partition.acknowledge("one", &[say(0, 5, Verdict::Accept)]), Ok(true));
    assert_eq!(partition.start(), 6);
    assert!(partition.log_starts_at(30));
    assert_eq!((partition.start(), partition.next_fetch()), (30, Some(30)));
    // After a crash that has cost the log its end.
    partition.acquire(&asking("one", 100, 0), 30, &[span(30, 39)]);
    partition.log_ends_at(35);
    assert_eq!((partition.start(), partition.next_fetch()), (30, Some(35)));
    partition.log_ends_at(20);
    assert_eq!((partition.start(), partition.next_fetch()), (20, Some(20)));
}

#[test]
fn what_was_read_too_late_is_not_given_out() {
    let mut partition = SharePartition::new(0, LIMITS);
    partition.acquire(&asking("one", 100, 0), 0, &[span(0, 9)]);
    assert_eq!(partition.acquire(&asking("two", 100, 0), 0, &[span(0, 9)]), []);
    let given = partition.acquire(&asking("two", 100, 0), 0, &[span(0, 9), span(10, 11)]);
    assert_eq!(given, [acquired(10, 11, 1)]);
    // The group begins anew meanwhile.
    let mut partition = SharePartition::new(0, LIMITS);
    assert_eq!(partition.acquire(&asking("two", 100, 0), 5, &[span(5, 9)]), []);
}

#[test]
fn a_crash_ends_locks_and_nothing_else() {
    let mut partition = SharePartition::new(0, LIMITS);
    partition.acquire(&asking("one", 100, 0), 0, &[span(0, 9)]);
    partition
        .acknowledge(
            "one",
            &[say(2, 3, Verdict::Accept), say(4, 4, Verdict::Release), say(6, 6, Verdict::Reject)],
        )
        .unwrap();
    let kept = partition.kept();
    let range = |first, last, state, deliveries| KeptRange { first, last, state, deliveries };
    let ranges = vec![
        range(0, 1, KeptState::Available, 0),
        range(2, 3, KeptState::Accepted, 1),
        range(4, 4, KeptState::Available, 1),
        range(5, 5, KeptState::Available, 0),
        range(6, 6, KeptState::Archived, 1),
    ];
    assert_eq!(kept, Kept { start: 0, ranges });
    let mut restored = SharePartition::restored(&kept, LIMITS);
    assert_eq!(restored.kept(), kept);
    let given = restored.acquire(&asking("two", 100, 0), 0, &[span(0, 9)]);
    let expected = [acquired(0, 1, 1), acquired(4, 4, 2), acquired(5, 5, 1), acquired(7, 9, 1)];
    assert_eq!(given, expected);
}
