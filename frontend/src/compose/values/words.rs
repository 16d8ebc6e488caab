//! Command lines, split as a shell splits words, without a shell.

/// A command line, split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// The words.
    pub(crate) words: Vec<String>,
    /// The operator of a shell that ended the reading.
    pub(crate) stopped_at: Option<char>,
}

/// Splits a command line: quotes and backslashes count, and reading ends at the first operator of a shell.
pub(crate) fn split(line: &str) -> Result<Words, String> {
    let mut split = Words::default();
    let mut word = String::new();
    let (mut escaped, mut single, mut double, mut got) = (false, false, false, false);
    // What a shell would run and take the output of stays as it is written, blanks and all.
    let (mut backquoted, mut substituted) = (false, false);
    for c in line.chars() {
        if escaped {
            word.push(c);
            escaped = false;
            got = true;
            continue;
        }
        match c {
            '\\' if single => word.push(c),
            '\\' => escaped = true,
            ' ' | '\t' | '\r' | '\n' if single || double || backquoted || substituted => word.push(c),
            ' ' | '\t' | '\r' | '\n' => {
                if got {
                    split.words.push(std::mem::take(&mut word));
                    got = false;
                }
            }
            '`' if !single && !double && !substituted => {
                backquoted = !backquoted;
                word.push(c);
                got = true;
            }
            '"' if !single && !substituted => {
                got = double || got;
                double = !double;
            }
            '\'' if !double && !substituted => {
                got = single || got;
                single = !single;
            }
            '(' if !single && !double && !backquoted => {
                if substituted || !word.ends_with('$') {
                    return Err("invalid command line string".to_owned());
                }
                substituted = true;
                word.push(c);
            }
            ')' if !single && !double && !backquoted => {
                substituted = !substituted;
                word.push(c);
                got = true;
            }
            ';' | '&' | '|' | '<' | '>' if !(single || double || backquoted || substituted) => {
                if c == '>' && word.chars().next().is_some_and(|c| c.is_ascii_digit()) {
                    got = false;
                }
                split.stopped_at = Some(c);
                break;
            }
            c => {
                word.push(c);
                got = true;
            }
        }
    }
    if got {
        split.words.push(word);
    }
    if escaped || single || double || backquoted || substituted {
        return Err("invalid command line string".to_owned());
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does_and_operators_end_them() {
        let read = |line: &str| split(line).map(|split| split.words.join("|"));
        assert_eq!(read("a 'b c' \"d e\" f\\ g ''").as_deref(), Ok("a|b c|d e|f g|"));
        assert_eq!(read("echo a && echo b").as_deref(), Ok("echo|a"));
        assert_eq!(read("x 2>/dev/null").as_deref(), Ok("x"));
        assert_eq!(split("a; b").map(|split| split.stopped_at), Ok(Some(';')));
        assert!(read("a 'b").is_err());
        assert!(read("a (b)").is_err());
        assert!(read("a `b").is_err());
        assert!(read("echo $((1+2))").is_err());
        assert_eq!(read("a `b c` d$(e f)g").as_deref(), Ok("a|`b c`|d$(e f)g"));
        assert_eq!(read("a 'b`c' \"d$(e\"").as_deref(), Ok("a|b`c|d$(e"));
        assert_eq!(read("a\n  b").as_deref(), Ok("a|b"));
    }
}
