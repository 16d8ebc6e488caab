//! What a person should look at before a project is made what its files say, though nothing is wrong with it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rbuild_engine::Engine;
use rbuild_engine::projects::Member;
use rbuild_engine::projects::labels::key;
use rbuild_model::project::{FileSource, Project};

use super::project::Meant;
use crate::terminal::Terminal;
use crate::text;

/// Returns what is doubtful about a project and what there is of it.
pub(super) fn of(meant: &Meant, members: &[Member]) -> Vec<String> {
    let labels = members.iter().filter_map(|member| member.definition.labels.get(key::WORKING_DIR));
    let remote = meant.loaded.as_ref().and_then(|loaded| loaded.remote.as_deref());
    let elsewhere = elsewhere(&meant.model, remote, labels.map(String::as_str));
    elsewhere.into_iter().chain(open_secrets(&meant.model)).collect()
}

/// Returns the name under which a folder has containers, if it has none under this one and is known by two: through a link and
/// as it is. The project's name is that of the folder as it was called.
pub(super) fn other_name(meant: &Meant, engine: &Engine) -> anyhow::Result<Option<String>> {
    let Some(loaded) = &meant.loaded else { return Ok(None) };
    let mut others = BTreeMap::new();
    for mut definition in engine.definitions()? {
        let mut label = |key: &str| definition.labels.remove(key);
        match (label(key::PROJECT), label(key::WORKING_DIR)) {
            (Some(name), _) if name == meant.name.as_str() => return Ok(None),
            (Some(name), Some(folder)) => drop(others.insert(PathBuf::from(folder), name)),
            _ => {}
        }
    }
    others.remove(&loaded.directory);
    if others.is_empty() {
        return Ok(None);
    }
    let Ok(here) = fs::canonicalize(&loaded.directory) else { return Ok(None) };
    let other = others.into_iter().find(|(folder, _)| fs::canonicalize(folder).is_ok_and(|it| it == here));
    Ok(other.map(|(_, name)| name))
}

/// Tells of the other name of a folder, where there is nothing under this one.
pub(super) fn tell_other_name(meant: &Meant, engine: &Engine, terminal: Terminal) -> anyhow::Result<()> {
    if let Some(other) = other_name(meant, engine)? {
        terminal.tell(&format!(
            "note: project {} has no containers; {}\n",
            meant.name,
            of_other_name(&other)
        ));
    }
    Ok(())
}

/// What to do about containers that a folder has under another name.
pub(super) fn of_other_name(other: &str) -> String {
    let other = text::one_line(other);
    format!("this folder has some under its other name: `-p {other}` is about those")
}

/// A project of this name that another folder has is most likely another one; what is brought from elsewhere has another
/// folder in each state.
fn elsewhere<'a>(
    project: &Project,
    remote: Option<&str>,
    mut folders: impl Iterator<Item = &'a str>,
) -> Option<String> {
    if remote.is_some() {
        return None;
    }
    let other = folders.find(|folder| Path::new(folder) != project.directory)?;
    Some(format!(
        "project {} has containers that were made from `{}`: they are taken for this project's, another name \
         (`-p`) keeps them apart",
        project.name,
        text::one_line(other)
    ))
}

/// A secret that everybody may change is none.
fn open_secrets(project: &Project) -> impl Iterator<Item = String> {
    let used = |secret: &str| {
        let services = project.services.values().flat_map(|service| &service.secrets);
        services.into_iter().any(|grant| grant.source.as_str() == secret)
    };
    project.secrets.iter().filter_map(move |(key, secret)| {
        let FileSource::File(path) = &secret.source else { return None };
        let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
        (mode & 0o002 != 0 && used(key.as_str())).then(|| {
            let path = text::one_line(&path.display().to_string());
            format!("secret {key}: everybody may change `{path}` (mode {mode:03o})")
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rbuild_model::project::{FileGrant, FileObject, ProjectName, SecretKey, Service, ServiceName};

    use super::*;

    fn project() -> Project {
        let mut project = Project::named(ProjectName::new("p").expect("a name"));
        project.directory = "/here".into();
        project
    }

    #[test]
    fn a_project_of_another_folder_is_told() {
        let told = |folders: &[&str]| elsewhere(&project(), None, folders.iter().copied());
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["/here"]), None);
        let why = told(&["/here", "/there"]).expect("another folder");
        assert!(why.starts_with("project p has containers that were made from `/there`"), "{why}");
        let brought = elsewhere(&project(), Some("https://example.com/p.git"), ["/there"].into_iter());
        assert_eq!(brought, None, "its folder is that of one commit");
    }

    #[test]
    fn a_secret_that_everybody_may_change_is_told() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("key");
        fs::write(&path, "x").expect("a file");
        let key = SecretKey::new("key").expect("a key");
        let mut project = project();
        let secret = FileObject {
            name: "p_key".to_owned(),
            source: FileSource::File(path.clone()),
            labels: BTreeMap::new(),
            driver: None,
            driver_opts: BTreeMap::new(),
            template_driver: None,
        };
        project.secrets.insert(key.clone(), secret);
        let told = |project: &Project, mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            open_secrets(project).collect::<Vec<_>>()
        };
        assert_eq!(told(&project, 0o777), [""; 0], "nobody gets it");
        let mut web = Service::named(ServiceName::new("web").expect("a name"));
        web.secrets.push(FileGrant { source: key, target: None, uid: None, gid: None, mode: None });
        project.services.insert(web.name.clone(), web);
        assert_eq!(told(&project, 0o644), [""; 0]);
        let why = format!("secret key: everybody may change `{}` (mode 777)", path.display());
        assert_eq!(told(&project, 0o777), [why]);
    }
}
