//! What every [`Client`] must do, whatever broker it leads to.
//!
//! The cases know the seam alone. They run on the client of a broker in this process, on the
//! remote client against such a broker over TCP, by TLS and SASL as well, and on the remote client
//! against Apache Kafka, which is the measure of all.

#[cfg(feature = "kafka")]
#[allow(dead_code, reason = "other tests make other clients of it")]
#[path = "../server/security/certificates.rs"]
mod certificates;
#[cfg(feature = "kafka")]
#[path = "../../../tests/kafka/fixture.rs"]
mod fixture;
mod groups;
mod harness;
mod records;
#[cfg(feature = "kafka")]
mod secured;
mod topics;
mod transactions;

/// Makes a test of each case, for a target: a function that gives a client, or `None` to skip.
macro_rules! cases_on {
    ($target:ident: $($group:ident: $($case:ident)*;)*) => {
        mod $target {
            use crate::harness::$target;
            $(mod $group {
                use super::$target;
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let Some(target) = $target().await else { return };
                        let case = $crate::$group::$case(target.client.clone());
                        $crate::harness::in_time(case).await;
                    }
                )*
            })*
        }
    };
}

macro_rules! all_cases_on {
    ($target:ident) => {
        cases_on! {
            $target:
            topics:
                a_topic_is_created_found_and_deleted
                a_topic_without_a_number_of_partitions_gets_the_brokers
                whoever_comes_second_finds_the_topic
                what_cannot_be_created_is_refused
                looking_never_creates;
            records:
                records_come_back_as_they_were_sent
                all_codecs_come_back
                a_reader_starts_where_it_is_told
                an_offset_outside_the_log_is_an_error
                the_end_is_reached_exactly
                offsets_are_found_by_time
                a_waiting_reader_wakes_up
                a_cancelled_wait_loses_nothing
                no_partition_starves
                a_large_record_comes_whole
                a_record_too_large_is_refused
                order_holds_without_waiting_for_disks
                records_are_deleted_up_to_an_offset
                what_cannot_be_deleted_is_refused;
            transactions:
                only_what_is_committed_is_read
                an_open_transaction_holds_readers_back
                offsets_commit_with_the_records
                a_newer_producer_fences_the_older
                what_an_earlier_run_left_open_is_aborted
                calls_out_of_turn_are_refused
                a_member_that_left_commits_nothing;
            groups:
                a_group_goes_on_where_it_committed
                a_group_without_offsets_can_start_at_the_end
                two_members_share_and_hand_over
                a_member_without_partitions_is_told_so
                what_only_groups_do_is_refused_elsewhere;
        }
    };
}

all_cases_on!(embedded);
#[cfg(feature = "kafka")]
all_cases_on!(served);
#[cfg(feature = "kafka")]
all_cases_on!(tunnelled);
#[cfg(feature = "kafka")]
all_cases_on!(kafka);

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_in_and_outside_of_the_brokers_process_share() {
    harness::in_time(groups::members_in_and_outside_of_the_brokers_process_share()).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_is_gone_on_with() {
    harness::in_time(records::a_broker_that_comes_back_is_gone_on_with()).await;
}
