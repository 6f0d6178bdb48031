//! Decoding never takes more memory than a small multiple of the frame, however the frame lies
//! about its lengths. Alone in its binary, since it counts what the whole process allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use broker::protocol::{ApiKey, decode_request, decode_response};
use bytes::Bytes;

/// The worst element of all, a group in OffsetFetch, is 80 bytes in memory and 3 on the wire, and
/// an array doubles as it grows: the old half is still there when the whole is allocated.
const MULTIPLE_MAX: usize = 54;

/// Arrays allocate up to 16 KiB before their elements are seen, at each level of nesting.
const SLACK_BYTES: usize = 4 * 16 * 1024;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: all is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(block, layout) }
    }

    /// Counted as the default does it, old and new block at once.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        let moved = unsafe { System.realloc(block, layout, size) };
        LIVE.fetch_sub(layout.size(), Relaxed);
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` allocates at its peak.
fn peak_of<T>(work: impl FnOnce() -> T) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    drop(work());
    PEAK.load(Relaxed) - before
}

/// A count that claims all of `bytes`, each byte an element, as a varint and as an `i32`.
fn counts(bytes: usize) -> [Vec<u8>; 2] {
    let mut varint = Vec::new();
    let mut rest = bytes;
    while rest >= 0x80 {
        varint.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    varint.push(rest as u8);
    [varint, (bytes as u32).to_be_bytes().to_vec()]
}

/// Bodies of `size` bytes: some plausible small fields, then an array whose count is as large as
/// will be believed, then minimal elements.
fn bodies(size: usize) -> Vec<Bytes> {
    let patterns: [&[u8]; 8] = [
        &[0],
        &[1],
        &[1, 0],
        &[1, 1, 0],
        &[0, 1, 1, 0],
        &[1, 1, 1, 0],
        &[0xff, 0xff, 0xff, 0xff, 0, 0],
        &[2, b'x', 0],
    ];
    let mut bodies = Vec::new();
    for prefix in 0..16 {
        for divisor in [1, 2, 3, 4, 6, 8, 12, 20] {
            for count in counts(size / divisor) {
                for pattern in patterns {
                    let mut body = vec![0; prefix];
                    body.extend(&count);
                    body.extend(pattern.iter().cycle().take(size - prefix - count.len()));
                    bodies.push(body.into());
                }
            }
        }
    }
    bodies
}

#[test]
fn hostile_lengths_allocate_no_more_than_a_multiple_of_the_frame() {
    for length in [i32::MAX, i32::MIN, -2, 1 << 30] {
        let mut body = vec![0, 1, 0, 4, 0, 0, 0, 1, 0xff, 0xff];
        body.extend(length.to_be_bytes().iter().cycle().take(64));
        let peak = peak_of(|| decode_request(body.into()));
        assert!(peak <= 4096, "{peak} bytes for a frame of 74");
    }

    let mut worst = (0, String::new());
    let mut measure = |size: usize, peak: usize, about: &dyn Fn() -> String| {
        let multiple = peak.saturating_sub(SLACK_BYTES) / size;
        if multiple > worst.0 {
            worst = (multiple, about());
        }
        assert!(multiple <= MULTIPLE_MAX, "{} takes {peak} bytes for {size}", about());
    };
    let bodies = bodies(16 * 1024);
    for api in ApiKey::ALL {
        for version in api.versions() {
            for body in &bodies {
                let mut request = vec![0, *api as u8, 0, version as u8, 0, 0, 0, 1, 0xff, 0xff];
                request.extend_from_slice(&[0][..usize::from(api.is_flexible(version))]);
                request.extend_from_slice(body);
                let size = request.len();
                let request = Bytes::from(request);
                let peak = peak_of(|| decode_request(request));
                measure(size, peak, &|| format!("request {api} v{version}"));
                let peak = peak_of(|| decode_response(*api, version, body.clone()));
                measure(body.len(), peak, &|| format!("response {api} v{version}"));
            }
        }
    }
    println!("the worst: {} takes {} times its size", worst.1, worst.0);
    assert!(worst.0 >= 20, "the bodies above do not reach the elements any more");
}
