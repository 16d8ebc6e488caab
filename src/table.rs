//! Tables like Docker's: columns at least ten wide, three spaces between, nothing behind the last.

use std::fmt::Write as _;

/// Lines of tab-separated cells, to be aligned.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    min_width: usize,
    padding: usize,
}

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

impl Table {
    /// Begins an empty table.
    pub(crate) fn new() -> Self {
        Self::spaced(MIN_WIDTH, PADDING)
    }

    /// Begins an empty table whose columns are at least so wide, with so many spaces between.
    pub(crate) fn spaced(min_width: usize, padding: usize) -> Self {
        Self { rows: Vec::new(), min_width, padding }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds a row whose cells are separated by tabs.
    pub(crate) fn line(&mut self, line: &str) {
        self.row(line.split('\t'));
    }

    /// Returns the table as text.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter(|row| column + 1 < row.len());
                let widest = cells.map(|row| width(&row[column])).max().unwrap_or(0);
                (widest + self.padding).max(self.min_width)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if column + 1 < row.len() {
                    let pad = widths[column].saturating_sub(width(cell));
                    let _ = write!(text, "{:pad$}", "");
                }
            }
            text.push('\n');
        }
        text
    }
}

fn width(cell: &str) -> usize {
    console::measure_text_width(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_as_dockers() {
        let mut table = Table::new();
        table.row(["IMAGE", "CREATED", "SIZE", "COMMENT"]);
        table.row(["8dae32490f3d", "2 seconds ago", "0B", "buildkit.dockerfile.v0"]);
        table.line("<missing>\t19 minutes ago\t1.98MB\t");
        assert_eq!(
            table.render(),
            "IMAGE          CREATED          SIZE      COMMENT\n\
             8dae32490f3d   2 seconds ago    0B        buildkit.dockerfile.v0\n\
             <missing>      19 minutes ago   1.98MB    \n"
        );
    }

    #[test]
    fn an_empty_table_is_empty() {
        assert_eq!(Table::new().render(), "");
    }
}
