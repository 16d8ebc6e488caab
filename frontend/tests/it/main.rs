//! Dockerfiles as data: a text in `fixtures/`, what comes of it in a snapshot.

mod bake;
mod corpus;
mod errors;
mod hostile;
mod ignore;
mod lower;
mod parse;
mod peer;
mod support;
mod targets;
