//! Truth values as text.

/// Reads a truth value as Docker's programs do: `1`, `t` and `true`, or `0`, `f` and `false`, in three cases.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_bool;

    #[test]
    fn a_truth_value_has_few_spellings() {
        assert_eq!(["1", "t", "True"].map(parse_bool), [Some(true); 3]);
        assert_eq!(["0", "F", "false"].map(parse_bool), [Some(false); 3]);
        assert_eq!(["", "yes", "tRUE", " true"].map(parse_bool), [None; 4]);
    }
}
