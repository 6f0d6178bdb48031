//! Producers and transactions.

use broker::ids::{ProducerEpoch, ProducerId};
use broker::protocol::ErrorCode;
use broker::protocol::Response;
use broker::protocol::messages::{
    k22_init_producer_id::*, k24_add_partitions_to_txn::*, k25_add_offsets_to_txn::*,
    k26_end_txn::*, k28_txn_offset_commit::*, k61_describe_producers::*,
    k65_describe_transactions::*, k66_list_transactions::*,
};
use broker::record::ProducerStamp;

use crate::harness::{fetch, produce, stamped_batch};
use crate::script::Script;

const LIVES: u64 = 12;
const STEPS: u32 = 40;

#[derive(Clone, Debug)]
struct Producer {
    transactional_id: String,
    id: i64,
    epoch: i16,
}

/// Kafka has clients come back while it is at work on their transaction; so this one does.
async fn patiently<T: Into<broker::protocol::Request> + Clone>(
    script: &mut Script,
    version: i16,
    request: T,
    code: impl Fn(&Response) -> ErrorCode,
) -> Response {
    let what = format!("v{version} {:?}", request.clone().into());
    loop {
        let response = script.ask_quietly(version, request.clone()).await;
        if code(&response) != ErrorCode::CONCURRENT_TRANSACTIONS {
            script.note(what, format!("{response:?}"));
            return response;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn init(
    script: &mut Script,
    version: i16,
    expected: Option<&Producer>,
    id: &str,
) -> Producer {
    let id = script.named(id);
    let request = InitProducerIdRequest {
        transactional_id: Some(id.clone()),
        transaction_timeout_ms: 60_000,
        producer_id: expected.map_or(-1, |producer| producer.id),
        producer_epoch: expected.map_or(-1, |producer| producer.epoch),
    };
    let response = patiently(script, version, request, |response| match response {
        Response::InitProducerId(response) => response.error_code,
        other => panic!("{other:?}"),
    });
    let Response::InitProducerId(response) = response.await else { panic!() };
    Producer { transactional_id: id, id: response.producer_id, epoch: response.producer_epoch }
}

async fn add(script: &mut Script, version: i16, producer: &Producer, topic: &str, partition: i32) {
    let topics =
        vec![AddPartitionsToTxnTopic { name: topic.to_owned(), partitions: vec![partition] }];
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: producer.transactional_id.clone(),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: topics,
        ..Default::default()
    };
    patiently(script, version, request, |response| match response {
        Response::AddPartitionsToTxn(response) => {
            let topic = &response.results_by_topic_v3_and_below[0];
            topic.results_by_partition[0].partition_error_code
        }
        other => panic!("{other:?}"),
    })
    .await;
}

async fn write(script: &mut Script, version: i16, producer: &Producer, topic: &str, sequence: i32) {
    let stamp = ProducerStamp {
        producer_id: ProducerId(producer.id),
        epoch: ProducerEpoch(producer.epoch),
        base_sequence: sequence,
        transactional: true,
    };
    let mut request = produce(topic, 0, -1, stamped_batch(&["x"], stamp));
    request.transactional_id = Some(producer.transactional_id.clone());
    let what = format!("write v{version} {producer:?} {sequence}");
    loop {
        let response = script.ask_quietly(version, request.clone()).await;
        let Response::Produce(response) = response else { panic!() };
        let said = &response.responses[0].partition_responses[0];
        let again = [ErrorCode::CONCURRENT_TRANSACTIONS, ErrorCode::NOT_ENOUGH_REPLICAS];
        if !again.contains(&said.error_code) {
            let code = if version < 11 { plainly(said.error_code) } else { said.error_code };
            let said = (code, said.base_offset, said.log_start_offset);
            return script.note(what, format!("{said:?}"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// To old clients Kafka says one or the other, as its queue of such questions happens to be.
fn plainly(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::TRANSACTION_ABORTABLE => ErrorCode::INVALID_TXN_STATE,
        code => code,
    }
}

async fn end(script: &mut Script, version: i16, producer: &mut Producer, committed: bool) {
    let request = EndTxnRequest {
        transactional_id: producer.transactional_id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed,
    };
    let response = patiently(script, version, request, |response| match response {
        Response::EndTxn(response) => response.error_code,
        other => panic!("{other:?}"),
    });
    let Response::EndTxn(response) = response.await else { panic!() };
    if response.producer_id >= 0 {
        (producer.id, producer.epoch) = (response.producer_id, response.producer_epoch);
    }
}

async fn commit_offset(script: &mut Script, version: i16, producer: &Producer, topic: &str) {
    let request = TxnOffsetCommitRequest {
        transactional_id: producer.transactional_id.clone(),
        group_id: script.named("g"),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                committed_offset: 3,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    if version < 4 {
        let what = format!("v{version} {request:?}");
        let mut response = script.ask_quietly(version, request).await;
        let Response::TxnOffsetCommit(told) = &mut response else { panic!() };
        let code = &mut told.topics[0].partitions[0].error_code;
        *code = plainly(*code);
        return script.note(what, format!("{response:?}"));
    }
    patiently(script, version, request, |response| match response {
        Response::TxnOffsetCommit(response) => response.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    })
    .await;
}

/// Waits until the markers of what has ended are written; what is open stays open.
async fn marked(script: &mut Script, topic: &str) {
    for _ in 0..20 {
        let Response::Fetch(response) = script.ask_quietly(12, fetch(topic, 0, 0)).await else {
            panic!()
        };
        let data = &response.responses[0].partitions[0];
        if data.high_watermark == data.last_stable_offset {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn read(script: &mut Script, topic: &str) {
    let mut request = fetch(topic, 0, 0);
    request.isolation_level = 1;
    let what = format!("{request:?}");
    loop {
        let Response::Fetch(response) = script.ask_quietly(12, request.clone()).await else {
            panic!()
        };
        // Kafka answers before the markers are written.
        let data = &response.responses[0].partitions[0];
        if data.high_watermark == data.last_stable_offset {
            return script.note(what, format!("{response:?}"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub async fn version_1(script: &mut Script) {
    let topic = script.topic("t", 1).await;
    let mut producer = init(script, 4, None, "tx").await;
    end(script, 3, &mut producer, true).await;
    end(script, 3, &mut producer, false).await;
    write(script, 9, &producer, &topic, 0).await;
    write(script, 11, &producer, &topic, 0).await;
    commit_offset(script, 3, &producer, &topic).await;
    commit_offset(script, 4, &producer, &topic).await;
    add(script, 3, &producer, &topic, 0).await;
    write(script, 11, &producer, &topic, 0).await;
    write(script, 11, &producer, &topic, 0).await;
    write(script, 11, &producer, &topic, 2).await;
    let group_id = script.named("g");
    let request = AddOffsetsToTxnRequest {
        transactional_id: producer.transactional_id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        group_id,
    };
    script.ask(3, request).await;
    commit_offset(script, 3, &producer, &topic).await;
    end(script, 4, &mut producer, true).await;
    end(script, 4, &mut producer, true).await;
    end(script, 4, &mut producer, false).await;
    write(script, 11, &producer, &topic, 1).await;
    write(script, 9, &producer, &topic, 1).await;
    commit_offset(script, 3, &producer, &topic).await;
    add(script, 0, &producer, &topic, 0).await;
    write(script, 9, &producer, &topic, 1).await;
    end(script, 1, &mut producer, false).await;
    end(script, 1, &mut producer, false).await;
    end(script, 1, &mut producer, true).await;
    read(script, &topic).await;
    // A producer recovers, and a successor comes.
    let mut recovered = init(script, 4, Some(&producer), "tx").await;
    script.note("epochs".into(), format!("{} {}", producer.epoch, recovered.epoch));
    let again = init(script, 4, Some(&producer), "tx").await;
    script.note("epochs".into(), format!("{}", again.epoch));
    add(script, 3, &recovered, &topic, 0).await;
    write(script, 9, &recovered, &topic, 0).await;
    let mut heir = init(script, 4, None, "tx").await;
    script.note("epochs".into(), format!("{}", heir.epoch));
    init(script, 4, Some(&producer), "tx").await;
    init(script, 3, Some(&producer), "tx").await;
    add(script, 1, &recovered, &topic, 0).await;
    add(script, 2, &recovered, &topic, 0).await;
    write(script, 9, &recovered, &topic, 1).await;
    end(script, 1, &mut recovered, true).await;
    end(script, 4, &mut recovered, true).await;
    commit_offset(script, 3, &recovered, &topic).await;
    add(script, 3, &heir, &topic, 0).await;
    write(script, 9, &heir, &topic, 0).await;
    end(script, 4, &mut heir, true).await;
    read(script, &topic).await;
}

pub async fn version_2(script: &mut Script) {
    let topic = script.topic("t", 1).await;
    let mut producer = init(script, 5, None, "tx").await;
    end(script, 5, &mut producer, true).await;
    end(script, 5, &mut producer, false).await;
    for keep in [true, false] {
        write(script, 12, &producer, &topic, 0).await;
        write(script, 12, &producer, &topic, 1).await;
        commit_offset(script, 5, &producer, &topic).await;
        let before = producer.clone();
        end(script, 5, &mut producer, keep).await;
        let mut retry = before.clone();
        end(script, 5, &mut retry, keep).await;
        let mut turned = before.clone();
        end(script, 5, &mut turned, !keep).await;
        write(script, 12, &before, &topic, 2).await;
        commit_offset(script, 5, &before, &topic).await;
        add(script, 3, &before, &topic, 0).await;
        let mut ahead = Producer { epoch: producer.epoch + 1, ..producer.clone() };
        end(script, 5, &mut ahead, keep).await;
        write(script, 12, &ahead, &topic, 0).await;
        end(script, 5, &mut producer, true).await;
        end(script, 5, &mut producer, false).await;
    }
    read(script, &topic).await;
    write(script, 12, &producer, &topic, 0).await;
    let heir = init(script, 5, None, "tx").await;
    script.note("epochs".into(), format!("{} {}", producer.epoch, heir.epoch));
    write(script, 12, &producer, &topic, 1).await;
    end(script, 5, &mut producer, true).await;
    let recovered = init(script, 5, Some(&heir), "tx").await;
    script.note("epochs".into(), format!("{}", recovered.epoch));
    read(script, &topic).await;
}

/// Lives of a transactional id, of which each seed is one: producers of both versions follow each
/// other, come back, retry, and write what is too late.
pub async fn lives(script: &mut Script) {
    for seed in 1..=LIVES {
        let topic = script.topic(&format!("life-{seed}"), 1).await;
        let id = format!("life-{seed}");
        let mut random = seed * 0x9E37_79B9;
        let mut below = |end: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % end
        };
        let version_2 = below(2) == 0;
        let mut known = vec![init(script, 4, None, &id).await];
        let mut sequence = 0;
        for step in 0..STEPS {
            // Mostly the latest identity, at times one of those before.
            let at =
                known.len() - 1 - below(4).saturating_sub(2).min(known.len() as u64 - 1) as usize;
            let mut producer = known[at].clone();
            script.note(format!("life {seed} step {step}"), format!("epoch {}", producer.epoch));
            let (id_before, epoch_before) = (producer.id, producer.epoch);
            match below(12) {
                0 => producer = init(script, 5, None, &id).await,
                // Not one of those before: Kafka refuses it too, but aborts what its successor has
                // open all the same.
                1 => {
                    let latest = known[known.len() - 1].clone();
                    producer = init(script, 5, Some(&latest), &id).await;
                }
                2..5 if !version_2 => add(script, 3, &producer, &topic, 0).await,
                2..8 => {
                    let version = if version_2 { 12 } else { 11 };
                    write(script, version, &producer, &topic, sequence).await;
                    sequence += i32::from(below(4) > 0);
                }
                8 => {
                    let version = if version_2 { 5 } else { 4 };
                    commit_offset(script, version, &producer, &topic).await;
                }
                _ => {
                    let version = if version_2 { 5 } else { 4 };
                    end(script, version, &mut producer, below(3) > 0).await;
                    marked(script, &topic).await;
                }
            }
            if producer.id >= 0 && (producer.id, producer.epoch) != (id_before, epoch_before) {
                sequence = 0;
                known.push(producer);
            }
        }
        let mut last = init(script, 5, None, &id).await;
        end(script, 4, &mut last, false).await;
        read(script, &topic).await;
    }
}

pub async fn refusals(script: &mut Script) {
    let topic = script.topic("t", 1).await;
    let id = Some(script.named("tx"));
    for (transactional_id, timeout, producer_id, producer_epoch) in [
        (None, 0, -1, -1),
        (None, -5, 7, 0),
        (Some(String::new()), 1, -1, -1),
        (id.clone(), 0, -1, -1),
        (id.clone(), -1, -1, -1),
        (id.clone(), 900_001, -1, -1),
        (id.clone(), 900_000, -1, -1),
        (id.clone(), 1_000, 7, -1),
        (id.clone(), 1_000, -1, 7),
        (id.clone(), 1_000, 7, 7),
        (id.clone(), 1_000, -2, -2),
    ] {
        let request = InitProducerIdRequest {
            transactional_id,
            transaction_timeout_ms: timeout,
            producer_id,
            producer_epoch,
        };
        script.ask(4, request).await;
    }
    let nobody = Producer { transactional_id: script.named("nobody"), id: 1_000_000, epoch: 0 };
    let nameless = Producer { transactional_id: String::new(), ..nobody.clone() };
    let real = init(script, 4, None, "tx2").await;
    let wrong = Producer { id: real.id + 1_000_000, ..real.clone() };
    let newer = Producer { epoch: real.epoch + 1, ..real.clone() };
    let negative = Producer { epoch: -1, ..real.clone() };
    for producer in [nobody, nameless, wrong, newer, negative] {
        for version in [0, 3] {
            add(script, version, &producer, &topic, 0).await;
        }
        add(script, 3, &producer, &topic, 9).await;
        // Without an epoch a batch is malformed for us, while Kafka asks the coordinator first.
        if producer.epoch >= 0 {
            write(script, 11, &producer, &topic, 0).await;
            write(script, 12, &producer, &topic, 0).await;
        }
        for version in [3, 4, 5] {
            commit_offset(script, version, &producer, &topic).await;
        }
        for version in [0, 3, 5] {
            end(script, version, &mut producer.clone(), true).await;
        }
        let request = AddOffsetsToTxnRequest {
            transactional_id: producer.transactional_id.clone(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            group_id: script.named("g"),
        };
        script.ask(3, request).await;
    }
    add(script, 3, &real, "none", 0).await;
    several(script, &real, &topic).await;
    listing(script, &real, &topic).await;
}

async fn several(script: &mut Script, real: &Producer, topic: &str) {
    for version in [4, 5] {
        for verify_only in [true, false] {
            let transaction = |id: &str, topic: &str| AddPartitionsToTxnTransaction {
                transactional_id: id.to_owned(),
                producer_id: real.id,
                producer_epoch: real.epoch,
                verify_only,
                topics: vec![AddPartitionsToTxnTopic {
                    name: topic.to_owned(),
                    partitions: vec![0],
                }],
            };
            for (id, topic) in [
                (&*real.transactional_id, topic),
                ("nobody", topic),
                (&real.transactional_id, "none"),
            ] {
                let transactions = vec![transaction(id, topic)];
                let request = AddPartitionsToTxnRequest { transactions, ..Default::default() };
                script.ask(version, request).await;
            }
        }
    }
}

async fn listing(script: &mut Script, real: &Producer, topic: &str) {
    let nobody = script.named("nobody");
    let transactional_ids = vec![real.transactional_id.clone(), nobody, String::new()];
    script.ask(0, DescribeTransactionsRequest { transactional_ids }).await;
    for (states, pattern) in [
        (&["Ongoing"][..], None),
        (&["ongoing", "Dead", "Sleepy"], None),
        (&["Dead"], None),
        (&[], Some("(")),
        (&[], Some("tx2")),
        (&[], Some("tx2.*")),
        (&[], Some("x2")),
    ] {
        let request = ListTransactionsRequest {
            state_filters: states.iter().map(|state| (*state).to_owned()).collect(),
            producer_id_filters: vec![real.id],
            transactional_id_pattern: pattern.map(str::to_owned),
            ..Default::default()
        };
        script.ask(2, request).await;
    }
    for (topic, index) in [(topic, 0), (topic, 9), ("none", 0)] {
        let topics = vec![TopicRequest { name: topic.to_owned(), partition_indexes: vec![index] }];
        script.ask(0, DescribeProducersRequest { topics }).await;
    }
}
