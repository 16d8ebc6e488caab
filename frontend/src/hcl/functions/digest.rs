//! Digests and identifiers.

use rbuild_model::hex::Hex;
use sha2::Digest as _;

use super::{Function, World, function, text, whole};
use crate::hcl::Value;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("bcrypt", 1, 2, password),
    function("md5", 1, 1, |a, _| Ok(Value::string(hex(&md5(text(a, 0)?.as_bytes()))))),
    function("sha1", 1, 1, |a, _| Ok(Value::string(hex(&sha1(text(a, 0)?.as_bytes()))))),
    function("sha256", 1, 1, |a, _| Ok(Value::string(hex(&sha2::Sha256::digest(text(a, 0)?))))),
    function("sha512", 1, 1, |a, _| Ok(Value::string(hex(&sha2::Sha512::digest(text(a, 0)?))))),
    function("uuidv4", 0, 0, |_, world| Ok(Value::string(uuid(&world.seed[..16], 4)))),
    function("uuidv5", 2, 2, uuid_of_name),
];

/// The cost of a hash where none is said.
const COST: i64 = 10;

/// The greatest cost: each one more takes twice the time, and this one a minute.
const MOST: i64 = 20;

/// Hashes a password. A cost below the least that there is means the usual one.
fn password(arguments: &[Value], world: &World) -> Result<Value, String> {
    let cost = if arguments.len() > 1 { whole(arguments, 1)? } else { COST };
    if cost > MOST {
        return Err(format!("a cost of {cost} takes too long: the most is {MOST}"));
    }
    let cost = if cost < 4 { COST } else { cost } as u32;
    let salt = world.seed[16..].try_into().expect("half of a seed has sixteen bytes");
    let hash = bcrypt::non_truncating_hash_with_salt(text(arguments, 0)?, cost, salt);
    let hash = hash.map_err(|_| "a password has at most 71 bytes".to_owned())?;
    Ok(Value::String(hash.format_for_version(bcrypt::Version::TwoA)))
}

fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

fn uuid(bytes: &[u8], version: u8) -> String {
    let mut bytes: [u8; 16] = bytes[..16].try_into().expect("sixteen bytes were given");
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

fn uuid_of_name(arguments: &[Value], _: &World) -> Result<Value, String> {
    let space = text(arguments, 0)?;
    let digits = match &*space {
        "dns" => "6ba7b8109dad11d180b400c04fd430c8".to_owned(),
        "url" => "6ba7b8119dad11d180b400c04fd430c8".to_owned(),
        "oid" => "6ba7b8129dad11d180b400c04fd430c8".to_owned(),
        "x500" => "6ba7b8149dad11d180b400c04fd430c8".to_owned(),
        other => other.replace('-', ""),
    };
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
    let number =
        number.ok_or_else(|| format!("{space:?} is no name space: write dns, url, oid, x500 or a UUID"))?;
    let mut name = number.to_be_bytes().to_vec();
    name.extend_from_slice(text(arguments, 1)?.as_bytes());
    Ok(Value::string(uuid(&sha1(&name), 5)))
}

/// Fills a message up to whole blocks of 64 bytes, with its length in bits at the end.
fn padded(message: &[u8], length: [u8; 8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&length);
    padded
}

fn bits(message: &[u8]) -> u64 {
    (message.len() as u64).wrapping_mul(8)
}

/// RFC 3174. For names only: it keeps no secret and proves nothing.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded(message, bits(message).to_be_bytes()).chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        }
        for at in 16..80 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.iter().enumerate() {
            let (mix, constant) = match at {
                0..20 => (b & c | !b & d, 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next =
                a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (kept, new) in state.iter_mut().zip([a, b, c, d, e]) {
            *kept = kept.wrapping_add(new);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// RFC 1321. For names only: it keeps no secret and proves nothing.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded(message, bits(message).to_le_bytes()).chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for at in 0..64 {
            let (mix, word) = match at / 16 {
                0 => (b & c | !b & d, at),
                1 => (d & b | !d & c, (5 * at + 1) % 16),
                2 => (b ^ c ^ d, (3 * at + 5) % 16),
                _ => (c ^ (b | !d), 7 * at % 16),
            };
            let constant = ((at as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(constant).wrapping_add(words[word]);
            let next = b.wrapping_add(sum.rotate_left(SHIFTS[at / 16][at % 4]));
            (a, d, c, b) = (d, c, b, next);
        }
        for (kept, new) in state.iter_mut().zip([a, b, c, d]) {
            *kept = kept.wrapping_add(new);
        }
    }
    let mut digest = [0; 16];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hashed_with_a_cost_and_a_salt() {
        let hashed = |cost: i64| {
            let world = World { seed: [7; 32], ..World::default() };
            password(&[Value::string("a"), Value::Number(cost.into())], &world)
        };
        let Ok(Value::String(hash)) = hashed(5) else { panic!("it is a text") };
        assert!(hash.starts_with("$2a$05$") && hash.len() == 60, "{hash}");
        assert_eq!(bcrypt::verify("a", &hash).ok(), Some(true));
        assert_eq!(hashed(21), Err("a cost of 21 takes too long: the most is 20".to_owned()));
        let long = Value::string("x".repeat(73));
        assert!(password(&[long], &World::default()).is_err());
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        assert_eq!(hex(&md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(&md5(b"message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(&[b'a'; 119])), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
    }
}
