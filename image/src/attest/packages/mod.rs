//! Packages that are installed in a root, as the databases of package managers have them.
//!
//! | What | Where | Read |
//! |---|---|---|
//! | dpkg | `var/lib/dpkg/status`, `var/lib/dpkg/status.d/*` | packages that are installed |
//! | apk | `lib/apk/db/installed`, `usr/lib/apk/db/installed` | all |
//! | npm | `node_modules/NAME/package.json`, `node_modules/@SCOPE/NAME/package.json`, anywhere | name and version |
//! | Python | `*.dist-info/METADATA`, `*.egg-info/PKG-INFO`, `*.egg-info`, anywhere | name and version |
//! | Cargo | `Cargo.lock`, anywhere | all but those without a source: the project's own |
//! | rpm | its databases | nothing: that they are there is told |
//!
//! The databases come with the image, so nothing in them is believed: texts are bounded, what does not fit is left out
//! and counted, and no database keeps the others from being read.

mod cargo;
mod python;
mod stanzas;

use std::collections::BTreeSet;

/// Bytes of a name, a version or an architecture.
const MOST_TEXT: usize = 512;
/// Packages of one root.
const MOST_PACKAGES: usize = 200_000;

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
    /// A list of rpm's, which is not read.
    Rpm,
}

impl Database {
    /// Says what a file is, by its path from the root, without a slash at the beginning.
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "var/lib/dpkg/status" => return Some(Self::Dpkg),
            "lib/apk/db/installed" | "usr/lib/apk/db/installed" => return Some(Self::Apk),
            "etc/os-release" | "usr/lib/os-release" => return Some(Self::OsRelease),
            "var/lib/rpm/rpmdb.sqlite"
            | "usr/lib/sysimage/rpm/rpmdb.sqlite"
            | "var/lib/rpm/Packages"
            | "var/lib/rpm/Packages.db"
            | "usr/lib/sysimage/rpm/Packages.db" => return Some(Self::Rpm),
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
            name => name.ends_with(".egg-info").then_some(Self::Python),
        }
    }

    /// How many bytes of it are read; one that has more is left out.
    pub fn most_bytes(self) -> u64 {
        match self {
            Self::Dpkg | Self::Apk => 64 << 20,
            Self::CargoLock => 16 << 20,
            Self::Npm | Self::Python => 1 << 20,
            Self::OsRelease => 64 << 10,
            Self::Rpm => 0,
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
    /// Reads a database; `path` is where it lies in the root.
    pub fn read(&mut self, database: Database, path: &str, bytes: &[u8]) {
        let mut found = Found { path, inventory: self, damaged: 0 };
        match database {
            Database::Dpkg => stanzas::dpkg(bytes, &mut found),
            Database::Apk => stanzas::apk(bytes, &mut found),
            Database::Npm => npm(bytes, &mut found),
            Database::Python => python::metadata(bytes, &mut found),
            Database::CargoLock => cargo::lock(bytes, &mut found),
            Database::OsRelease => {
                if let Some(distribution) = stanzas::os_release(bytes) {
                    found.inventory.distribution = Some(distribution);
                }
            }
            Database::Rpm => {}
        }
        if found.damaged > 0 {
            let why = format!("{path}: {} entries that cannot be read", found.damaged);
            self.left_out.insert(why);
        }
    }

    /// Notes a database that is not read, and why.
    pub fn leave_out(&mut self, path: &str, why: &str) {
        self.left_out.insert(format!("{path}: {why}"));
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
            Ecosystem::Npm => package.name.split('/').map(encoded).collect::<Vec<_>>().join("/"),
            _ => encoded(&package.name),
        };
        let mut url = format!("pkg:{}/", package.ecosystem.word());
        let mut qualifiers = Vec::new();
        if matches!(package.ecosystem, Ecosystem::Deb | Ecosystem::Apk) {
            let distribution = self.distribution.clone().unwrap_or_default();
            let vendor = match (&*distribution.id, package.ecosystem) {
                ("", Ecosystem::Apk) => "alpine",
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
        url.push_str(&format!("{name}@{}", encoded(&package.version)));
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
