//! What a network has given out: one file of addresses, names and running endpoints.
//!
//! `<runtime>/networks/<network>.json` is replaced as a whole ([`volatile`]), and only by [`NetworkFile::update`] under the
//! lock `<network>.lock` beside it. Readers take no lock: they see the file before or after a change. It lives where
//! nothing survives a reboot, so nothing is synced. The file of a network without IPv4 is `<network>.six`: older programs
//! that still run read every file called `.json`, and one that they do not understand would take all others from them.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::address::{AddressRange, Mac, Subnet};
use crate::address6::Subnet6;
use crate::driver::{
    EndpointAddress, GatewayMode, GatewayModes, Guard, Masquerade, NameScope, Placed, PortIsolation, Reach,
};
use crate::error::FileError;
use crate::families::Families;
use crate::link::LinkName;
use crate::lock::Lock;
use crate::ports::Published;
use crate::volatile;
use lasting::Lasting;

/// The version of the file's form. A file of another version belongs to another binary that runs now.
///
/// 1 knew neither IPv6 nor names of networks; what it lacks has a meaning of its own. 3 may lack IPv4; a network that has
/// it is written as 2, which older programs that run beside this one read, any other where they do not look.
const FORMAT: u32 = 3;
const FORMAT_WITH_IPV4: u32 = 2;
const OLDEST_FORMAT: u32 = 1;
/// The endings of the files' names.
const WITH_IPV4: &str = "json";
const WITHOUT_IPV4: &str = "six";
const LOCK: &str = "lock";
/// A file of ten thousand endpoints has about 3 MiB.
const LARGEST_FILE: u64 = 16 << 20;

/// A text that cannot be the id of a network or endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot identify {what}: 1 to 128 of a-z, A-Z, 0-9, `_`, `-`, not beginning with a sign", text.escape_default())]
pub struct IdError {
    text: String,
    what: &'static str,
}

fn check_id(text: &str, what: &'static str) -> Result<String, IdError> {
    let fits = (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && text.as_bytes()[0].is_ascii_alphanumeric();
    if fits { Ok(text.to_owned()) } else { Err(IdError { text: text.chars().take(64).collect(), what }) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks an id.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check_id(text, $what).map(Self)
            }

            /// The id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// The id of a network: not its name, which may hold anything.
    NetworkId,
    "a network"
);
id!(
    /// The id of an endpoint: that of its container or step.
    EndpointId,
    "an endpoint"
);

/// Why the file of a network could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// It could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what we write.
    #[error("the file {} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where it departs from the form.
        source: serde_json::Error,
    },
    /// A newer or older binary wrote it.
    #[error("the file {} has format {found}, this program knows {OLDEST_FORMAT} to {FORMAT}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
}

/// Everything about a network that runs on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The version of the form.
    format: u32,
    /// Which network.
    pub id: NetworkId,
    /// What people call it; names lead to endpoints in the form `name.network` too.
    #[serde(default)]
    pub name: String,
    /// Its bridge.
    pub bridge: LinkName,
    /// Its addresses of each family.
    #[serde(flatten, with = "written::state")]
    pub families: Families<FourState, SixState>,
    /// Where its endpoints get to.
    pub reach: Reach,
    /// Whether its endpoints get to each other.
    pub isolation: PortIsolation,
    /// Whether its endpoints are hidden behind the host's addresses when they get out.
    #[serde(default)]
    pub masquerade: Masquerade,
    /// How its endpoints are reached from outside.
    #[serde(default)]
    pub gateways: GatewayModes,
    /// Whether its endpoints are known to each other by name.
    #[serde(default)]
    pub names: NameScope,
    /// Largest packet.
    pub mtu: u32,
    /// The endpoints, in the order in which they came.
    pub endpoints: Vec<EndpointRecord>,
    /// What who has a name had last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lasting: Vec<Lasting>,
}

/// The IPv4 addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FourState {
    /// All of them.
    pub subnet: Subnet,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// What addresses are given out of; all of the subnet if nothing is said.
    pub range: Option<Subnet>,
    /// Addresses that are never given out.
    pub reserved: Vec<Ipv4Addr>,
    /// The address that was given out last: the search for the next begins behind it.
    pub cursor: Ipv4Addr,
}

/// The IPv6 addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SixState {
    /// All of them.
    pub subnet: Subnet6,
    /// The bridge's own address.
    pub gateway: Ipv6Addr,
    /// What addresses are given out of; all of the subnet if nothing is said.
    pub range: Option<Subnet6>,
    /// Addresses that are never given out.
    pub reserved: Vec<Ipv6Addr>,
    /// The address that was given out last.
    pub cursor: Ipv6Addr,
}

impl FourState {
    /// Nothing of a subnet was given out yet.
    pub(crate) fn new(subnet: Subnet, gateway: Ipv4Addr) -> Self {
        Self { subnet, gateway, range: None, reserved: Vec::new(), cursor: subnet.base() }
    }
}

impl SixState {
    /// Nothing of a subnet was given out yet.
    pub(crate) fn new(subnet: Subnet6, gateway: Ipv6Addr) -> Self {
        Self { subnet, gateway, range: None, reserved: Vec::new(), cursor: subnet.base() }
    }
}

impl NetworkState {
    /// A network without endpoints.
    pub(crate) fn new(
        id: NetworkId,
        bridge: LinkName,
        families: Families<FourState, SixState>,
        reach: Reach,
        isolation: PortIsolation,
        mtu: u32,
    ) -> Self {
        Self {
            format: if families.four().is_some() { FORMAT_WITH_IPV4 } else { FORMAT },
            name: id.to_string(),
            id,
            bridge,
            families,
            reach,
            isolation,
            masquerade: Masquerade::On,
            gateways: GatewayModes::default(),
            names: NameScope::Network,
            mtu,
            endpoints: Vec::new(),
            lasting: Vec::new(),
        }
    }

    /// Whether an address lies in one of its subnets.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges().any(|range| range.contains(address))
    }

    /// All its addresses, those of IPv4 first.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = AddressRange> {
        let four = self.families.four().map(|four| AddressRange::from(four.subnet));
        let six = self.families.six().map(|six| AddressRange::from(six.subnet));
        four.into_iter().chain(six)
    }

    /// Its subnet that an address of one family would lie in, as people write it; of a network that lacks the family the
    /// one that it has.
    pub(crate) fn subnet_text(&self, address: IpAddr) -> String {
        match (&self.families, address) {
            (Families::Four(four), _) | (Families::Both(four, _), IpAddr::V4(_)) => four.subnet.to_string(),
            (Families::Six(six), _) | (Families::Both(_, six), IpAddr::V6(_)) => six.subnet.to_string(),
        }
    }

    /// What an endpoint has of it.
    pub fn place(&self, record: &EndpointRecord) -> Option<EndpointAddress> {
        let families = record.families.zip(self.families.as_ref())?.map(
            |(address, four)| Placed { address, prefix: four.subnet.prefix(), gateway: four.gateway },
            |(address, six)| Placed { address, prefix: six.subnet.prefix(), gateway: six.gateway },
        );
        Some(EndpointAddress { families, reach: self.reach, mac: record.mac })
    }

    /// The address that the bridge has, if it has one.
    pub(crate) fn bridge_address(&self) -> Option<Ipv4Addr> {
        let four = self.families.four().filter(|_| self.gateways.four != GatewayMode::Isolated);
        four.map(|four| four.gateway)
    }

    /// The IPv6 address that the bridge has, if it has one.
    pub(crate) fn bridge_address6(&self) -> Option<Ipv6Addr> {
        let six = self.families.six().filter(|_| self.gateways.six != GatewayMode::Isolated);
        six.map(|six| six.gateway)
    }

    /// Whether an address is kept for something that is no endpoint.
    pub(crate) fn is_reserved(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.families.four().is_some_and(|four| four.reserved.contains(&address)),
            IpAddr::V6(address) => self.families.six().is_some_and(|six| six.reserved.contains(&address)),
        }
    }
}

/// Whether the program of an endpoint runs: the names of one that does not lead nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It runs.
    #[default]
    Running,
    /// It ended, and may be started again.
    Stopped,
}

/// A name that only one endpoint knows for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateName {
    /// The name.
    pub name: String,
    /// The name of the other that all know.
    pub target: String,
}

/// An endpoint of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Whose it is.
    pub id: EndpointId,
    /// The host's end of its link.
    pub port: LinkName,
    /// The name of its link inside.
    #[serde(default = "first_link")]
    pub link: LinkName,
    /// Its address of each family that its network has.
    #[serde(flatten, with = "written::endpoint")]
    pub families: Families<Ipv4Addr, Ipv6Addr>,
    /// Addresses that hold on its link only, as it was asked for.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Its hardware address.
    pub mac: Mac,
    /// What its packets are checked for.
    pub guard: Guard,
    /// The names that lead to it in this network.
    pub names: Vec<String>,
    /// The names that it alone knows for others.
    #[serde(default)]
    pub private_names: Vec<PrivateName>,
    /// Whether its program runs.
    #[serde(default)]
    pub presence: Presence,
    /// The ports of the host that lead to it.
    pub published: Vec<Published>,
}

fn first_link() -> LinkName {
    LinkName::eth(0)
}

impl EndpointRecord {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.families.addresses()
    }
}

/// The file of one network.
#[derive(Clone, Debug)]
pub struct NetworkFile {
    folder: PathBuf,
    id: NetworkId,
}

impl NetworkFile {
    /// Names the file of a network in a runtime folder.
    pub fn new(runtime: &Path, id: NetworkId) -> Self {
        Self { folder: folder(runtime), id }
    }

    /// Where it is, or would be if its network has IPv4.
    pub fn path(&self) -> PathBuf {
        let [usual, without_ipv4] = self.paths();
        if !usual.exists() && without_ipv4.exists() { without_ipv4 } else { usual }
    }

    /// Where it may be: as a network that has IPv4, and as one that lacks it.
    fn paths(&self) -> [PathBuf; 2] {
        [WITH_IPV4, WITHOUT_IPV4].map(|extension| self.folder.join(format!("{}.{extension}", self.id)))
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join(format!("{}.{LOCK}", self.id))
    }

    /// What it says now; nothing if the network is not set up.
    pub fn read(&self) -> Result<Option<NetworkState>, NamesError> {
        let [usual, without_ipv4] = self.paths();
        match read(&usual)? {
            None => read(&without_ipv4),
            state => Ok(state),
        }
    }

    /// Whether the network is set up, as whoever changes it now leaves it.
    pub fn is_set_up(&self) -> Result<bool, NamesError> {
        self.update(|state| Ok(state.is_some()))
    }

    /// Whether somebody changes it now. Never waits.
    fn is_changing(&self) -> Result<bool, NamesError> {
        Ok(Lock::is_held(&self.lock_path())?)
    }

    /// Changes it under its lock: `change` gets what it says and leaves what it shall say. Nothing is written when
    /// `change` fails or leaves all as it was; leaving nothing removes the file.
    pub fn update<T, E: From<NamesError>>(
        &self,
        change: impl FnOnce(&mut Option<NetworkState>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.make_folder()?;
        let lock = Lock::take(&self.lock_path()).map_err(NamesError::File)?;
        self.update_under(lock, change)
    }

    /// As [`NetworkFile::update`], but does nothing and returns nothing if somebody else has the lock.
    pub(crate) fn try_update<T, E: From<NamesError>>(
        &self,
        change: impl FnOnce(&mut Option<NetworkState>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        self.make_folder()?;
        match Lock::attempt(&self.lock_path()).map_err(NamesError::File)? {
            Some(lock) => self.update_under(lock, change).map(Some),
            None => Ok(None),
        }
    }

    fn make_folder(&self) -> Result<(), NamesError> {
        let made = fs::create_dir_all(&self.folder);
        Ok(made.map_err(|source| FileError::new("make the folder", &self.folder, source))?)
    }

    fn update_under<T, E: From<NamesError>>(
        &self,
        lock: Lock,
        change: impl FnOnce(&mut Option<NetworkState>) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.read()?;
        let mut state = before.clone();
        let value = match change(&mut state) {
            Ok(value) => value,
            Err(error) => {
                // Nothing came of it: no lock stays for what is not there.
                if before.is_none() {
                    let _ = lock.remove();
                }
                return Err(error);
            }
        };
        let [usual, without_ipv4] = self.paths();
        match &state {
            Some(state) if before.as_ref() != Some(state) => {
                let has_ipv4 = state.families.four().is_some();
                let (path, other) = if has_ipv4 { (usual, without_ipv4) } else { (without_ipv4, usual) };
                write(&path, state)?;
                remove_present(&other)?;
            }
            None if before.is_some() => {
                remove_present(&usual)?;
                remove_present(&without_ipv4)?;
            }
            _ => {}
        }
        if state.is_none() {
            lock.remove().map_err(NamesError::File)?;
        }
        Ok(value)
    }
}

/// The folder of the files of all networks.
pub(crate) fn folder(runtime: &Path) -> PathBuf {
    runtime.join("networks")
}

fn remove_present(path: &Path) -> Result<(), NamesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path, error).into())
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<NetworkState>, NamesError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Some(bytes) = read_bounded(path, LARGEST_FILE)? else { return Ok(None) };
    let damaged = |source| NamesError::Damaged { path: path.to_owned(), source };
    match serde_json::from_slice::<NetworkState>(&bytes) {
        Ok(state) if (OLDEST_FORMAT..=FORMAT).contains(&state.format) => Ok(Some(state)),
        Ok(state) => Err(NamesError::Format { path: path.to_owned(), found: state.format }),
        Err(error) => match serde_json::from_slice::<Version>(&bytes) {
            Ok(version) if !(OLDEST_FORMAT..=FORMAT).contains(&version.format) => {
                Err(NamesError::Format { path: path.to_owned(), found: version.format })
            }
            _ => Err(damaged(error)),
        },
    }
}

/// Reads a file of ours that may be absent.
pub(crate) fn read_bounded(path: &Path, largest: u64) -> Result<Option<Vec<u8>>, FileError> {
    use std::io::Read;
    let failed = |source| FileError::new("read", path, source);
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    // Most of them are smaller: one call reads it, one finds its end.
    let mut bytes = Vec::with_capacity(4096);
    file.take(largest).read_to_end(&mut bytes).map_err(failed)?;
    // Where the run folder lies on a disk, a power loss empties what was replaced shortly before; none of it is of use then.
    Ok((!bytes.is_empty()).then_some(bytes))
}

fn write(path: &Path, state: &NetworkState) -> Result<(), NamesError> {
    let bytes = serde_json::to_vec(state).expect("the state has only strings, numbers and lists");
    Ok(replace(path, &bytes)?)
}

/// Replaces a file of ours as a whole. The caller holds its lock, so that one temporary name is enough.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let fill = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        volatile::put(&temporary, path)
    };
    fill().map_err(|source| FileError::new("write", path, source))
}

mod lasting;
mod several;
mod written;

pub(crate) use several::{Records, Settled, Watched, known_of_endpoint, readable, remove_lone_locks};
pub use several::{all, of_endpoint};

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
