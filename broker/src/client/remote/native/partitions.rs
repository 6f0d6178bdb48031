//! Lists of partitions, each with an offset and what was stored beside it.

use std::borrow::Cow;
use std::ffi::c_int;
use std::ptr::{self, NonNull};
use std::slice;

use rdkafka_sys::bindings::*;

use super::error::{Code, NativeError, code};
use super::{c_string, text_borrowed};
use crate::ids::{Offset, TopicPartition};

/// A list that we own.
pub struct PartitionList(NonNull<rd_kafka_topic_partition_list_t>);

// SAFETY: plain memory without ties to a thread.
unsafe impl Send for PartitionList {}
unsafe impl Sync for PartitionList {}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub topic: Cow<'a, str>,
    pub partition: i32,
    /// Negative where there is none.
    pub offset: i64,
    pub metadata: Cow<'a, str>,
    pub code: Code,
}

impl Entry<'_> {
    pub fn is_of(&self, partition: &TopicPartition) -> bool {
        self.partition == partition.partition && self.topic == *partition.topic
    }

    /// The offset, if there is one.
    pub fn offset(&self) -> Option<Offset> {
        (self.offset >= 0).then_some(Offset(self.offset))
    }
}

impl PartitionList {
    pub fn with_capacity(capacity: usize) -> PartitionList {
        let capacity = c_int::try_from(capacity).unwrap_or(0);
        // SAFETY: the list is ours alone; librdkafka aborts rather than return null.
        let list = unsafe { rd_kafka_topic_partition_list_new(capacity) };
        PartitionList(NonNull::new(list).expect("librdkafka aborts when memory is exhausted"))
    }

    /// The given partitions, without offsets.
    pub fn of(partitions: &[TopicPartition]) -> Result<PartitionList, NativeError> {
        let mut list = PartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add(&partition.topic, partition.partition, None)?;
        }
        Ok(list)
    }

    /// The given partitions with their offsets.
    pub fn at(partitions: &[(TopicPartition, Offset)]) -> Result<PartitionList, NativeError> {
        let mut list = PartitionList::with_capacity(partitions.len());
        for (partition, offset) in partitions {
            list.add(&partition.topic, partition.partition, Some(offset.0))?;
        }
        Ok(list)
    }

    /// Copies a list that librdkafka owns.
    ///
    /// # Safety
    /// `list` is null or a list.
    pub unsafe fn copied(list: *const rd_kafka_topic_partition_list_t) -> PartitionList {
        if list.is_null() {
            return PartitionList::with_capacity(0);
        }
        let copy = unsafe { rd_kafka_topic_partition_list_copy(list) };
        PartitionList(NonNull::new(copy).expect("librdkafka aborts when memory is exhausted"))
    }

    pub fn add(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Option<i64>,
    ) -> Result<(), NativeError> {
        self.entry(topic, partition, offset).map(drop)
    }

    pub fn add_with_metadata(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: &str,
    ) -> Result<(), NativeError> {
        let entry = self.entry(topic, partition, Some(offset))?;
        if metadata.is_empty() {
            return Ok(());
        }
        // SAFETY: `entry` is the line just added. It frees its metadata with the allocator that
        // librdkafka offers here.
        unsafe {
            let copy = rd_kafka_mem_malloc(ptr::null_mut(), metadata.len());
            if copy.is_null() {
                return Err(NativeError::new(code::INVALID_ARG, "memory is exhausted".into()));
            }
            ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
            (*entry).metadata = copy;
            (*entry).metadata_size = metadata.len();
        }
        Ok(())
    }

    /// Valid until the next line is added.
    fn entry(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Option<i64>,
    ) -> Result<*mut rd_kafka_topic_partition_t, NativeError> {
        let topic = c_string(topic)?;
        // SAFETY: the list is ours, and the name is copied.
        let entry = unsafe {
            rd_kafka_topic_partition_list_add(self.0.as_ptr(), topic.as_ptr(), partition)
        };
        if let Some(offset) = offset {
            // SAFETY: `entry` is the line just added.
            unsafe { (*entry).offset = offset };
        }
        Ok(entry)
    }

    pub fn len(&self) -> usize {
        // SAFETY: the list is ours.
        usize::try_from(unsafe { self.0.as_ref() }.cnt).unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        // SAFETY: the list is ours and not changed while it is borrowed.
        unsafe { entries(self.0.as_ptr()) }
    }

    /// The partitions in the list, without their offsets.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.iter().map(|entry| TopicPartition::new(&*entry.topic, entry.partition)).collect()
    }

    /// The first error of a single line, if any.
    pub fn first_error(&self) -> Option<NativeError> {
        self.iter().find(|entry| entry.code != code::NONE).map(|entry| NativeError::of(entry.code))
    }

    pub fn as_ptr(&self) -> *mut rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is ours.
        unsafe { rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
    }
}

/// The lines of a list.
///
/// # Safety
/// `list` is null, or a list that lives and stays as it is for `'a`.
pub unsafe fn entries<'a>(
    list: *const rd_kafka_topic_partition_list_t,
) -> impl Iterator<Item = Entry<'a>> {
    // Only raw pointers: a reference would vouch for error codes that the enum may not have.
    let (lines, count) = if list.is_null() {
        (ptr::null(), 0)
    } else {
        // SAFETY: as the caller vouches.
        unsafe { ((*list).elems.cast_const(), usize::try_from((*list).cnt).unwrap_or(0)) }
    };
    (0..count).map(move |index| unsafe { entry(lines.add(index)) })
}

/// # Safety
/// `line` is a line of a list that lives and stays as it is for `'a`.
pub unsafe fn entry<'a>(line: *const rd_kafka_topic_partition_t) -> Entry<'a> {
    // SAFETY: as the caller vouches. The code is read as a number, since it may be none of the
    // enum's.
    unsafe {
        let metadata = if (*line).metadata.is_null() {
            Cow::Borrowed("")
        } else {
            let bytes = slice::from_raw_parts((*line).metadata.cast(), (*line).metadata_size);
            String::from_utf8_lossy(bytes)
        };
        Entry {
            topic: text_borrowed((*line).topic),
            partition: (*line).partition,
            offset: (*line).offset,
            metadata,
            code: (&raw const (*line).err).cast::<Code>().read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_was_added() {
        let mut list = PartitionList::with_capacity(0);
        assert_eq!(list.len(), 0);
        list.add("flights", 3, None).unwrap();
        list.add_with_metadata("delays", 0, 42, "résumé\0tail").unwrap();
        let copy = unsafe { PartitionList::copied(list.as_ptr()) };
        let entries: Vec<Entry> = copy.iter().collect();
        assert_eq!((&*entries[0].topic, entries[0].partition), ("flights", 3));
        assert_eq!(entries[0].offset(), None);
        assert_eq!(entries[1].offset(), Some(Offset(42)));
        assert_eq!(entries[1].metadata, "résumé\0tail");
        assert!(entries[1].is_of(&TopicPartition::new("delays", 0)));
        assert!(!entries[1].is_of(&TopicPartition::new("delays", 1)));
        assert_eq!(list.first_error(), None);
    }

    #[test]
    fn a_name_that_c_would_cut_off_is_refused() {
        let error = PartitionList::of(&[TopicPartition::new("a\0b", 0)]).err().unwrap();
        assert_eq!(error.to_string(), r"'a\0b' has a zero byte");
    }
}
