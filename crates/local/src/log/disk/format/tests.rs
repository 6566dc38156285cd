//! What the format writes is what it reads, and nothing else is: a bounded run of random and of damaged bytes.

use super::frame::{FRAME_HEADER, FrameHeader, Kind};
use super::*;
use crate::log::disk::index::SegmentIndex;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use trellis_core::Time;
use trellis_core::log::{History, Record};

fn any_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let header = (any_bytes(40), any_bytes(300));
    let record = (any_bytes(20), vec(header, 0..4), any_bytes(300));
    let record = record.prop_map(|(key, headers, value)| Record {
        key,
        headers: headers.into_iter().collect(),
        value,
    });
    vec(record, 1..8)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Batch),
        Just(Kind::Trim),
        Just(Kind::Manifest),
        Just(Kind::Summary),
        Just(Kind::Removal)
    ]
}

prop_compose! {
    fn frame_header()(
        kind in kind(),
        last in any::<bool>(),
        (partition, group, count, bytes) in any::<(u32, u32, u32, u32)>(),
        (first, time) in any::<(u64, u64)>(),
        body in 0..60_000_000_u32,
        body_crc in any::<u32>(),
    ) -> FrameHeader {
        FrameHeader { kind, last, partition, group, first, time: Time(time), count, bytes, body, body_crc }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn records_are_read_as_they_were_written(records in records()) {
        let body = encode_records(&records);
        let bound: usize = records.iter().map(Record::bytes).sum();
        prop_assert!(body.len() <= bound, "sizes count at least what is written");
        let count = u32::try_from(records.len()).unwrap();
        prop_assert_eq!(decode_records(body.into(), count), Ok(records));
    }

    #[test]
    fn a_body_with_another_length_or_count_is_not_read(records in records(), cut in any::<prop::sample::Index>()) {
        let count = u32::try_from(records.len()).unwrap();
        let body = Bytes::from(encode_records(&records));
        let shorter = body.slice(..cut.index(body.len()));
        prop_assert_eq!(decode_records(shorter, count), Err(Malformed));
        let mut longer = body.to_vec();
        longer.push(0);
        prop_assert_eq!(decode_records(longer.into(), count), Err(Malformed));
        prop_assert_eq!(decode_records(body.clone(), count - 1), Err(Malformed));
        prop_assert_eq!(decode_records(body, u32::MAX), Err(Malformed));
    }

    #[test]
    fn whatever_bytes_are_read_nothing_panics_and_memory_is_bounded_by_them(bytes in any_bytes(2_000), count in 0..700_u32) {
        if let Ok(records) = decode_records(bytes.clone(), count) {
            // What can be read is written the same but for lengths that take more bytes than they need.
            prop_assert!(encode_records(&records).len() <= bytes.len());
        }
        let _ = Manifest::decode(&bytes);
        let _ = decode_summary(&bytes);
        if let Some(header) = bytes.first_chunk::<FRAME_HEADER>() {
            prop_assert_eq!(FrameHeader::decode(header, 1, 64), None);
        }
        if let Some(header) = bytes.first_chunk::<SEGMENT_HEADER>() {
            prop_assert!(SegmentHeader::decode(header).is_err());
        }
    }

    #[test]
    fn a_damaged_body_is_read_as_some_records_or_not_at_all(
        records in records(), at in any::<prop::sample::Index>(), flip in 1..=255_u8,
    ) {
        let mut body = encode_records(&records);
        let at = at.index(body.len());
        body[at] ^= flip;
        let count = u32::try_from(records.len()).unwrap();
        let _ = decode_records(body.into(), count);
    }

    #[test]
    fn a_frame_is_right_in_its_place_alone_and_unchanged(
        header in frame_header(), segment in any::<u64>(), position in any::<u64>(),
        at in 0..FRAME_HEADER, flip in 1..=255_u8,
    ) {
        let bytes = header.encode(segment, position);
        prop_assert_eq!(FrameHeader::decode(&bytes, segment, position), Some(header));
        prop_assert_eq!(FrameHeader::decode(&bytes, segment ^ 1, position), None);
        prop_assert_eq!(FrameHeader::decode(&bytes, segment, position ^ 8), None);
        let mut changed = bytes;
        changed[at] ^= flip;
        prop_assert_eq!(FrameHeader::decode(&changed, segment, position), None);
    }

    #[test]
    fn a_segments_header_is_read_as_it_was_written(
        (number, history, begun, length) in any::<(u64, u128, u64, u64)>(),
        at in 0..SEGMENT_HEADER, flip in 1..=255_u8,
    ) {
        let header = SegmentHeader { number, history: History(history), begun: Time(begun), length };
        let bytes = header.encode();
        prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        let mut changed = bytes;
        changed[at] ^= flip;
        prop_assert!(SegmentHeader::decode(&changed).is_err());
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written(
        segments in vec(any::<(u64, u64)>(), 0..20),
        partitions in vec(any::<(u32, u64, u64, u64)>(), 0..20),
    ) {
        let partitions = partitions.into_iter().map(|(partition, start, end, time)| PartitionEntry {
            partition, start, end, last_time: Time(time),
        });
        let manifest = Manifest { segments, partitions: partitions.collect() };
        prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn an_index_is_read_as_it_was_written(batches in vec((0..4_u32, 1..5_u32, 1..90_000_u32), 0..60)) {
        let mut index = SegmentIndex::default();
        let mut ends = [0_u64; 4];
        for (place, (partition, count, bytes)) in batches.into_iter().enumerate() {
            let end = &mut ends[partition as usize];
            let header = FrameHeader {
                partition, count, bytes, first: *end,
                ..FrameHeader::new(Kind::Batch, Time(place as u64))
            };
            *end = header.end();
            index.note(&header, place as u64 * 8);
        }
        prop_assert_eq!(decode_summary(&encode_summary(&index)), Ok(index));
    }
}

#[test]
fn a_file_is_a_segment_by_its_name() {
    assert_eq!(segment_number(&segment_name(42)), Some(42));
    assert_eq!(segment_number(&segment_name(u64::MAX)), Some(u64::MAX));
    for other in [
        "LOCK",
        "1.log",
        "0000000000000000001x.log",
        "00000000000000000001.log.new",
        "99999999999999999999.log",
    ] {
        assert_eq!(segment_number(other), None, "{other}");
    }
}
