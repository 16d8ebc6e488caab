//! A table that is drawn in place: a line for each thing, with how far it is.

use std::fmt::Write as _;
use std::time::Instant;

use super::Stage;
use crate::text;

/// What is known, and how many lines of it are on the screen.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    drawn: usize,
}

#[derive(Debug)]
struct Row {
    id: String,
    status: String,
    stage: Stage,
    begun: Instant,
    took: Option<f64>,
}

impl Table {
    /// Notes how far something is.
    pub(super) fn set(&mut self, id: &str, status: &str, stage: Stage) {
        let row = match self.rows.iter_mut().position(|row| row.id == id) {
            Some(at) => &mut self.rows[at],
            None => {
                let id = id.to_owned();
                let begun = Instant::now();
                self.rows.push(Row { id, status: String::new(), stage, begun, took: None });
                self.rows.last_mut().expect("it was just added")
            }
        };
        status.clone_into(&mut row.status);
        if row.stage != Stage::Working && stage == Stage::Working {
            row.begun = Instant::now();
        }
        row.stage = stage;
        row.took = (stage != Stage::Working).then(|| row.begun.elapsed().as_secs_f64());
    }

    /// Returns what draws the table over the one that is there. What does not fit on the screen is left out: what is done
    /// before what is not.
    pub(super) fn draw(&mut self, colour: bool, (columns, lines): (u16, u16)) -> String {
        let room = usize::from(lines).saturating_sub(2);
        let room = if lines == 0 { usize::MAX } else { room.max(1) };
        let columns = if columns == 0 { usize::MAX } else { usize::from(columns) };
        let done = self.rows.iter().filter(|row| row.stage != Stage::Working).count();
        let mut hidden = self.rows.len().saturating_sub(room);
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        let _ = writeln!(text, "\x1b[2K[+] Running {done}/{}", self.rows.len());
        let mut drawn = 1;
        let width = self.rows.iter().map(|row| row.id.chars().count()).max().unwrap_or_default();
        for row in &self.rows {
            if hidden > 0 && row.stage == Stage::Done {
                hidden -= 1;
                continue;
            }
            if drawn > room {
                break;
            }
            let (mark, code) = match row.stage {
                Stage::Working => ("⠿", "34"),
                Stage::Done => ("✔", "32"),
                Stage::Warned => ("!", "33"),
                Stage::Failed => ("✘", "31"),
            };
            let took = row.took.map(|took| format!("{took:.1}s")).unwrap_or_default();
            let line =
                format!("{:width$}  {:10} {took}", text::one_line(&row.id), text::one_line(&row.status));
            let line: String = line.chars().take(columns.saturating_sub(3)).collect();
            let _ = match colour {
                true => writeln!(text, "\x1b[2K \x1b[{code}m{mark}\x1b[0m {}", line.trim_end()),
                false => writeln!(text, "\x1b[2K {mark} {}", line.trim_end()),
            };
            drawn += 1;
        }
        // What was longer before is wiped.
        text.push_str("\x1b[J");
        self.drawn = drawn;
        text
    }

    /// Leaves what is on the screen; the next drawing begins below, with what comes then.
    pub(super) fn leave(&mut self) {
        self.drawn = 0;
        self.rows.retain(|row| row.stage == Stage::Working);
    }
}
