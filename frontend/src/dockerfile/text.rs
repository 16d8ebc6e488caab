//! Joined text that remembers where it came from.
//!
//! An instruction is one text although it may stand on many lines, with comments between them. [`Joined`] is that
//! text plus the place of every piece of it, so that any part of it can still be pointed at in the file.

use std::ops::Range;

use rbuild_model::span::{Span, Spanned};

/// A text put together from pieces of the source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined {
    text: String,
    /// Offset in the text, offset in the source; ascending.
    pieces: Vec<(usize, usize)>,
}

impl Joined {
    pub(crate) fn push(&mut self, source_offset: usize, piece: &str) {
        if !piece.is_empty() || self.pieces.is_empty() {
            self.pieces.push((self.text.len(), source_offset));
            self.text.push_str(piece);
        }
    }

    pub(crate) fn as_slice(&self) -> Slice<'_> {
        Slice { whole: self, start: 0, end: self.text.len() }
    }

    fn offset(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        self.pieces.get(piece).map_or(0, |(start, source)| source + (at - start))
    }

    fn span(&self, range: Range<usize>) -> Span {
        if range.is_empty() {
            let at = match range.start.checked_sub(1) {
                // An empty part at the end of a piece belongs behind the text before it, not to the next line.
                Some(before) => self.offset(before) + 1,
                None => self.offset(0),
            };
            return Span::new(at, at);
        }
        Span::new(self.offset(range.start), self.offset(range.end - 1) + 1)
    }
}

/// A part of a joined text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice<'a> {
    whole: &'a Joined,
    start: usize,
    end: usize,
}

impl<'a> Slice<'a> {
    pub(crate) fn text(&self) -> &'a str {
        &self.whole.text[self.start..self.end]
    }

    pub(crate) fn span(&self) -> Span {
        self.whole.span(self.start..self.end)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns a part by byte offsets relative to this one.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        debug_assert!(range.end <= self.end - self.start);
        Self { whole: self.whole, start: self.start + range.start, end: self.start + range.end }
    }

    /// Returns the part from a byte offset on.
    pub(crate) fn from(&self, start: usize) -> Self {
        self.part(start..self.end - self.start)
    }

    pub(crate) fn trim(&self) -> Self {
        self.trim_start().trim_end()
    }

    pub(crate) fn trim_start(&self) -> Self {
        let text = self.text();
        self.from(text.len() - text.trim_start().len())
    }

    pub(crate) fn trim_end(&self) -> Self {
        self.part(0..self.text().trim_end().len())
    }

    pub(crate) fn word(&self) -> Spanned<String> {
        Spanned::new(self.text().to_owned(), self.span())
    }

    /// Splits at runs of blanks.
    pub(crate) fn fields(&self) -> Vec<Self> {
        let text = self.text();
        text.split(is_blank)
            .filter(|field| !field.is_empty())
            .map(|field| {
                // A field is a part of the text, so its place is the distance of the two.
                let at = field.as_ptr().addr() - text.as_ptr().addr();
                self.part(at..at + field.len())
            })
            .collect()
    }

    /// Splits at the first run of blanks.
    pub(crate) fn split_field(&self) -> (Self, Self) {
        let text = self.text();
        match text.find(is_blank) {
            Some(at) => (self.part(0..at), self.from(at).trim_blanks_start()),
            None => (*self, self.from(text.len())),
        }
    }

    fn trim_blanks_start(&self) -> Self {
        let text = self.text();
        self.from(text.len() - text.trim_start_matches(is_blank).len())
    }
}

/// The blanks that separate words of the file format.
pub(crate) fn is_blank(ch: char) -> bool {
    matches!(ch, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}
