//! What a caller says before loading, what loading asks back, and the answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Location, Source};

use super::fault::fault;

/// What the one who loads says.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The folder the caller is in, absolute.
    pub current_dir: PathBuf,
    /// The user's home, for paths that begin with `~`.
    pub home: Option<PathBuf>,
    /// The caller's environment.
    pub environment: Vec<(String, String)>,
    /// `--file`, `-` for standard input.
    pub files: Vec<String>,
    /// `--project-directory`
    pub project_directory: Option<PathBuf>,
    /// `--project-name`
    pub project_name: Option<String>,
    /// `--env-file`
    pub env_files: Vec<String>,
    /// `--profile`
    pub profiles: Vec<String>,
    /// The services that are asked for, all that are enabled if none.
    pub services: Vec<String>,
    /// Which steps of loading are left out.
    pub skip: Skip,
}

/// Which steps of loading are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skip {
    /// Variables stay as they are written; there is no typed project then.
    pub interpolation: bool,
    /// What the format implies is not spelled out.
    pub normalisation: bool,
    /// Relative paths stay as they are.
    pub path_resolution: bool,
    /// References are not checked.
    pub consistency: bool,
    /// Env files and label files are not read.
    pub env_resolution: bool,
    /// Resources that nobody uses stay.
    pub pruning: bool,
}

/// Something loading has to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// What is in a file; the path is absolute.
    File(PathBuf),
    /// What comes on standard input.
    Stdin,
    /// Where a path leads when its links are followed.
    Followed(PathBuf),
    /// Where the file lies here that is named by a repository or a registry; whoever is asked brings it.
    Remote(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The text of the file.
    Text(Arc<Source>),
    /// There is no such file.
    Missing,
    /// It is a folder.
    Directory,
    /// It is there and cannot be read, for this reason.
    Unreadable(String),
    /// The path with its links followed, or of what was brought.
    Path(PathBuf),
}

/// The answers so far.
#[derive(Clone, Debug, Default)]
pub struct Answers(HashMap<Question, Answer>);

impl Answers {
    /// Adds an answer.
    pub fn add(&mut self, question: Question, answer: Answer) {
        self.0.insert(question, answer);
    }

    /// Returns all of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Question, &Answer)> {
        self.0.iter()
    }

    pub(crate) fn get(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

/// Why loading stops.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// Something has to be known first.
    Needs(Vec<Question>),
    /// Something is wrong.
    Wrong(Box<Diagnostic>),
}

impl Stop {
    /// Gives an error that stands nowhere the place of what led to it.
    pub(crate) fn at(self, place: Option<&Location>) -> Self {
        match (self, place) {
            (Self::Wrong(error), Some(_)) if error.source.is_none() => {
                Self::Wrong(Box::new(Diagnostic { help: error.help, ..*fault(place, error.message) }))
            }
            (stop, _) => stop,
        }
    }
}

impl From<Box<Diagnostic>> for Stop {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self::Wrong(diagnostic)
    }
}

/// A step of loading.
pub(crate) type Loads<T> = Result<T, Stop>;

/// Files as the answers tell of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    /// The answers.
    pub(crate) answers: &'a Answers,
}

impl Files<'_> {
    /// Returns what there is at a path.
    pub(crate) fn look(&self, path: &Path) -> Loads<&Answer> {
        self.ask(Question::File(path.to_owned()))
    }

    pub(crate) fn ask(&self, question: Question) -> Loads<&Answer> {
        self.answers.get(&question).ok_or_else(|| Stop::Needs(vec![question]))
    }

    /// Asks for several things at once, so that the caller is asked once.
    pub(crate) fn want(&self, questions: impl IntoIterator<Item = Question>) -> Loads<()> {
        let open: Vec<Question> =
            questions.into_iter().filter(|question| self.answers.get(question).is_none()).collect();
        if open.is_empty() { Ok(()) } else { Err(Stop::Needs(open)) }
    }

    /// Returns where a file that is named by a repository or a registry lies here.
    pub(crate) fn bring(&self, name: &str) -> Loads<PathBuf> {
        match self.ask(Question::Remote(name.to_owned()))? {
            Answer::Path(path) => Ok(path.clone()),
            Answer::Unreadable(why) => Err(fault(None, format!("read {name}: {why}")).into()),
            _ => Err(fault(None, format!("read {name}: there is no such project")).into()),
        }
    }

    /// Returns the text of a file that has to be there.
    pub(crate) fn read(&self, path: &Path) -> Loads<Arc<Source>> {
        let shown = path.display();
        match self.look(path)? {
            Answer::Text(source) => Ok(Arc::clone(source)),
            Answer::Missing => Err(fault(None, format!("open {shown}: no such file or directory")).into()),
            Answer::Directory => Err(fault(None, format!("read {shown}: is a directory")).into()),
            Answer::Unreadable(why) => Err(fault(None, format!("open {shown}: {why}")).into()),
            Answer::Path(_) => Err(fault(None, format!("read {shown}: is not a file")).into()),
        }
    }
}
