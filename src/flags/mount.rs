//! What a container sees besides its root: `--mount`, `--volume` and `--tmpfs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_model::container::{BindRecursion, MountAsked, TmpfsMount, TmpfsUse};
use rbuild_model::volume::VolumeName;

use super::{Invalid, Read, csv, output::Mode, size, unknown};

/// A mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunMount {
    /// The absolute path in the container.
    pub(crate) target: String,
    /// Whether writing is refused.
    pub(crate) read_only: Mode,
    /// What is mounted.
    pub(crate) kind: MountKind,
    /// In which form it is asked for.
    pub(crate) asked: MountAsked,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// A file or folder of the host.
    Bind {
        /// Its path, as written.
        source: PathBuf,
        /// How later mounts below it travel.
        propagation: Propagation,
        /// Which of the mounts below it come along.
        recursion: BindRecursion,
        /// Whether a missing folder is made.
        create: Mode,
    },
    /// A volume.
    Volume {
        /// Its name; `None` for one of the container's own.
        name: Option<String>,
        /// Whether an empty volume gets what the image has at the target.
        copy: Mode,
        /// A folder in it.
        subpath: Option<String>,
        /// What a new one is made with.
        made: VolumeMaking,
    },
    /// A folder in memory.
    Tmpfs(TmpfsUse),
    /// The root of an image; it is never written to.
    Image {
        /// Its name or id.
        reference: String,
        /// A folder in it.
        subpath: Option<String>,
    },
}

/// What a new volume is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VolumeMaking {
    /// Who keeps it; `None` for the default.
    pub(crate) driver: Option<String>,
    /// Options of its driver.
    pub(crate) options: BTreeMap<String, String>,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// How mounts and unmounts travel between host and container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// Not at all, with what is mounted below.
    #[default]
    RecursivePrivate,
    /// Not at all.
    Private,
    /// Both ways, with what is mounted below.
    RecursiveShared,
    /// Both ways.
    Shared,
    /// Into the container, with what is mounted below.
    RecursiveSlave,
    /// Into the container.
    Slave,
}

const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

impl Propagation {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "private" => Self::Private,
            "rprivate" => Self::RecursivePrivate,
            "shared" => Self::Shared,
            "rshared" => Self::RecursiveShared,
            "slave" => Self::Slave,
            "rslave" => Self::RecursiveSlave,
            _ => return None,
        })
    }
}

/// Reads `--mount type=bind|volume|tmpfs|image,key=value,...`.
pub(crate) fn mount(text: &str) -> Read<RunMount> {
    let mut draft = Draft::default();
    for field in csv::fields(text)? {
        draft.read(&field)?;
    }
    draft.finish()
}

#[derive(Default)]
struct Draft {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<Propagation>,
    recursion: BindRecursion,
    no_copy: bool,
    making: VolumeMaking,
    subpath: Option<String>,
    size: Option<u64>,
    mode: Option<u32>,
    /// Keys that belong to one kind, to be checked when the kind is known.
    special: Vec<(&'static str, &'static str)>,
}

const KEYS: &[&str] = &[
    "type",
    "source",
    "src",
    "target",
    "destination",
    "dst",
    "readonly",
    "ro",
    "bind-propagation",
    "bind-nonrecursive",
    "bind-recursive",
    "volume-nocopy",
    "volume-subpath",
    "volume-driver",
    "volume-opt",
    "volume-label",
    "tmpfs-size",
    "tmpfs-mode",
    "image-subpath",
];

impl Draft {
    fn read(&mut self, field: &csv::Field) -> Read<()> {
        match field.key.as_str() {
            "type" => self.kind = Some(field.required()?.to_ascii_lowercase()),
            "source" | "src" => self.source = given(field)?,
            "target" | "destination" | "dst" => self.target = given(field)?,
            "readonly" | "ro" => self.read_only = field.truth()?,
            "bind-propagation" => {
                let read = |word: String| {
                    Propagation::read(&word).ok_or_else(|| unknown("propagation", &word, PROPAGATIONS).late())
                };
                self.propagation = given(field)?.map(read).transpose()?;
                self.special.push(("bind", "bind-propagation"));
            }
            "bind-nonrecursive" => {
                if field.truth()? {
                    self.recursion = BindRecursion::One;
                }
                self.special.push(("bind", "bind-nonrecursive"));
            }
            "bind-recursive" => {
                const WORDS: &[&str] = &["enabled", "disabled", "writable", "readonly"];
                self.recursion = match field.required()? {
                    "enabled" => BindRecursion::All,
                    "disabled" => BindRecursion::One,
                    "writable" => BindRecursion::Writable,
                    "readonly" => BindRecursion::ReadOnly,
                    other => return Err(unknown("value of `bind-recursive`", other, WORDS)),
                };
                self.special.push(("bind", "bind-recursive"));
            }
            "volume-nocopy" => {
                self.no_copy = field.truth()?;
                self.special.push(("volume", "volume-nocopy"));
            }
            "volume-subpath" => {
                self.subpath = given(field)?;
                self.special.push(("volume", "volume-subpath"));
            }
            "tmpfs-size" => {
                self.size = Some(size::bytes(field.required()?)?);
                self.special.push(("tmpfs", "tmpfs-size"));
            }
            "tmpfs-mode" => {
                self.mode = Some(mode(field.required()?)?);
                self.special.push(("tmpfs", "tmpfs-mode"));
            }
            "image-subpath" => {
                self.subpath = given(field)?;
                self.special.push(("image", "image-subpath"));
            }
            "volume-driver" => {
                self.making.driver = given(field)?;
                self.special.push(("volume", "volume-driver"));
            }
            key @ ("volume-opt" | "volume-label") => {
                let (list, key) = match key {
                    "volume-opt" => (&mut self.making.options, "volume-opt"),
                    _ => (&mut self.making.labels, "volume-label"),
                };
                let (name, value) = field.required()?.split_once('=').unwrap_or((field.required()?, ""));
                list.insert(name.to_owned(), value.to_owned());
                self.special.push(("volume", key));
            }
            // It means something where the host is another machine only.
            "consistency" => {}
            other => return Err(unknown("key", other, KEYS)),
        }
        Ok(())
    }

    fn finish(self) -> Read<RunMount> {
        self.check_recursion()?;
        let kind = self.kind.as_deref().unwrap_or("volume");
        let target = self.target.ok_or_else(|| Invalid::new("no `target`: write `target=/PATH`"))?;
        let target = absolute(target).map_err(Invalid::late)?;
        if let Some((owner, key)) = self.special.iter().find(|(owner, _)| *owner != kind) {
            return Err(Invalid::new(format!(
                "`{key}` belongs to type `{owner}`, and this is type `{kind}`"
            )));
        }
        let kind = match kind {
            "bind" => MountKind::Bind {
                source: self
                    .source
                    .ok_or_else(|| Invalid::new("no `source`: a bind mount needs `source=PATH`").late())?
                    .into(),
                propagation: self.propagation.unwrap_or_default(),
                recursion: self.recursion,
                create: Mode::Off,
            },
            "volume" => {
                if let Some(name) = &self.source {
                    check_volume_name(name).map_err(Invalid::late)?;
                }
                let copy = (!self.no_copy).into();
                MountKind::Volume { name: self.source, copy, subpath: self.subpath, made: self.making }
            }
            "tmpfs" => {
                if self.source.is_some() {
                    return Err(Invalid::new("a tmpfs has no `source`").late());
                }
                MountKind::Tmpfs(TmpfsUse::new(self.size, self.mode))
            }
            "image" => MountKind::Image {
                reference: self
                    .source
                    .ok_or_else(|| Invalid::new("no `source`: an image mount needs `source=IMAGE`").late())?,
                subpath: self.subpath,
            },
            later @ ("cluster" | "npipe") => {
                return Err(Invalid::new(format!("mounts of type `{later}` are not supported")).late());
            }
            other => {
                return Err(unknown("type of mount", other, &["bind", "volume", "tmpfs", "image"]).late());
            }
        };
        Ok(RunMount { target, read_only: self.read_only.into(), kind, asked: MountAsked::long() })
    }

    /// What is read-only in part, or all the way down, is read-only.
    fn check_recursion(&self) -> Read<()> {
        let word = match self.recursion {
            BindRecursion::All | BindRecursion::One => return Ok(()),
            BindRecursion::Writable => "writable",
            BindRecursion::ReadOnly => "readonly",
        };
        let needs = |what: &str| {
            let why =
                format!("option 'bind-recursive={word}' requires '{what}' to be specified in conjunction");
            Err(Invalid::new(why))
        };
        if !self.read_only {
            return needs("readonly");
        }
        if self.recursion == BindRecursion::ReadOnly
            && self.propagation != Some(Propagation::RecursivePrivate)
        {
            return needs("bind-propagation=rprivate");
        }
        Ok(())
    }
}

/// Returns the value of a key; an empty one, as an unset variable leaves it, says nothing.
fn given(field: &csv::Field) -> Read<Option<String>> {
    match field.value.as_deref() {
        Some("") => Ok(None),
        _ => Ok(Some(field.required()?.to_owned())),
    }
}

/// What the options of a `--volume` say.
#[derive(Default)]
struct Options {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
}

impl Options {
    /// Reads them; of each kind there is one.
    fn read(text: &str) -> Read<Self> {
        let mut options = Self::default();
        let mut kinds: Vec<&str> = Vec::new();
        for option in text.split(',') {
            let kind = match option {
                "ro" | "rw" => {
                    options.read_only = option == "ro";
                    "access"
                }
                "nocopy" => {
                    options.no_copy = true;
                    "copy"
                }
                // As in projects: nothing is labelled.
                "z" | "Z" => "label",
                "cached" | "delegated" | "consistent" => "consistency",
                "" => return Err(Invalid::new("an empty option: write `[SOURCE:]TARGET[:OPTIONS]`")),
                other => {
                    options.propagation = Some(Propagation::read(other).ok_or_else(|| {
                        unknown("option", other, &["ro", "rw", "nocopy", "rshared", "rslave", "rprivate"])
                    })?);
                    "propagation"
                }
            };
            if kinds.contains(&kind) {
                let why = "repeats or contradicts what is said before it";
                return Err(Invalid::new(format!("invalid mode: {text}: `{option}` {why}")));
            }
            kinds.push(kind);
        }
        Ok(options)
    }
}

/// What Docker's command finds in the text of a `--volume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sections {
    /// All of it is the target.
    Target,
    /// There is a source, too.
    More,
}

/// Reads how far a text is the target alone. As Docker's command has it, a letter and a colon begin a path of another system: they are
/// part of what they stand in.
fn sections(text: &str) -> Read<Sections> {
    let wrong = |what: &str| Err(Invalid::new(format!("invalid spec: {text}: {what}")).early());
    match text.len() {
        0 => return Err(Invalid::new("invalid empty volume spec").early()),
        1 | 2 => return Ok(Sections::Target),
        _ => {}
    }
    let mut found = 0;
    let mut section = String::new();
    for c in text.chars() {
        let mut letters = section.chars();
        let is_drive = letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none();
        if c != ':' || is_drive {
            section.push(c);
        } else if section.is_empty() {
            return wrong("empty section between colons");
        } else if found == 2 {
            return wrong("too many colons");
        } else {
            found += 1;
            section.clear();
        }
    }
    match found {
        _ if section.is_empty() => wrong("empty section between colons"),
        0 => Ok(Sections::Target),
        _ => Ok(Sections::More),
    }
}

/// Reads `--volume [SOURCE:]TARGET[:OPTIONS]`; a source with a slash or dot first is a path, else a volume's name. A target alone need
/// not begin with a slash.
pub(crate) fn volume(text: &str) -> Read<RunMount> {
    if sections(text)? == Sections::Target {
        let target = absolute(format!("/{}", text.trim_start_matches('/')))?;
        let kind =
            MountKind::Volume { name: None, copy: Mode::On, subpath: None, made: VolumeMaking::default() };
        return Ok(RunMount { target, read_only: Mode::Off, kind, asked: MountAsked::Target });
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, written) = match parts[..] {
        [source, target] => (source, target, None),
        [source, target, options] => (source, target, Some(options)),
        _ => return Err(Invalid::new("write `[SOURCE:]TARGET[:OPTIONS]`, as in `./data:/data:ro`")),
    };
    if source.is_empty() || target.is_empty() {
        return Err(Invalid::new("an empty path: write `[SOURCE:]TARGET[:OPTIONS]`"));
    }
    let target = absolute(target.to_owned())?;
    let Options { read_only, no_copy, propagation } =
        written.map(Options::read).transpose()?.unwrap_or_default();
    let path = Some(source).filter(|source| source.starts_with(['/', '.', '~']));
    let kind = match path {
        Some(path) if path.starts_with('~') => {
            return Err(Invalid::new(format!("`{path}` is for the shell to expand: leave it unquoted")));
        }
        Some(_) if no_copy => {
            return Err(Invalid::new(
                "`nocopy` is for volumes: nothing is ever copied into a folder of the host",
            ));
        }
        Some(path) => MountKind::Bind {
            source: path.into(),
            propagation: propagation.unwrap_or_default(),
            recursion: BindRecursion::All,
            create: Mode::On,
        },
        None if propagation.is_some() => {
            return Err(Invalid::new(
                "mounts spread in folders of the host only: a volume has no propagation",
            ));
        }
        None => {
            check_volume_name(source)?;
            let (name, copy) = (Some(source.to_owned()), (!no_copy).into());
            MountKind::Volume { name, copy, subpath: None, made: VolumeMaking::default() }
        }
    };
    let asked = MountAsked::Short { options: written.unwrap_or_default().to_owned() };
    Ok(RunMount { target, read_only: read_only.into(), kind, asked })
}

/// Reads `--tmpfs TARGET[:OPTIONS]`.
pub(crate) fn tmpfs(text: &str) -> Read<RunMount> {
    let TmpfsMount { target, folder, read_only } =
        text.parse().map_err(|error| Invalid::new(format!("{error}")))?;
    let (kind, asked) = (MountKind::Tmpfs(folder), MountAsked::default());
    Ok(RunMount { target, read_only: read_only.into(), kind, asked })
}

fn absolute(target: String) -> Read<String> {
    if !target.starts_with('/') {
        return Err(Invalid::new(format!("`{target}` is not an absolute path in the container")));
    }
    if target.split('/').all(|part| matches!(part, "" | ".")) {
        return Err(Invalid::new("nothing can be mounted over `/`"));
    }
    Ok(target)
}

fn mode(text: &str) -> Read<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        Invalid::new(format!("`{text}` are no permissions: write them in octal, as in `1777`"))
    })
}

fn check_volume_name(name: &str) -> Read<()> {
    name.parse::<VolumeName>().map(drop).map_err(|error| Invalid::new(format!("{error}")))
}
