//! The order in which the reference writes keys that people chose: numbers in them count as numbers (`web2` before
//! `web10`), and signs come before letters.

use std::cmp::Ordering;

/// Compares two keys.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[at], b[at]);
    let (same, behind_digit) = (&a[..at], at > 0 && a[at - 1].is_ascii_digit());
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => x.cmp(&y),
        // What ends a number is shorter than one that goes on.
        (true, false) if behind_digit => Ordering::Less,
        (false, true) if behind_digit => Ordering::Greater,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            // A zero counts where the number has begun before it.
            let begun = (x == '0' || y == '0')
                && same.iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
            number(&a[at..], begun).cmp(&number(&b[at..], begun)).then(x.cmp(&y))
        }
    }
}

/// Returns the number that a text begins with, and how long it is.
fn number(text: &[char], begun: bool) -> (u128, usize) {
    let digits = text.iter().map_while(|c| c.to_digit(10));
    digits.fold((u128::from(begun), 0), |(number, length), digit| {
        (number.saturating_mul(10).saturating_add(u128::from(digit)), length + 1)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_ordered_as_people_count() {
        let mut keys = vec![
            "web10", "web2", "Web1", "_y", "1", "10", "2", "a.b", "a-b", "ab", "a1", "A_B", "AB", "A1B",
            "A01", "A10", "A2", "é", "x100", "x12", "x1b",
        ];
        keys.sort_by(|a, b| natural(a, b));
        let wanted = [
            "_y", "1", "2", "10", "A_B", "A1B", "A01", "A2", "A10", "AB", "Web1", "a-b", "a.b", "a1", "ab",
            "web2", "web10", "x1b", "x12", "x100", "é",
        ];
        assert_eq!(keys, wanted);
    }

    proptest! {
        #[test]
        fn it_is_an_order(mut keys in prop::collection::vec("[ab019._-]{0,6}", 3)) {
            keys.sort_by(|a, b| natural(a, b));
            prop_assert!(natural(&keys[0], &keys[2]) != Ordering::Greater);
            prop_assert_eq!(natural(&keys[0], &keys[1]), natural(&keys[1], &keys[0]).reverse());
        }
    }
}
