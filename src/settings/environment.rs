//! The environment, read once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clap::ValueEnum;
use rbuild_model::platform::Platform;

use crate::progress::Mode;
use crate::report::Mistake;

/// The caller's variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

/// A proxy variable of the caller, for build arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Its name as it was set.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

/// The names of proxy variables, in upper case.
const PROXIES: &[&str] = &["ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl Environment {
    /// Returns a variable, if it is set and is text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str()).map(str::to_owned)
    }

    /// Returns the variables that are text.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let text = |value: &OsString| value.to_str().map(str::to_owned);
        self.0.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
    }

    /// Returns a variable that is a path, if it is set and not empty.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Returns the current folder as the caller's shell calls it, by way of links, else as the kernel does.
    pub(crate) fn current_dir(&self) -> io::Result<PathBuf> {
        let called = self.path("PWD").filter(|path| path.is_absolute());
        let identity = |path: &PathBuf| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        match called {
            Some(path) if matches!((identity(&path), identity(&".".into())), (Ok(a), Ok(b)) if a == b) => {
                Ok(path)
            }
            _ => std::env::current_dir(),
        }
    }

    /// Returns the caller's proxies.
    pub(crate) fn proxies(&self) -> Vec<Proxy> {
        let names = self.0.keys().filter_map(|name| name.to_str());
        names
            .filter(|name| PROXIES.contains(&name.to_ascii_uppercase().as_str()))
            .filter_map(|name| Some(Proxy { name: name.to_owned(), value: self.text(name)? }))
            .filter(|proxy| !proxy.value.is_empty())
            .collect()
    }

    /// Returns how progress is to be shown.
    pub(super) fn progress(&self) -> Result<Option<Mode>, Mistake> {
        for name in ["RBUILD_PROGRESS", "BUILDKIT_PROGRESS"] {
            if let Some(value) = self.text(name).filter(|value| !value.is_empty()) {
                return Mode::from_str(&value, false).map(Some).map_err(|_| {
                    Mistake::usage(format!("{name} is `{value}`"))
                        .hint("use auto, tty, plain, quiet, none or rawjson")
                });
            }
        }
        Ok(None)
    }

    /// Returns the time of everything that is made, as it is written: for a build it may be the name of what has the time.
    pub(crate) fn epoch(&self) -> Option<String> {
        self.text("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty())
    }

    /// Returns the most that images and the cache may take.
    pub(super) fn cache_max(&self) -> Result<Option<u64>, Mistake> {
        let Some(value) = self.text("RBUILD_CACHE_MAX").filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let read = crate::flags::bytes(&value);
        read.map(Some).map_err(|error| Mistake::usage(format!("RBUILD_CACHE_MAX is `{value}`: {error}")))
    }

    /// Returns the platform where no flag says it.
    pub(super) fn platform(&self) -> Result<Option<Platform>, Mistake> {
        let Some(value) = self.text("DOCKER_DEFAULT_PLATFORM").filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|error| Mistake::usage(format!("DOCKER_DEFAULT_PLATFORM: {error}")))
    }
}
