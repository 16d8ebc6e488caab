//! Loading a project: the loader asks, the machine answers, and others' machines where a file lies there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rbuild_frontend::compose::{Answer, Answers, Loaded, Loading, Question, Request, Skip, is_on, load};
use rbuild_model::span::{Diagnostic, Source};

use super::remote;
use crate::cli::compose::Project;
use crate::report::{self, Findings};
use crate::settings::{Environment, Settings};
use crate::terminal::{Paint, Terminal};

/// Returns what a command line asks for.
pub(crate) fn request(
    project: &Project,
    services: &[String],
    skip: Skip,
    environment: &Environment,
) -> anyhow::Result<Request> {
    let current_dir = environment.current_dir()?;
    let mut variables = environment.variables();
    // Files may name the folder, whoever calls.
    if environment.text("PWD").is_none() {
        variables.extend(current_dir.to_str().map(|here| ("PWD".to_owned(), here.to_owned())));
    }
    Ok(Request {
        current_dir,
        home: environment.path("HOME"),
        environment: variables,
        files: project.files.clone(),
        project_directory: project.project_directory.clone(),
        project_name: project.project_name.clone(),
        env_files: project.env_files.clone(),
        profiles: project.profiles.clone(),
        services: services.to_vec(),
        skip,
    })
}

/// Whether names are put together as old projects have it: as the flag says, or COMPOSE_COMPATIBILITY.
pub(crate) fn is_compatible(project: &Project, loaded: &Loaded) -> bool {
    project.compatibility || is_on(loaded.environment.get("COMPOSE_COMPATIBILITY"))
}

/// Returns the settings, which only files from elsewhere need.
pub(crate) type Lazily<'a> = &'a dyn Fn() -> anyhow::Result<Settings>;

/// Loads a project and tells its warnings.
pub(crate) fn loaded(request: &Request, settings: Lazily<'_>, terminal: Terminal) -> anyhow::Result<Loaded> {
    loaded_with(request, Answers::default(), settings, terminal)
}

/// Loads a project of which some answers are known, and tells its warnings.
pub(crate) fn loaded_with(
    request: &Request,
    mut answers: Answers,
    settings: Lazily<'_>,
    terminal: Terminal,
) -> anyhow::Result<Loaded> {
    loop {
        match load(request, &answers) {
            Ok(Loading::Ready(loaded)) => {
                tell(&loaded.warnings, terminal);
                return Ok(*loaded);
            }
            Ok(Loading::Needs(questions)) => {
                for question in questions {
                    let answer = answer(&question, &request.current_dir, settings)?;
                    answers.add(question, answer);
                }
            }
            Err(error) => {
                tell(&error.warnings, terminal);
                return Err(Findings::from(error.diagnostic).into());
            }
        }
    }
}

fn tell(warnings: &[Diagnostic], terminal: Terminal) {
    for warning in warnings {
        let title = terminal.err().colour.paint(Paint::Yellow, "warning:");
        let text = report::warning(warning);
        let place = warning.source.as_ref().map(|source| format!("{}: ", source.name()));
        // Some say it themselves, in Compose's words.
        let place = place.filter(|place| !text.starts_with(place.as_str())).unwrap_or_default();
        terminal.tell(&format!("{title} {place}{text}\n"));
    }
}

fn answer(question: &Question, current: &Path, settings: Lazily<'_>) -> anyhow::Result<Answer> {
    Ok(match question {
        Question::File(path) => {
            let name = path.strip_prefix(current).unwrap_or(path).display().to_string();
            of_read(File::open(path).and_then(read), &name)
        }
        Question::Stdin => of_read(read(io::stdin().lock()), "-"),
        Question::Followed(path) => match std::fs::canonicalize(path) {
            Ok(path) => Answer::Path(path),
            Err(_) => Answer::Missing,
        },
        Question::Remote(name) => Answer::Path(remote::bring(name, &settings()?)?),
    })
}

/// The most bytes that a file may have which says what a project is: nobody writes more, and a device never ends.
const MOST: u64 = 8 << 20;

fn read(text: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = text.take(MOST + 1).read_to_end(&mut bytes)?;
    if length as u64 > MOST {
        return Err(io::Error::other(format!("it has more than {MOST} bytes")));
    }
    Ok(bytes)
}

fn of_read(read: io::Result<Vec<u8>>, name: &str) -> Answer {
    match read.map(String::from_utf8) {
        Ok(Ok(text)) => Answer::Text(Source::new(name, text)),
        Ok(Err(_)) => Answer::Unreadable("it is not UTF-8 text".to_owned()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Answer::Missing,
            io::ErrorKind::IsADirectory => Answer::Directory,
            _ => Answer::Unreadable(error.to_string().to_lowercase()),
        },
    }
}
