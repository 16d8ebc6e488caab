//! Image rows, tags, identity, and how images come and go.
