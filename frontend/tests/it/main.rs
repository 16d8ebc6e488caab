//! Dockerfiles as data: a text in `fixtures/`, what comes of it in a snapshot.

mod lower;
mod parse;
mod support;
