//! Packages that are installed in a root, as the databases of package managers have them.
//!
//! | What | Where | Read |
//! |---|---|---|
//! | dpkg | `var/lib/dpkg/status`, `var/lib/dpkg/status.d/*` | packages that are installed |
//! | apk | `lib/apk/db/installed`, `usr/lib/apk/db/installed` | all |
//! | npm | `node_modules/NAME/package.json`, `node_modules/@SCOPE/NAME/package.json`, anywhere | name and version |
//! | Python | `*.dist-info/METADATA`, `*.egg-info/PKG-INFO`, `*.egg-info`, anywhere | name and version |
//! | Cargo | `Cargo.lock`, anywhere | all, the project's own too |
//! | Cargo | programs, anywhere | the crates that `cargo auditable` wrote into them |
//! | rpm | `rpmdb.sqlite`, `Packages.db`, `Packages`, below `var/lib/rpm` or `usr/lib/sysimage/rpm` | all but the keys of signers |
//! | Ruby | `specifications/*.gemspec`, anywhere | name and version |
//! | Java | `*.jar`, `*.war`, `*.ear`, anywhere | what Maven wrote into them, else names and manifests; archives within them |
//! | Go | programs, anywhere | the modules that they were made of, and the standard library |
//!
//! The databases come with the image, so nothing in them is believed: texts are bounded, what does not fit is left out
//! and counted, and no database keeps the others from being read.

mod cargo;
mod gem;
mod go;
mod jar;
mod pieces;
mod python;
mod rpm;
mod stanzas;

use std::collections::BTreeSet;
use std::io;

use pieces::Trouble;
pub use pieces::{Opened, Pieces};

/// Bytes of a name, a version or an architecture.
const MOST_TEXT: usize = 512;
/// Packages of one root.
const MOST_PACKAGES: usize = 200_000;
/// Files of one root of which it is told that they were not read.
const MOST_LEFT_OUT: usize = 1000;

/// Whose package it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// A package of Debian and what comes from it.
    Deb,
    /// A package of Alpine.
    Apk,
    /// A package of npm.
    Npm,
    /// A distribution of Python.
    Pypi,
    /// A crate of Rust.
    Cargo,
    /// A package of Fedora, Red Hat, SUSE and what comes from them.
    Rpm,
    /// A gem of Ruby.
    Gem,
    /// A module of Go.
    Golang,
    /// A library of Java, as Maven's repositories name it: `GROUP:ARTIFACT`.
    Maven,
}

impl Ecosystem {
    /// Its word in a package URL.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Cargo => "cargo",
            Self::Rpm => "rpm",
            Self::Gem => "gem",
            Self::Golang => "golang",
            Self::Maven => "maven",
        }
    }
}

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Whose package it is.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture it is for, where packages have one.
    pub architecture: Option<String>,
    /// What its maker says about its licence, as it stands there.
    pub licence: Option<String>,
    /// The database that has it: a path in the root.
    pub found_in: String,
}

/// The distribution that a root is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Its word: `debian`.
    pub id: String,
    /// Its version: `12`.
    pub version: String,
}

/// A file that says what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// dpkg's list, or a part of it.
    Dpkg,
    /// apk's list.
    Apk,
    /// The description of one package of npm.
    Npm,
    /// The description of one distribution of Python.
    Python,
    /// What a project of Rust was made with.
    CargoLock,
    /// What the distribution is.
    OsRelease,
    /// rpm's list, in SQLite.
    RpmSqlite,
    /// What is perhaps newer than that, and not read.
    RpmJournal,
    /// rpm's list, in a form of its own.
    RpmNdb,
    /// rpm's list, in Berkeley DB.
    RpmBdb,
    /// The description of one gem.
    Gem,
    /// An archive of Java.
    Jar,
    /// A program, which may be one of Go or Rust.
    Program,
}

impl Database {
    /// Says what a file is, by its path from the root, without a slash at the beginning.
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "var/lib/dpkg/status" => return Some(Self::Dpkg),
            "lib/apk/db/installed" | "usr/lib/apk/db/installed" => return Some(Self::Apk),
            "etc/os-release" | "usr/lib/os-release" => return Some(Self::OsRelease),
            _ => {}
        }
        let of_rpm =
            ["var/lib/rpm/", "usr/lib/sysimage/rpm/"].iter().find_map(|folder| path.strip_prefix(folder));
        match of_rpm {
            Some("rpmdb.sqlite") => return Some(Self::RpmSqlite),
            Some("rpmdb.sqlite-wal") => return Some(Self::RpmJournal),
            Some("Packages.db") => return Some(Self::RpmNdb),
            Some("Packages") => return Some(Self::RpmBdb),
            _ => {}
        }
        if let Some(part) = path.strip_prefix("var/lib/dpkg/status.d/") {
            return (!part.contains('/') && !part.ends_with(".md5sums")).then_some(Self::Dpkg);
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let inner = folder.rsplit('/').next().unwrap_or_default();
        match name {
            "Cargo.lock" => Some(Self::CargoLock),
            "METADATA" => inner.ends_with(".dist-info").then_some(Self::Python),
            "PKG-INFO" => inner.ends_with(".egg-info").then_some(Self::Python),
            "package.json" => is_module(folder).then_some(Self::Npm),
            name if name.ends_with(".egg-info") => Some(Self::Python),
            name if jar::is_called_so(name) => Some(Self::Jar),
            // Those that come with Ruby itself lie one folder deeper.
            name if name.ends_with(".gemspec") => {
                let folder = folder.strip_suffix("/default").unwrap_or(folder);
                (folder.rsplit('/').next() == Some("specifications")).then_some(Self::Gem)
            }
            _ => None,
        }
    }

    /// How many bytes it may have; one that has more is left out. Those that are read in pieces may have many.
    fn most_bytes(self) -> u64 {
        match self {
            Self::Dpkg | Self::Apk => 64 << 20,
            Self::CargoLock => 16 << 20,
            Self::Npm | Self::Python | Self::Gem => 1 << 20,
            Self::OsRelease => 64 << 10,
            Self::RpmSqlite | Self::RpmNdb | Self::RpmBdb | Self::Jar => 2 << 30,
            Self::RpmJournal | Self::Program => u64::MAX,
        }
    }
}

/// Whether a folder is that of a package of npm: `…/node_modules/NAME` or `…/node_modules/@SCOPE/NAME`.
fn is_module(folder: &str) -> bool {
    let mut parts = folder.rsplit('/');
    let name = parts.next();
    let above = parts.next();
    let is_scope = above.is_some_and(|above| above.starts_with('@'));
    name.is_some_and(|name| !name.starts_with(['@', '.']))
        && (above == Some("node_modules") || is_scope && parts.next() == Some("node_modules"))
}

/// What was found in a root.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    packages: BTreeSet<Package>,
    distribution: Option<Distribution>,
    left_out: BTreeSet<String>,
}

impl Inventory {
    /// Reads a database; `path` is where it lies in the root. What is wrong with it is told in [`Inventory::left_out`];
    /// an error is one of the file system.
    pub fn read(&mut self, database: Database, path: &str, file: &dyn Pieces) -> io::Result<()> {
        if file.length() > database.most_bytes() {
            self.leave_out(path, "too large");
            return Ok(());
        }
        let mut found = Found { path, inventory: self, damaged: 0 };
        let read = found.read(database, file);
        let damaged = found.damaged;
        if damaged > 0 {
            self.leave_out(path, &format!("{damaged} entries that cannot be read"));
        }
        match read {
            Ok(()) => Ok(()),
            Err(Trouble::Form(why)) => {
                self.leave_out(path, why);
                Ok(())
            }
            Err(Trouble::Io(error)) => Err(error),
        }
    }

    /// Notes a database that is not read, and why.
    pub fn leave_out(&mut self, path: &str, why: &str) {
        if self.left_out.len() < MOST_LEFT_OUT {
            self.left_out.insert(format!("{path}: {why}"));
        } else {
            self.left_out.insert("and others".to_owned());
        }
    }

    /// The packages, in order.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter()
    }

    /// What could not be read, and why: a path, a colon, a reason.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(String::as_str)
    }

    /// The package URL of a package: `pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12`.
    pub fn url(&self, package: &Package) -> String {
        let name = match package.ecosystem {
            // Its rules have names of Python in lower case, with dashes.
            Ecosystem::Pypi => encoded(&package.name.to_ascii_lowercase().replace('_', "-")),
            Ecosystem::Npm | Ecosystem::Golang => {
                package.name.split('/').map(encoded).collect::<Vec<_>>().join("/")
            }
            Ecosystem::Maven => package.name.split(':').map(encoded).collect::<Vec<_>>().join("/"),
            _ => encoded(&package.name),
        };
        let (epoch, version) = match package.version.split_once(':') {
            Some((epoch, version)) if package.ecosystem == Ecosystem::Rpm => (Some(epoch), version),
            _ => (None, &*package.version),
        };
        let mut url = format!("pkg:{}/", package.ecosystem.word());
        let mut qualifiers = Vec::new();
        if matches!(package.ecosystem, Ecosystem::Deb | Ecosystem::Apk | Ecosystem::Rpm) {
            let distribution = self.distribution.clone().unwrap_or_default();
            let vendor = match (&*distribution.id, package.ecosystem) {
                ("", Ecosystem::Apk) => "alpine",
                ("", Ecosystem::Rpm) => "redhat",
                ("", _) => "debian",
                (id, _) => id,
            };
            url.push_str(&format!("{}/", encoded(vendor)));
            qualifiers.extend(package.architecture.iter().map(|arch| format!("arch={}", encoded(arch))));
            if !distribution.id.is_empty() && !distribution.version.is_empty() {
                let distro = format!("{}-{}", distribution.id, distribution.version);
                qualifiers.push(format!("distro={}", encoded(&distro)));
            }
        }
        qualifiers.extend(epoch.map(|epoch| format!("epoch={}", encoded(epoch))));
        url.push_str(&format!("{name}@{}", encoded(version)));
        if !qualifiers.is_empty() {
            url.push_str(&format!("?{}", qualifiers.join("&")));
        }
        url
    }
}

/// Where the packages of one database go.
struct Found<'a> {
    path: &'a str,
    inventory: &'a mut Inventory,
    damaged: usize,
}

impl Found<'_> {
    fn read(&mut self, database: Database, file: &dyn Pieces) -> Result<(), Trouble> {
        let whole = || file.piece(0, usize::try_from(file.length()).unwrap_or(usize::MAX));
        match database {
            Database::Dpkg => stanzas::dpkg(&whole()?, self),
            Database::Apk => stanzas::apk(&whole()?, self),
            Database::Npm => npm(&whole()?, self),
            Database::Python => python::metadata(&whole()?, self),
            Database::CargoLock => cargo::lock(&whole()?, self),
            Database::Gem => gem::specification(&whole()?, self),
            Database::OsRelease => {
                if let Some(distribution) = stanzas::os_release(&whole()?) {
                    self.inventory.distribution = Some(distribution);
                }
            }
            Database::RpmSqlite => rpm::sqlite::read(file, self)?,
            Database::RpmNdb => rpm::ndb::read(file, self)?,
            Database::RpmBdb => rpm::bdb::read(file, self)?,
            Database::RpmJournal if file.length() > 0 => {
                return Err(Trouble::Form("what stands only in the journal is not read"));
            }
            Database::RpmJournal => {}
            Database::Jar => jar::archive(file, self)?,
            Database::Program => {
                go::program(file, self)?;
                cargo::program(file, self)?;
            }
        }
        Ok(())
    }

    /// Takes a package in, if its texts are texts.
    fn add(&mut self, ecosystem: Ecosystem, name: &str, version: &str, more: More<'_>) {
        let good =
            |text: &str| !text.is_empty() && text.len() <= MOST_TEXT && !text.chars().any(char::is_control);
        if !good(name) || !good(version) || self.inventory.packages.len() >= MOST_PACKAGES {
            self.damaged += 1;
            return;
        }
        let text = |text: Option<&str>| text.filter(|text| good(text)).map(str::to_owned);
        self.inventory.packages.insert(Package {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: text(more.architecture),
            licence: text(more.licence),
            found_in: self.path.to_owned(),
        });
    }
}

/// What some databases know besides name and version.
#[derive(Clone, Copy, Default)]
struct More<'a> {
    architecture: Option<&'a str>,
    licence: Option<&'a str>,
}

/// Reads the description of a package of npm.
fn npm(bytes: &[u8], found: &mut Found<'_>) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        found.damaged += 1;
        return;
    };
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str);
    // Folders of a package have such files too, without a name or a version.
    if let (Some(name), Some(version)) = (text("name"), text("version")) {
        found.add(Ecosystem::Npm, name, version, More { licence: text("license"), ..More::default() });
    }
}

/// Writes a text as a part of a package URL.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
