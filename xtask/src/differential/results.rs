//! What came of the cases of a run: a file that the next run goes on from, and the table that the docs show.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::name_of;

/// Between these lines of the docs stands what a run came to.
const MARKS: [&str; 2] = ["<!-- the last run -->\n", "<!-- its end -->\n"];

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Equal,
    /// Different, and the case says so.
    Meant,
    Differs,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Equal, Self::Meant, Self::Differs];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Meant => "differs as expected",
            Self::Differs => "differs",
        }
    }
}

/// The results of a run: what was compared in the first line, then a case each, `NAME: OUTCOME`. The last line of a case
/// counts, so that a case that differed can be built again.
#[derive(Debug)]
pub(super) struct Results {
    compared: String,
    outcomes: BTreeMap<String, Outcome>,
    file: Option<File>,
}

impl Results {
    /// Begins results that nothing keeps.
    pub(super) fn new(compared: String) -> Self {
        Self { compared, outcomes: BTreeMap::new(), file: None }
    }

    /// Goes on with the results of a file, which have to be of the same comparison, or begins them.
    pub(super) fn resume(path: &Path, compared: String) -> Result<Self> {
        let mut results = if path.exists() { Self::read(path)? } else { Self::new(compared.clone()) };
        ensure!(
            results.compared == compared,
            "{} holds results of {}, this is {compared}: name another file",
            path.display(),
            results.compared
        );
        let failed = || format!("failed to write {}", path.display());
        // Written anew beside it: of a run that was killed neither half a line nor half a file remains.
        let mut whole = path.as_os_str().to_owned();
        whole.push(".new");
        let whole = PathBuf::from(whole);
        fs::write(&whole, results.text()).with_context(failed)?;
        fs::rename(&whole, path).with_context(failed)?;
        results.file = Some(File::options().append(true).open(path).with_context(failed)?);
        Ok(results)
    }

    /// Reads the results of a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("no results in {}", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (compared, cases) = text.split_once('\n')?;
        let mut results = Self::new(compared.to_owned());
        for line in cases.lines() {
            let known = |told: &str| Outcome::ALL.into_iter().find(|outcome| outcome.text() == told);
            // The last line of a run that was killed may be half a line.
            if let Some((name, told)) = line.split_once(": ")
                && let Some(outcome) = known(told)
            {
                results.outcomes.insert(name.to_owned(), outcome);
            }
        }
        Some(results)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.compared);
        for (name, outcome) in &self.outcomes {
            let _ = writeln!(text, "{name}: {}", outcome.text());
        }
        text
    }

    /// Tells whether a case need not be built again.
    pub(super) fn is_done(&self, name: &str) -> bool {
        self.outcomes.get(name).is_some_and(|outcome| *outcome != Outcome::Differs)
    }

    pub(super) fn add(&mut self, name: &str, outcome: Outcome) -> Result<()> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{name}: {}", outcome.text()).context("failed to keep a result")?;
        }
        self.outcomes.insert(name.to_owned(), outcome);
        Ok(())
    }

    /// Returns the cases that differ and are not meant to, or have no result, of those named.
    pub(super) fn differing<'a>(&self, cases: &'a [PathBuf]) -> Vec<&'a str> {
        cases.iter().map(|case| name_of(case)).filter(|name| !self.is_done(name)).collect()
    }

    /// Writes the table of a complete run into a page of the docs, between its marks.
    pub(super) fn write(&self, cases: &[PathBuf], sections: &Path, page: &Path) -> Result<()> {
        let text = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
        };
        let names: Vec<&str> = cases.iter().map(|case| name_of(case)).collect();
        let table = self.table(&names, &text(sections)?)?;
        let old = text(page)?;
        let new = between_marks(&old, &table).with_context(|| format!("no marks in {}", page.display()))?;
        let words: HashSet<&str> =
            new.split(|letter: char| !letter.is_alphanumeric() && letter != '-').collect();
        let unnamed: Vec<&&str> = names
            .iter()
            .filter(|name| self.outcomes.get(**name) == Some(&Outcome::Meant) && !words.contains(**name))
            .collect();
        ensure!(unnamed.is_empty(), "{} does not name {unnamed:?}, which differ as meant", page.display());
        fs::write(page, new).with_context(|| format!("failed to write {}", page.display()))
    }

    fn table(&self, names: &[&str], sections: &str) -> Result<String> {
        let sections = read_sections(sections)?;
        let mut counts = vec![(0, 0); sections.len()];
        for name in names {
            let at = section_of(name, &sections).with_context(|| format!("{name} is in no section"))?;
            let outcome = self.outcomes.get(*name).with_context(|| format!("{name} has no result"))?;
            ensure!(*outcome != Outcome::Differs, "{name} differs, which is not meant");
            let (equal, meant) = &mut counts[at];
            *if *outcome == Outcome::Equal { equal } else { meant } += 1;
        }
        let mut table =
            format!("The last complete run, of all {} cases: {}.\n\n", names.len(), self.compared);
        table.push_str("| Section | Cases | Equal | Different, as meant |\n|---|---|---|---|\n");
        let total = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        let titles = sections.iter().map(|(title, _)| *title).chain(["all"]);
        for (title, (equal, meant)) in titles.zip(counts.into_iter().chain([total])) {
            let _ = writeln!(table, "| {title} | {} | {equal} | {meant} |", equal + meant);
        }
        Ok(table)
    }
}

/// Puts a text between the marks of a page; `None` if it has none.
fn between_marks(page: &str, text: &str) -> Option<String> {
    let [begin, end] = MARKS;
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

/// Reads sections: each its title, and the beginnings of the names of its cases.
fn read_sections(text: &str) -> Result<Vec<(&str, Vec<&str>)>> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (title, beginnings) =
                line.split_once(": ").with_context(|| format!("no title in {line:?}"))?;
            Ok((title, beginnings.split(' ').collect()))
        })
        .collect()
}

/// Finds the section that has the longest beginning of a name, in whole words.
fn section_of(name: &str, sections: &[(&str, Vec<&str>)]) -> Option<usize> {
    let begins = |beginning: &&&str| {
        name.strip_prefix(**beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let longest =
        |beginnings: &[&str]| beginnings.iter().filter(begins).map(|beginning| beginning.len()).max();
    let found =
        sections.iter().enumerate().filter_map(|(at, section)| Some((longest(&section.1)?, at))).max()?;
    Some(found.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTIONS: &str = "# titles\nCOPY: copy dest\nnames: copy-name lex\n";

    #[test]
    fn a_run_goes_on_where_it_was_killed() {
        let mut results =
            Results::parse("a with b\ncopy: equal\nlex-a: equal\nlex-a: differs\ncopy-name-x: dif").unwrap();
        assert_eq!(["copy", "lex-a", "copy-name-x"].map(|name| results.is_done(name)), [true, false, false]);
        assert_eq!(results.text(), "a with b\ncopy: equal\nlex-a: differs\n");
        results.add("lex-a", Outcome::Meant).unwrap();
        results.add("copy-name-x", Outcome::Equal).unwrap();
        assert_eq!(
            results.table(&["copy", "copy-name-x", "lex-a"], SECTIONS).unwrap(),
            "The last complete run, of all 3 cases: a with b.\n\n\
             | Section | Cases | Equal | Different, as meant |\n|---|---|---|---|\n\
             | COPY | 1 | 1 | 0 |\n| names | 2 | 1 | 1 |\n| all | 3 | 2 | 1 |\n"
        );
        for (name, wrong) in [("copy-x", "copy-x has no result"), ("run", "run is in no section")] {
            assert_eq!(results.table(&["copy", name], SECTIONS).unwrap_err().to_string(), wrong);
        }
        results.add("copy", Outcome::Differs).unwrap();
        assert!(results.table(&["copy"], SECTIONS).is_err());
    }

    #[test]
    fn the_table_stands_between_its_marks() {
        let page = "a\n<!-- the last run -->\nold\n<!-- its end -->\nb\n";
        let expected = "a\n<!-- the last run -->\nnew\n<!-- its end -->\nb\n";
        assert_eq!(between_marks(page, "new\n").as_deref(), Some(expected));
        assert_eq!(between_marks("a\n", "new\n"), None);
    }
}
