use std::io::Write as _;

use proptest::prelude::*;

use super::super::many::Share;
use super::super::{Compression, DecodeLimits, Decoder};
use super::*;

const WINDOW_LOG: u32 = 27;

/// Whether a frame says how much it holds.
#[derive(Clone, Copy)]
enum Size {
    Said,
    Unsaid,
}

fn frame(contents: &[u8], size: Size) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    if let Size::Said = size {
        encoder.set_pledged_src_size(Some(contents.len() as u64)).unwrap();
    }
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

fn skippable(length: usize) -> Vec<u8> {
    let size = u32::try_from(length).unwrap().to_le_bytes();
    [&[0x5a, 0x2a, 0x4d, 0x18][..], &size, &vec![9; length]].concat()
}

/// Lines with numbers in them.
fn text(size: usize, seed: usize) -> Vec<u8> {
    let lines = (seed..).flat_map(|at| format!("line {} of {:x}\n", at * 7919 % 4093, at / 3).into_bytes());
    let lines: Vec<u8> = lines.take(size.min(50_000)).collect();
    let mut text = lines.repeat(size / 50_000 + 1);
    text.truncate(size);
    text
}

fn read_all(mut frames: impl Read) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    frames.read_to_end(&mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

/// What comes out, and what comes out in order.
fn both(bytes: &[u8]) -> [Result<Vec<u8>, String>; 2] {
    let input = || Input::new(Vec::new(), Box::new(bytes)).0;
    [read_all(Zstd::new(input(), WINDOW_LOG).unwrap()), read_all(in_order(input(), WINDOW_LOG).unwrap())]
}

/// What comes out of a stream, if all of it is frames.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    // Which of its words zstd has for damage depends on how it was given the bytes.
    let [out, expected] = both(bytes).map(Result::ok);
    assert!(out == expected);
    out
}

/// Refuses a stream in the words that it is refused with in order.
fn is_refused(bytes: &[u8]) -> bool {
    let [out, expected] = both(bytes);
    assert!(out == expected, "{:?} and not {:?}", out.err(), expected.err());
    out.is_err()
}

/// The parts of a stream of which so many bytes come at a time, and what stands behind them.
fn parts(bytes: &[u8], step: usize) -> (Vec<(usize, usize)>, usize) {
    let mut frames = Frames::new(1 << WINDOW_LOG);
    let (mut parts, mut from, mut to) = (Vec::new(), 0, 0);
    loop {
        match frames.look(&bytes[from..to], to == bytes.len()) {
            Look::Part { length, most } => {
                parts.push((length, most));
                from += length;
            }
            Look::More => to = bytes.len().min(to + step),
            Look::Never => return (parts, bytes.len() - from),
        }
    }
}

#[test]
fn frames_come_out_as_in_order_however_many_there_are_and_whatever_they_say() {
    let contents = text(6 << 20, 0);
    for size in [Size::Said, Size::Unsaid] {
        for piece in [contents.len(), 4 << 20, 700_000, 30_000] {
            let packed: Vec<u8> = contents.chunks(piece).flat_map(|piece| frame(piece, size)).collect();
            assert!(decoded(&packed).unwrap() == contents, "{piece} bytes a frame");
            let between: Vec<u8> = contents
                .chunks(piece)
                .flat_map(|piece| {
                    [skippable(0), frame(piece, size), skippable(70_000), frame(b"", size)].concat()
                })
                .collect();
            assert!(decoded(&between).unwrap() == contents, "{piece} bytes a frame, others between");
        }
    }
    assert_eq!(decoded(&[skippable(3), skippable(0)].concat()).unwrap(), b"");
    assert!(is_refused(b""));
    // Many decoders at a time leave nothing for this one.
    let packed: Vec<u8> = contents.chunks(4 << 20).flat_map(|piece| frame(piece, Size::Said)).collect();
    let mut shares = Vec::new();
    while let Some(share) = Share::take(SMALL + (1 << 20)) {
        shares.push(share);
    }
    assert!(decoded(&packed).unwrap() == contents);
}

#[test]
fn small_frames_are_decoded_together_and_none_of_them_in_order() {
    let contents = text(6 << 20, 5);
    let packed: Vec<u8> = contents.chunks(30_000).flat_map(|piece| frame(piece, Size::Said)).collect();
    let (cut, rest) = parts(&packed, packed.len());
    assert_eq!(rest, 0);
    assert_eq!(cut.iter().map(|(_, most)| most).sum::<usize>(), contents.len());
    let (_, full) = cut.split_last().unwrap();
    assert!(full.iter().all(|(length, most)| (SMALL - 60_000..=SMALL).contains(&(length + most))), "{cut:?}");
    assert_eq!(parts(&packed, 999), (cut, 0));

    let mut many =
        Many::new(Frames::new(1 << WINDOW_LOG), Input::new(packed, Box::new(io::empty())).0, u64::MAX);
    let (mut out, mut buffer) = (Vec::new(), vec![0; 10_000]);
    loop {
        match many.read(&mut buffer).unwrap().expect("all of it are frames") {
            0 => break,
            count => out.extend_from_slice(&buffer[..count]),
        }
    }
    assert!(out == contents);
}

#[test]
fn a_large_frame_is_a_part_and_a_larger_one_is_none() {
    let small = frame(b"small", Size::Said);
    for size in [Size::Said, Size::Unsaid] {
        let large = frame(&text(8 << 20, 1), size);
        let (cut, rest) = parts(&[&small[..], &large, &small].concat(), 10_000);
        assert_eq!(
            (cut.iter().map(|(length, _)| *length).collect::<Vec<_>>(), rest),
            (vec![small.len(), large.len(), small.len()], 0)
        );
        assert!(cut[1].1 >= 8 << 20 && cut[1].0 + cut[1].1 <= LARGE, "{cut:?}");
        let larger = frame(&vec![0; LARGE + 1], size);
        let (cut, rest) = parts(&[&small[..], &larger, &small].concat(), 10_000);
        assert_eq!((cut.len(), rest), (1, larger.len() + small.len()));
    }
    // Nor is one that is skipped, and would be kept for that.
    let head = [&small[..], &[0x50, 0x2a, 0x4d, 0x18], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(parts(&head, head.len()), (vec![(small.len(), 5)], 8));
}

#[test]
fn streams_that_end_early_or_late_are_refused_wherever_that_is() {
    let pieces = [
        frame(b"the first", Size::Said),
        frame(&text(400, 2), Size::Unsaid),
        skippable(20),
        frame(&[7; 99], Size::Said),
    ];
    let packed = pieces.concat();
    let ends: Vec<usize> = (0..=pieces.len()).map(|count| pieces[..count].concat().len()).collect();
    for cut in 0..packed.len() {
        assert_eq!(is_refused(&packed[..cut]), cut == 0 || !ends.contains(&cut), "cut at {cut}");
    }
    for behind in [&b"x"[..], b"something", &[0; 600], &packed[..3], &packed[..12]] {
        assert!(is_refused(&[&packed[..], behind].concat()), "{behind:?}");
    }
}

#[test]
fn heads_that_lie_and_frames_that_nobody_can_decode_are_refused_as_in_order() {
    let first = frame(b"the first", Size::Said);
    let contents = text(1000, 3);
    let second = frame(&contents, Size::Said);
    // The content size of two bytes stands behind the descriptor.
    assert_eq!(second[4] & 0xe3, 0x60);
    let with = |at: usize, bytes: &[u8]| {
        let mut second = second.clone();
        second[at..at + bytes.len()].copy_from_slice(bytes);
        [&first[..], &second, &first].concat()
    };
    assert_eq!(decoded(&with(4, &second[4..5])).unwrap().len(), 1018);
    for size in [0, 700, 743, 745, 5000, u16::MAX] {
        assert!(is_refused(&with(5, &u16::to_le_bytes(size))), "{size}");
    }
    // A reserved bit; a reserved kind of block; a damaged sum.
    assert!(is_refused(&with(4, &[second[4] | 8])));
    assert!(is_refused(&with(7, &[second[7] | 6])));
    assert!(is_refused(&with(second.len() - 1, &[!second[second.len() - 1]])));
    // An empty last block behind a head with a dictionary, with windows of 2 GiB and of all there is, and with much content.
    let heads: [&[u8]; 4] =
        [&[0x21, 77, 0], &[0, 21 << 3], &[0, 0xff], &[0xe0, 255, 255, 255, 255, 255, 255, 255, 127]];
    for head in heads {
        let frame = [&MAGIC[..], head, &[1, 0, 0]].concat();
        assert!(is_refused(&[&first[..], &frame, &first].concat()), "{head:?}");
    }
    let dictionary_of_nothing = [&first[..], &MAGIC, &[0x21, 0, 0], &[1, 0, 0]].concat();
    assert_eq!(decoded(&dictionary_of_nothing).unwrap(), b"the first");
}

#[test]
fn a_bomb_behind_other_frames_stops_at_the_bounds() {
    let first = frame(&text(100_000, 4), Size::Said);
    for size in [Size::Said, Size::Unsaid] {
        for zeros in [4 << 20, LARGE + 1] {
            let bomb = [&first[..], &first, &frame(&vec![0; zeros], size), &first].concat();
            let error = |limits| {
                let mut decoder = Decoder::new(Compression::Zstd, &bomb[..], limits).unwrap();
                let error = decoder.read_to_end(&mut Vec::new()).unwrap_err().to_string();
                (error, decoder.expanded_bytes())
            };
            let limits = DecodeLimits { expanded_bytes: 1 << 20, ..DecodeLimits::default() };
            let (text, expanded) = error(limits);
            assert!(text.contains("more than 1048576 bytes") && expanded <= 4 << 20, "{text} at {expanded}");
            let limits = DecodeLimits { ratio: 10, ratio_after: 1 << 20, ..DecodeLimits::default() };
            let (text, expanded) = error(limits);
            assert!(text.contains("10 times its size") && expanded <= 4 << 20, "{text} at {expanded}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn damaged_frames_are_what_they_are_in_order(
        sizes in prop::collection::vec((any::<bool>(), 0..3000_usize), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut packed: Vec<u8> = sizes
            .iter()
            .flat_map(|(said, size)| frame(&text(*size, *size), if *said { Size::Said } else { Size::Unsaid }))
            .collect();
        for (at, byte) in damage {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        let _ = decoded(&packed);
    }
}
