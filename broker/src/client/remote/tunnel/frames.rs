//! Where frames of Kafka's protocol begin and end in bytes that come in pieces of any size.
//!
//! ```text
//! request    length i32 │ …
//! response   length i32 │ correlation id i32 │ …
//! ```

use bytes::{Buf, Bytes, BytesMut};

const LENGTH_BYTES: usize = 4;
/// Up to the correlation id of a response.
const HEAD_BYTES: usize = 8;
/// The largest response that is kept for ourselves; a login's are small.
const OWN_BYTES_MAX: usize = 64 << 10;

/// Requests on their way to a broker.
#[derive(Debug, Default)]
pub struct Requests {
    /// The bytes of a length that have come, until all of them have.
    head: [u8; LENGTH_BYTES],
    have: usize,
    /// Bytes of the request under way that are still to come.
    left: usize,
}

impl Requests {
    /// Whether the last request is whole, and the next has not begun.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Passes over bytes up to the end of the request that is under way, or begins with them; how
    /// many that is.
    pub fn pass_one(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut passed = 0;
        while passed < bytes.len() {
            if self.left > 0 {
                let part = self.left.min(bytes.len() - passed);
                self.left -= part;
                passed += part;
            } else {
                self.head[self.have] = bytes[passed];
                self.have += 1;
                passed += 1;
                if self.have < LENGTH_BYTES {
                    continue;
                }
                self.have = 0;
                self.left = length(self.head)?;
            }
            if self.left == 0 {
                break;
            }
        }
        Ok(passed)
    }

    /// Passes over all these bytes.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut passed = 0;
        while passed < bytes.len() {
            passed += self.pass_one(&bytes[passed..])?;
        }
        Ok(())
    }
}

/// Responses on their way from a broker; among them those to requests of our own, which have
/// negative correlation ids.
#[derive(Debug, Default)]
pub struct Responses {
    /// Bytes of the response under way that are still to come.
    left: usize,
}

/// What the bytes that have come begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// As many bytes for whoever is being served.
    Theirs(usize),
    /// A response to ourselves, without its length.
    Ours(Bytes),
    /// More has to come before it can be said.
    Nothing,
}

impl Responses {
    /// What comes next; takes it off if it is ours.
    pub fn next(&mut self, came: &mut BytesMut) -> Result<Part, Malformed> {
        let mut theirs = 0;
        loop {
            let part = self.left.min(came.len() - theirs);
            (self.left, theirs) = (self.left - part, theirs + part);
            let Some(head) = came[theirs..].first_chunk::<HEAD_BYTES>() else { break };
            let [a, b, c, d, id @ ..] = *head;
            let length = length([a, b, c, d])?;
            if i32::from_be_bytes(id) >= 0 {
                self.left = LENGTH_BYTES + length;
                continue;
            }
            if theirs > 0 {
                break;
            }
            if length > OWN_BYTES_MAX {
                return Err(Malformed(length as i32));
            }
            if came.len() < LENGTH_BYTES + length {
                return Ok(Part::Nothing);
            }
            came.advance(LENGTH_BYTES);
            return Ok(Part::Ours(came.split_to(length).freeze()));
        }
        Ok(if theirs > 0 { Part::Theirs(theirs) } else { Part::Nothing })
    }
}

/// A length that no frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub i32);

/// Each frame has a correlation id at least.
fn length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, Malformed> {
    let claimed = i32::from_be_bytes(bytes);
    let length = usize::try_from(claimed).map_err(|_| Malformed(claimed))?;
    if length < HEAD_BYTES - LENGTH_BYTES { Err(Malformed(claimed)) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frame(id: i32, body: usize) -> Vec<u8> {
        let length = i32::try_from(4 + body).unwrap();
        [&length.to_be_bytes()[..], &id.to_be_bytes(), &vec![7; body]].concat()
    }

    /// The pieces that bytes come in, by the sizes of these in turn.
    fn pieces<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
        let (mut rest, mut found) = (bytes, Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            found.push(piece);
            rest = after;
        }
        found
    }

    proptest! {
        #[test]
        fn responses_are_told_apart_however_they_come(
            frames in vec((any::<bool>(), 0..50usize), 1..20),
            sizes in vec(1..60usize, 1..8),
        ) {
            let id = |ours: bool| if ours { -5 } else { 5 };
            let all: Vec<_> = frames.iter().map(|(ours, body)| frame(id(*ours), *body)).collect();
            let (mut responses, mut came) = (Responses::default(), BytesMut::new());
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            for piece in pieces(&all.concat(), &sizes) {
                came.extend_from_slice(piece);
                loop {
                    match responses.next(&mut came).unwrap() {
                        Part::Theirs(count) => theirs.extend_from_slice(&came.split_to(count)),
                        Part::Ours(response) => ours.push(response.to_vec()),
                        Part::Nothing => break,
                    }
                }
            }
            prop_assert!(came.is_empty());
            let of = |wanted: bool| {
                let both = frames.iter().zip(&all);
                both.filter(move |((ours, _), _)| *ours == wanted).map(|(_, frame)| frame.clone())
            };
            prop_assert_eq!(theirs, of(false).collect::<Vec<_>>().concat());
            prop_assert_eq!(ours, of(true).map(|frame| frame[4..].to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn requests_end_where_they_end(
            bodies in vec(0..50usize, 1..20),
            sizes in vec(1..60usize, 1..8),
        ) {
            let all: Vec<_> = bodies.iter().map(|body| frame(1, *body)).collect();
            let (mut requests, mut at, mut ends) = (Requests::default(), 0, Vec::new());
            for piece in pieces(&all.concat(), &sizes) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let passed = requests.pass_one(rest).unwrap();
                    (rest, at) = (&rest[passed..], at + passed);
                    if requests.is_between() {
                        ends.push(at);
                    }
                }
            }
            let expected = all.iter().scan(0, |sum, frame| { *sum += frame.len(); Some(*sum) });
            prop_assert_eq!(ends, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut requests = Requests::default();
        assert_eq!(requests.pass(&[0xff; 4]), Err(Malformed(-1)));
        let short = [0, 0, 0, 1];
        assert_eq!(Requests::default().pass(&short), Err(Malformed(1)));
        let mut came = BytesMut::from(&[0xff; 8][..]);
        assert_eq!(Responses::default().next(&mut came), Err(Malformed(-1)));
        // Nobody's answer to a login is that long.
        let mut came = BytesMut::from(&[0x10, 0, 0, 0, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(Responses::default().next(&mut came).is_err());
    }
}
