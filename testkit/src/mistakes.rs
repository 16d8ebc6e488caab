//! The table of mistakes (`testdata/errors/texts.txt`): what is said of each, and where.

/// Where a mistake is made, and so which test makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In a Dockerfile that is read and lowered.
    Read,
    /// In an ignore file.
    Ignore,
    /// In a Dockerfile that is built.
    Built,
    /// Where a test of its own is needed: its file instead of the text, its name instead of the place.
    Shown,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The file that holds the mistake.
    pub text: String,
    /// The line, or the line and the column.
    pub place: String,
    /// What BuildKit says of it.
    pub theirs: String,
    /// What rbuild says of it, where that is something else on purpose.
    pub ours: Option<String>,
}

impl Mistake {
    /// Returns what rbuild has to say.
    pub fn said(&self) -> &str {
        self.ours.as_deref().unwrap_or(&self.theirs)
    }
}

/// Returns the rows of a part.
pub fn mistakes(wanted: Part) -> Vec<Mistake> {
    let mut part = Part::Read;
    let mut rows = Vec::new();
    for line in include_str!("../../testdata/errors/texts.txt").lines() {
        match line {
            "ignore" => part = Part::Ignore,
            "built" => part = Part::Built,
            "shown" => part = Part::Shown,
            _ if line.is_empty() || line.starts_with('#') || part != wanted => {}
            row => rows.push(mistake(row)),
        }
    }
    assert!(!rows.is_empty(), "no rows for {wanted:?}");
    rows
}

fn mistake(row: &str) -> Mistake {
    let mut cells = row.strip_prefix("- ").unwrap_or(row).split('\t').map(str::to_owned);
    let mut cell = || cells.next().unwrap_or_else(|| panic!("a cell is missing: {row}"));
    let (text, place, theirs) = (cell(), cell(), cell());
    // A path stands as it is.
    let text = if text.starts_with('"') {
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{row}: {error}"))
    } else {
        text
    };
    Mistake { text, place, theirs, ours: cells.next() }
}
