//! Text to model, without I/O: Dockerfiles, ignore files, lint.
