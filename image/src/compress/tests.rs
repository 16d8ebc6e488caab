use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::manifest::LayerFormat;

fn decoded(bytes: &[u8], limits: DecodeLimits) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Decoder::detect(bytes, limits)?.read_to_end(&mut out)?;
    Ok(out)
}

fn encoded(contents: &[u8], encoding: Encoding, threads: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let read = compress(contents, &mut out, encoding, Threads(NonZeroUsize::new(threads).unwrap())).unwrap();
    assert_eq!(read, contents.len() as u64);
    out
}

/// Half text, half noise, over several chunks.
fn mixed() -> Vec<u8> {
    let mut state = 1_u32;
    (0..3 * GZIP_CHUNK + 12345)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at / 4096 % 2 == 0 { (state >> 24) as u8 } else { b"layer of text "[at % 14] }
        })
        .collect()
}

/// Noise that begins with a seed, or text with numbers in it.
fn piece(is_noise: bool, size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|at| if is_noise || at % 40 == 0 { next() } else { b"lines of text "[at % 14] }).collect()
}

fn error_text(result: io::Result<Vec<u8>>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn what_is_packed_is_unpacked_on_any_number_of_threads_with_the_same_bytes() {
    let contents = mixed();
    for encoding in [Encoding::GZIP, Encoding::ZSTD, Encoding::Plain] {
        let one = encoded(&contents, encoding, 1);
        assert!(encoded(&contents, encoding, 5) == one, "{encoding:?}");
        assert!(decoded(&one, DecodeLimits::default()).unwrap() == contents, "{encoding:?}");
    }
    for encoding in [Encoding::GZIP, Encoding::ZSTD, Encoding::Plain] {
        assert_eq!(decoded(&encoded(b"", encoding, 2), DecodeLimits::default()).unwrap(), b"");
    }
}

/// If a digest changes, blobs of unchanged layers change their names.
#[test]
fn the_packed_form_is_pinned() {
    let digest = |encoding| rbuild_model::digest::BlobDigest::of(&encoded(&mixed(), encoding, 2)).to_string();
    assert_eq!(
        [digest(Encoding::GZIP), digest(Encoding::ZSTD)],
        [
            "sha256:f31e8cfaeff96e12a9353cfca3e042507e75b79b3f8bcd0250bfd7acb4bd1258",
            "sha256:639b77dfc39efa96155bc3817cf8a945ccbab9394cb4945da82b6da3b501df96"
        ]
    );
    assert_eq!(encoded(b"", Encoding::GZIP, 1)[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
}

#[test]
fn forms_of_other_programs_are_read() {
    let contents = mixed();
    for (program, compression) in [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("xz", Compression::Xz),
        ("bzip2", Compression::Bzip2),
    ] {
        let mut child = std::process::Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is needed to compare with: {error}"));
        let stdin = child.stdin.take().unwrap();
        let packed = std::thread::scope(|scope| {
            let contents = &contents;
            scope.spawn(move || {
                let mut stdin = stdin;
                stdin.write_all(contents).unwrap();
            });
            let mut packed = Vec::new();
            child.stdout.take().unwrap().read_to_end(&mut packed).unwrap();
            packed
        });
        assert!(child.wait().unwrap().success());
        assert_eq!(Compression::detect(&packed), compression);
        assert!(decoded(&packed, DecodeLimits::default()).unwrap() == contents, "{program}");
        let twice = [&packed[..], &packed[..]].concat();
        assert!(decoded(&twice, DecodeLimits::default()).unwrap() == [&contents[..], &contents[..]].concat());
        for cut in [packed.len() - 1, packed.len() / 2, 7] {
            assert!(decoded(&packed[..cut], DecodeLimits::default()).is_err(), "{program} cut at {cut}");
        }
        let trailing = [&packed[..], b"garbage"].concat();
        assert!(decoded(&trailing, DecodeLimits::default()).is_err(), "{program} with something behind");
        let mut damaged = packed.clone();
        let middle = damaged.len() - 6;
        damaged[middle] ^= 0x55;
        assert!(decoded(&damaged, DecodeLimits::default()).is_err(), "{program} damaged");
    }
}

#[test]
fn bombs_stop_at_their_bounds() {
    let zeros = vec![0; 4 << 20];
    for encoding in [Encoding::GZIP, Encoding::ZSTD] {
        let bomb = encoded(&zeros, encoding, 1);
        let limits = DecodeLimits { expanded_bytes: 1 << 20, ..DecodeLimits::default() };
        assert!(error_text(decoded(&bomb, limits)).contains("more than 1048576 bytes"));
        let limits = DecodeLimits { ratio: 10, ratio_after: 1 << 20, ..DecodeLimits::default() };
        assert!(error_text(decoded(&bomb, limits)).contains("10 times its size"));
        assert_eq!(decoded(&bomb, DecodeLimits::default()).unwrap().len(), zeros.len());
    }
    let members = encoded(b"", Encoding::GZIP, 1).repeat(100);
    let limits = DecodeLimits { members: 50, ..DecodeLimits::default() };
    assert!(error_text(decoded(&members, limits)).contains("more than 50 members"));
    assert_eq!(decoded(&members, DecodeLimits::default()).unwrap(), b"");
}

/// Our members are decoded many at a time; what looks like one and is none, and what is none of ours, is decoded too.
#[test]
fn streams_of_members_are_decoded_whatever_stands_in_them() {
    let mixed = mixed();
    let member = encoded(b"a member", Encoding::Gzip { level: 0 }, 1);
    let limits = DecodeLimits::default();
    // Contents that begin as members do, stored as they are, at every place of a chunk.
    let decoys: Vec<u8> = mixed.chunks(50_000).flat_map(|piece| [piece, &member[..]].concat()).collect();
    let stored = encoded(&decoys, Encoding::Gzip { level: 0 }, 2);
    assert!(decoded(&stored, limits).unwrap() == decoys);
    // A false beginning after many true ones, and true ones after it.
    let parts = [&mixed[..], &decoys[..100_000], &mixed[..]];
    let packed: Vec<Vec<u8>> = [Encoding::GZIP, Encoding::Gzip { level: 0 }, Encoding::GZIP]
        .iter()
        .zip(parts)
        .map(|(encoding, part)| encoded(part, *encoding, 2))
        .collect();
    assert!(decoded(&packed.concat(), limits).unwrap() == parts.concat());
    // Small members, of which many are read at a time, and some in two pieces.
    let small = mixed.chunks(1000).flat_map(|part| encoded(part, Encoding::Gzip { level: 0 }, 1));
    assert!(decoded(&small.collect::<Vec<_>>(), limits).unwrap() == mixed);
    // One member that is larger than ours are, with the head that ours have.
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut large = vec![0; compressor.gzip_compress_bound(decoys.len())];
    let length = compressor.gzip_compress(&decoys, &mut large).unwrap();
    large.truncate(length);
    assert!(decoded(&large, limits).unwrap() == decoys);
    assert!(decoded(&[&packed[0][..], &large].concat(), limits).unwrap() == [&mixed[..], &decoys].concat());
    // Damage, an end that is cut, and something behind it are errors wherever they are.
    for place in [12, packed[0].len() / 2, packed[0].len() - 3] {
        let mut damaged = packed[0].clone();
        damaged[place] ^= 0x40;
        assert!(decoded(&damaged, limits).is_err(), "damaged at {place}");
        assert!(decoded(&packed[0][..place], limits).is_err(), "cut at {place}");
    }
    for behind in [&b"x"[..], b"something", &[0; 600], &member[..12]] {
        assert!(decoded(&[&packed[0][..], behind].concat(), limits).is_err(), "{behind:?}");
    }
}

/// Noise is stored as it is, and takes nothing from what stands beside it; unless more than the usual effort is asked for.
#[test]
fn noise_is_stored_and_what_stands_between_is_searched() {
    let size = |contents: &[u8], level| encoded(contents, Encoding::Gzip { level }, 1).len();
    let noise: Vec<u8> = mixed().chunks(4096).step_by(2).flatten().copied().collect();
    let code: Vec<u8> = (0_u32..200_000)
        .flat_map(|at| format!("let {:x} = {};\n", at * 7919 % 4093, at / 3).into_bytes())
        .collect();
    assert!(size(&noise, 6) < noise.len() + noise.len() / 4000, "{} of {}", size(&noise, 6), noise.len());
    assert!(size(&code, 6) < size(&code, 1) * 9 / 10, "{} and {}", size(&code, 6), size(&code, 1));
    // A long run stands for itself, and short ones are left out of what is searched.
    let (code, noise) = (&code[..300 << 10], &noise[..200 << 10]);
    let around = [code, noise, code].concat();
    assert!(size(&around, 6) <= 2 * size(code, 6) + noise.len() + 200, "{}", size(&around, 6));
    let turns: Vec<u8> = code
        .chunks(3 << 10)
        .zip(noise.chunks(2 << 10))
        .flat_map(|(code, noise)| [code, noise].concat())
        .collect();
    assert!(size(&turns, 6) < size(&turns, 7), "{} and {}", size(&turns, 6), size(&turns, 7));
    // What stands there a second time is found again.
    let twice = [&noise[..20_000], &noise[..20_000]].concat();
    assert!(size(&twice, 6) < 21_000, "{}", size(&twice, 6));
}

/// Forms with a table of contents at their end (eStargz, zstd:chunked) are read as what they are: gzip, and zstd.
#[test]
fn streams_that_end_with_a_table_of_contents_are_read_whole() {
    let contents = mixed();
    let member = |bytes: &[u8]| encoded(bytes, Encoding::GZIP, 1);
    // An empty member whose head says where the table begins.
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0];
    footer.extend(format!("{:016x}STARGZ", contents.len()).into_bytes());
    footer.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    let pieces: Vec<u8> = contents.chunks(100_000).flat_map(member).collect();
    let stargz = [&pieces[..], &member(b"the table"), &footer].concat();
    let expected = [&contents[..], b"the table"].concat();
    assert!(decoded(&stargz, DecodeLimits::default()).unwrap() == expected);

    let frames = contents.chunks(100_000).flat_map(|piece| encoded(piece, Encoding::ZSTD, 1));
    let skippable = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&[0x50, 0x2a, 0x4d, 0x18][..], &length, bytes].concat()
    };
    let table = encoded(b"the table", Encoding::ZSTD, 1);
    let chunked: Vec<u8> = frames.chain(skippable(&table)).chain(skippable(&[7; 64])).collect();
    assert!(decoded(&chunked, DecodeLimits::default()).unwrap() == contents);
}

#[test]
fn windows_beyond_the_bound_are_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&vec![1; 1 << 20]).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(decoded(&packed, DecodeLimits::default()).is_ok());
    let limits = DecodeLimits { memory: 1 << 20, ..DecodeLimits::default() };
    assert!(decoded(&packed, limits).is_err());
}

#[test]
fn media_types_name_their_form() {
    assert_eq!(Compression::from(LayerFormat::Zstd), Compression::Zstd);
    assert_eq!(Compression::detect(b"\x50\x2a\x4d\x18\0\0"), Compression::Zstd);
    assert_eq!(Compression::detect(b"\x1f\x8b"), Compression::None);
    assert_eq!(Compression::detect(b""), Compression::None);
    let mut decoder = Decoder::new(Compression::Gzip, &b"not gzip"[..], DecodeLimits::default()).unwrap();
    assert!(decoder.read_to_end(&mut Vec::new()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn any_contents_survive(contents in prop::collection::vec(any::<u8>(), 0..5000), threads in 1..4_usize) {
        for encoding in [Encoding::GZIP, Encoding::Zstd { level: 19 }, Encoding::Gzip { level: 0 }] {
            let packed = encoded(&contents, encoding, threads);
            prop_assert_eq!(&decoded(&packed, DecodeLimits::default()).unwrap(), &contents);
        }
    }

    #[test]
    fn noise_and_text_in_turn_survive(
        pieces in prop::collection::vec((any::<bool>(), 0..200_000_usize, any::<u32>()), 0..12),
        threads in 1..4_usize,
    ) {
        let contents: Vec<u8> = pieces.into_iter().flat_map(|(is_noise, size, seed)| piece(is_noise, size, seed)).collect();
        let packed = encoded(&contents, Encoding::GZIP, threads);
        prop_assert!(packed == encoded(&contents, Encoding::GZIP, 1));
        prop_assert!(decoded(&packed, DecodeLimits::default()).unwrap() == contents);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(start in 0..4_usize, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let magic: [&[u8]; 4] = [&[0x1f, 0x8b, 8], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ\0", b"BZh9"];
        let _ = decoded(&[magic[start], &rest].concat(), DecodeLimits::default());
    }
}
