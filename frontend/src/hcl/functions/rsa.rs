//! Texts that were encrypted for the owner of a key: `rsadecrypt`, RSA with the padding of PKCS #1 v1.5.
//!
//! The time that it takes says something about the key, which is no harm here: nobody but its owner can ask for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigUint;

use super::{Function, World, function, text};
use crate::hcl::Value;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[function("rsadecrypt", 2, 2, decrypt)];

/// The longest modulus, in bits.
const LONGEST: u64 = 16384;

fn decrypt(arguments: &[Value], _: &World) -> Result<Value, String> {
    let cipher = STANDARD.decode(text(arguments, 0)?);
    let cipher = cipher.map_err(|error| format!("the encrypted text is not base64: {error}"))?;
    let Key { modulus, exponent } = Key::read(&text(arguments, 1)?)?;
    let number = BigUint::from_bytes_be(&cipher);
    if number >= modulus {
        return Err("the text was not encrypted for this key: it is too long".to_owned());
    }
    // 0, 2, random bytes other than 0, and 0 again stand before the text.
    let clear = number.modpow(&exponent, &modulus).to_bytes_be();
    let padded = clear.strip_prefix(&[2]).unwrap_or_default();
    let end = padded.iter().position(|byte| *byte == 0).filter(|end| *end >= 8);
    let end = end.ok_or("the text was not encrypted for this key")?;
    String::from_utf8(padded[end + 1..].to_vec())
        .map(Value::String)
        .map_err(|_| "what was encrypted is no text".to_owned())
}

/// A private key.
struct Key {
    modulus: BigUint,
    exponent: BigUint,
}

impl Key {
    /// Reads a key in PEM form.
    fn read(text: &str) -> Result<Self, String> {
        let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let known = ["-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----"];
        let Some(form) = known.iter().position(|begin| text.trim_start().starts_with(begin)) else {
            return Err("the key is no RSA key in PEM form (`openssl rsa` writes one)".to_owned());
        };
        let der = STANDARD.decode(body).ok();
        let key = der.and_then(|der| if form == 0 { Self::inner(&der) } else { Self::outer(&der) });
        key.ok_or_else(|| "the key is damaged, or protected by a password".to_owned())
    }

    /// Reads a key with its kind in front (PKCS #8).
    fn outer(der: &[u8]) -> Option<Self> {
        let (mut sequence, _) = element(der, 0x30)?;
        for tag in [0x02, 0x30] {
            (_, sequence) = element(sequence, tag)?;
        }
        Self::inner(element(sequence, 0x04)?.0)
    }

    /// Reads a bare key (PKCS #1): a version, the modulus, the public exponent and the private one.
    fn inner(der: &[u8]) -> Option<Self> {
        let (rest, _) = element(der, 0x30)?;
        let (_, rest) = element(rest, 0x02)?;
        let (modulus, rest) = element(rest, 0x02)?;
        let (_, rest) = element(rest, 0x02)?;
        let (exponent, _) = element(rest, 0x02)?;
        let [modulus, exponent] = [modulus, exponent].map(BigUint::from_bytes_be);
        let usable = (1..=LONGEST).contains(&modulus.bits()) && exponent < modulus;
        usable.then_some(Self { modulus, exponent })
    }
}

/// Takes an element of DER with a certain tag off the front: its content, and what is behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = der else { return None };
    let (length, rest) = match *length {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) =
                rest.split_at_checked(usize::from(long - 0x80)).filter(|(it, _)| it.len() <= 3)?;
            (digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at_checked(length).filter(|_| *first == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "
        MIICXQIBAAKBgQC+r1S8lH+W64hh/cmK2rQYUFhSwK13ec1BYRAby8IbklHS2CTb
        9r4NNtFlkIibU7JoHaanJ3tMFtkWJvm4YDq8KdjcjiZdFaPsdqOFR31tTO9S9BzY
        c620ye8YEVwPv4zcRDwPJWPLQPkFG1DHahZxyUM5QwAInxV7ZTn76siCLQIDAQAB
        AoGAMGpUGY2a17b16euGQLtG/uVnh5tkb/F9LBx4+pXBsz5ziBVZRoBfwPsqL5+D
        D+0wXz8oEUj1BVzHwdgjj6zfPHcBSeQnEaPCnMPysULPuX+91IJicHs1Co7f8K+5
        //KqkIO5YGhvqyXP26yAw6y8aED/+aKehmCYI9RthaV8PAECQQDqEetJGN7aA05d
        Iqzmo7WhxZ9vwngqLfc0/Wu+DOT3HvgP2apTyE2v2qlED57j+XR/HONgrd82SSUJ
        ESbeLf13AkEA0IzWG+4kd2CcB4rbfl+ukbJAUE7DRvPWIw835lhHolwekcVIurbC
        KNOBT+y5jAUJJRmeNqBM3nuH48T8JDSWewJBAJnYa0AhM6AxmhkHCIOTSHdqj++B
        7z8x9RCEHIPOr9NpLHwmgZgNyFn0K1rLtZB7zkEZ+Kz7uwFQNCJwfo57xeMCQGni
        N4ryu/0IRe/mZk6hUcaTU+fyNV8+ycf/IAiJZcVfM/4axjRWOfn0eMEVlZcrr1rw
        yM0/UgfbfED+cG4JbSUCQQC09dhCOoPNX/L1HwiGE/9B2s9ModNQltK/vGBlUTNO
        75tSLrgu14LYs93i9emIcYxBy675UPG3P81qmSAxa/ZK";
    const CIPHER: &str = "WFoa+HfnD1X+JRPcLbXdlY77YrO1syL8/92Gcw/SCMZEthZJgVIdUgULilbZWqcKdXCln6SxSVYsXKbYmbWIeAD4MvK6xqZHDnP88c35aF1BA5GYfy2DTEcyUtHsbrvN2PtbeRzWgjYktEh0tpAZD6f9xIm5d8/c5pXfvdSFmQQ=";

    fn decrypted(cipher: &str, key: &str) -> Result<Value, String> {
        decrypt(&[Value::string(cipher), Value::string(key)], &World::default())
    }

    fn pem(kind: &str, body: &str) -> String {
        format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
    }

    #[test]
    fn what_was_encrypted_is_read_again() {
        let key = pem("RSA PRIVATE KEY", KEY);
        assert_eq!(decrypted(CIPHER, &key), Ok(Value::string("hello rsa")));
        // The same key with its kind in front.
        let inner = STANDARD.decode(KEY.split_whitespace().collect::<String>()).unwrap();
        let wrapped = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        };
        let kind = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
        let outer = wrapped(0x30, &[&[2, 1, 0], &kind[..], &wrapped(4, &inner)].concat());
        assert_eq!(
            decrypted(CIPHER, &pem("PRIVATE KEY", &STANDARD.encode(outer))),
            Ok(Value::string("hello rsa"))
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let key = pem("RSA PRIVATE KEY", KEY);
        for (cipher, key, error) in [
            ("!", &*key, "the encrypted text is not base64: Invalid symbol 33, offset 0."),
            ("AAAA", &key, "the text was not encrypted for this key"),
            (&"/".repeat(172), &key, "the text was not encrypted for this key: it is too long"),
            (CIPHER, "key", "the key is no RSA key in PEM form (`openssl rsa` writes one)"),
            (CIPHER, &pem("RSA PRIVATE KEY", "MAA="), "the key is damaged, or protected by a password"),
        ] {
            assert_eq!(decrypted(cipher, key), Err(error.to_owned()));
        }
    }
}
