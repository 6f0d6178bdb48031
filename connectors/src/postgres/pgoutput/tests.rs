use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::postgres::wire::frame::put_text;

/// Writes what the server would: the decoder's opposite, kept apart from it.
pub fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        Message::Begin(begin) => {
            out.put_u8(b'B');
            out.put_u64(begin.commit_lsn.0);
            out.put_i64(begin.commit_time_us - EPOCH_2000_US);
            out.put_u32(begin.xid);
        }
        Message::Commit(commit) => {
            out.put_slice(b"C\0");
            out.put_u64(commit.commit_lsn.0);
            out.put_u64(commit.end_lsn.0);
            out.put_i64(commit.commit_time_us - EPOCH_2000_US);
        }
        Message::Origin { lsn, name } => {
            out.put_u8(b'O');
            out.put_u64(lsn.0);
            put_text(&mut out, name);
        }
        Message::Relation(relation) => encode_relation(&mut out, relation),
        Message::Type { id, namespace, name } => {
            out.put_u8(b'Y');
            out.put_u32(*id);
            put_text(&mut out, namespace);
            put_text(&mut out, name);
        }
        Message::Insert { relation, new } => {
            out.put_u8(b'I');
            out.put_u32(*relation);
            encode_row(&mut out, b'N', new);
        }
        Message::Update { relation, old, new } => {
            out.put_u8(b'U');
            out.put_u32(*relation);
            if let Some(old) = old {
                encode_row(&mut out, if old.key_only { b'K' } else { b'O' }, &old.row);
            }
            encode_row(&mut out, b'N', new);
        }
        Message::Delete { relation, old } => {
            out.put_u8(b'D');
            out.put_u32(*relation);
            encode_row(&mut out, if old.key_only { b'K' } else { b'O' }, &old.row);
        }
        Message::Truncate { relations, cascade, restart_identity } => {
            out.put_u8(b'T');
            out.put_u32(relations.len() as u32);
            out.put_u8(u8::from(*cascade) | u8::from(*restart_identity) << 1);
            relations.iter().for_each(|relation| out.put_u32(*relation));
        }
        Message::Logical(message) => {
            out.put_u8(b'M');
            out.put_u8(u8::from(message.transactional));
            out.put_u64(message.lsn.0);
            put_text(&mut out, &message.prefix);
            out.put_u32(message.content.len() as u32);
            out.put_slice(&message.content);
        }
    }
    out.freeze()
}

fn encode_relation(out: &mut BytesMut, relation: &Relation) {
    out.put_u8(b'R');
    out.put_u32(relation.id);
    put_text(out, &relation.namespace);
    put_text(out, &relation.name);
    out.put_u8(match relation.identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.put_u16(relation.columns.len() as u16);
    for column in &relation.columns {
        out.put_u8(u8::from(column.identity));
        put_text(out, &column.name);
        out.put_u32(column.type_id);
        out.put_i32(column.type_modifier);
    }
}

fn encode_row(out: &mut BytesMut, kind: u8, row: &Row) {
    out.put_u8(kind);
    out.put_u16(row.0.len() as u16);
    for field in &row.0 {
        match field {
            Field::Null => out.put_u8(b'n'),
            Field::Unchanged => out.put_u8(b'u'),
            Field::Text(text) => {
                out.put_u8(b't');
                out.put_u32(text.len() as u32);
                out.put_slice(text);
            }
        }
    }
}

fn a_row() -> impl Strategy<Value = Row> {
    let field = prop_oneof![
        Just(Field::Null),
        Just(Field::Unchanged),
        any::<Vec<u8>>().prop_map(|bytes| Field::Text(bytes.into())),
    ];
    prop::collection::vec(field, 0..5).prop_map(Row)
}

fn an_old_row() -> impl Strategy<Value = OldRow> {
    (a_row(), any::<bool>()).prop_map(|(row, key_only)| OldRow { row, key_only })
}

fn a_relation() -> impl Strategy<Value = Relation> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index),
    ];
    let column = ("[^\0]{0,9}", any::<u32>(), any::<i32>(), any::<bool>()).prop_map(
        |(name, type_id, type_modifier, identity)| RelationColumn {
            name,
            type_id,
            type_modifier,
            identity,
        },
    );
    let columns = prop::collection::vec(column, 0..5);
    (any::<u32>(), "[^\0]{1,9}", "[^\0]{0,9}", identity, columns).prop_map(
        |(id, namespace, name, identity, columns)| Relation {
            id,
            namespace,
            name,
            identity,
            columns,
        },
    )
}

fn a_message() -> impl Strategy<Value = Message> {
    let lsn = || any::<u64>().prop_map(Lsn);
    let time = || -1_000_000_000_000_000_i64..4_000_000_000_000_000;
    prop_oneof![
        (lsn(), time(), any::<u32>()).prop_map(|(commit_lsn, commit_time_us, xid)| {
            Message::Begin(Begin { commit_lsn, commit_time_us, xid })
        }),
        (lsn(), lsn(), time()).prop_map(|(commit_lsn, end_lsn, commit_time_us)| {
            Message::Commit(Commit { commit_lsn, end_lsn, commit_time_us })
        }),
        (lsn(), "[^\0]{0,9}").prop_map(|(lsn, name)| Message::Origin { lsn, name }),
        a_relation().prop_map(Message::Relation),
        (any::<u32>(), "[^\0]{0,9}", "[^\0]{0,9}")
            .prop_map(|(id, namespace, name)| Message::Type { id, namespace, name }),
        (any::<u32>(), a_row()).prop_map(|(relation, new)| Message::Insert { relation, new }),
        (any::<u32>(), prop::option::of(an_old_row()), a_row())
            .prop_map(|(relation, old, new)| Message::Update { relation, old, new }),
        (any::<u32>(), an_old_row()).prop_map(|(relation, old)| Message::Delete { relation, old }),
        (any::<Vec<u32>>(), any::<bool>(), any::<bool>()).prop_map(
            |(relations, cascade, restart_identity)| Message::Truncate {
                relations,
                cascade,
                restart_identity
            }
        ),
        (any::<bool>(), lsn(), "[^\0]{0,9}", any::<Vec<u8>>()).prop_map(
            |(transactional, lsn, prefix, content)| Message::Logical(LogicalMessage {
                transactional,
                lsn,
                prefix,
                content: content.into()
            })
        ),
    ]
}

proptest! {
    #[test]
    fn every_message_is_read_as_it_was_written(message in a_message()) {
        prop_assert_eq!(decode(encode(&message)), Ok(message));
    }

    #[test]
    fn a_message_that_is_cut_off_is_refused(message in a_message(), at: prop::sample::Index) {
        let bytes = encode(&message);
        let cut = bytes.slice(..at.index(bytes.len()));
        prop_assert!(decode(cut).is_err());
    }

    #[test]
    fn no_bytes_do_harm(message in a_message(), at: prop::sample::Index, byte: u8) {
        let mut bytes = BytesMut::from(encode(&message));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(bytes.freeze());
    }

    #[test]
    fn no_rubbish_does_harm(kind in prop::sample::select(b"BCORYIUDTM\0".to_vec()), rest: Vec<u8>) {
        let bytes: Vec<u8> = std::iter::once(kind).chain(rest).collect();
        let _ = decode(bytes.into());
    }
}

/// As a PostgreSQL 15 sent it.
#[test]
fn a_real_update_is_read() {
    let bytes = b"U\0\0\x40\x06K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012u";
    let text = |text: &'static str| Field::Text(Bytes::from_static(text.as_bytes()));
    let old = OldRow { row: Row(vec![text("1"), Field::Null]), key_only: true };
    let new = Row(vec![text("2"), Field::Unchanged]);
    let expected = Message::Update { relation: 0x4006, old: Some(old), new };
    assert_eq!(decode(Bytes::from_static(bytes)), Ok(expected));
    assert_eq!(decode(Bytes::from_static(b"S")), Err(DecodeError::UnknownKind('S')));
}
