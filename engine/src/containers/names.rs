//! Names for containers that nobody named: an adjective and a person of science.

use rbuild_model::container::ContainerName;

const ADJECTIVES: [&str; 48] = [
    "able", "airy", "ample", "avid", "bold", "breezy", "bright", "brisk", "calm", "candid", "cheery",
    "civil", "clever", "crisp", "daring", "deft", "eager", "earnest", "fair", "fleet", "fond", "frank",
    "gentle", "glad", "hardy", "hearty", "humble", "jolly", "keen", "kind", "lively", "loyal", "merry",
    "mild", "neat", "nimble", "noble", "patient", "placid", "plucky", "proud", "quick", "quiet", "ready",
    "steady", "sunny", "tidy", "witty",
];

const PEOPLE: [&str; 48] = [
    "abel",
    "ampere",
    "banach",
    "boole",
    "cantor",
    "carson",
    "cauchy",
    "celsius",
    "chandra",
    "cori",
    "dalton",
    "dirac",
    "erdos",
    "fermi",
    "fibonacci",
    "fourier",
    "frege",
    "galois",
    "gauss",
    "germain",
    "haber",
    "hamming",
    "herschel",
    "hilbert",
    "hypatia",
    "joule",
    "kepler",
    "klein",
    "kovalevskaya",
    "laplace",
    "leibniz",
    "linnaeus",
    "markov",
    "maxwell",
    "meitner",
    "mendel",
    "mirzakhani",
    "noether",
    "ohm",
    "pascal",
    "planck",
    "ramanujan",
    "riemann",
    "shannon",
    "tesla",
    "turing",
    "volta",
    "wu",
];

/// Returns the name that random bits come to; `attempt` above zero adds a digit, because the name was taken.
pub(super) fn generate(bits: [u8; 3], attempt: u32) -> ContainerName {
    let adjective = ADJECTIVES[usize::from(bits[0]) % ADJECTIVES.len()];
    let person = PEOPLE[usize::from(bits[1]) % PEOPLE.len()];
    let text = match attempt {
        0 => format!("{adjective}_{person}"),
        _ => format!("{adjective}_{person}{}", bits[2] % 10),
    };
    ContainerName::new(&text).expect("words of lower-case letters, a line and a digit are a name")
}

#[cfg(test)]
mod tests {
    use super::generate;

    #[test]
    fn names_are_words_and_then_digits() {
        assert_eq!(generate([0, 0, 7], 0).as_str(), "able_abel");
        assert_eq!(generate([47, 47, 7], 1).as_str(), "witty_wu7");
        for bits in 0..=255 {
            generate([bits, bits, bits], 1);
        }
    }
}
