//! Our tables of the packet filter.
//!
//! The rules are two files of text, `ruleset.nft` and `guard.nft`, in which only the store's prefix is filled in: eight
//! checked characters. `nft` reads them as one transaction (text, because its JSON form knows no maps to an address
//! *and* a port in the versions that are about). Nobody else's table is ever touched, but for two rules where Docker
//! dropped what is forwarded: [`passage`] says which, and how to do without.
//!
//! That runs once. Whether the rules are still as they were made is asked over netlink: the kernel numbers every
//! change of any rule set in the namespace, so the same number means that nothing changed; under another number the
//! rules are read and their hash compared with the one taken when they were made. Only what differs is made anew,
//! with the elements of all networks that are set up. The number and hash are in `firewall.state`.

pub(crate) mod elements;
mod legacy;
mod made;
pub mod passage;
mod program;
mod sys;
pub(crate) mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::link::{LinkName, StorePrefix};
use crate::lock::Lock;
use crate::names::{self, NamesError};
use crate::netlink::nftables::{self, Chain, Change, Element, TableFamily};
use crate::netlink::socket::{NetlinkError, Request, Socket};
use crate::site::Site;
use elements::Guarding;
pub(crate) use made::Made;
use passage::{Forward, Passage};
use program::{Words, guards, run};

const RULES: &str = include_str!("ruleset.nft");
const GUARD: &str = include_str!("guard.nft");
const LARGEST_FILE: u64 = 1 << 20;

/// Why the packet filter could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirewallError {
    /// The program is not there.
    #[error("the program `nft`, which makes the rules of networks, was not found in {}; install the package `nftables`", places.join(", "))]
    ProgramMissing {
        /// Where it was looked for.
        places: Vec<String>,
    },
    /// The program could not be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// Which program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program refused the rules.
    #[error("{} refused the rules of networks: {text}", program.display())]
    Refused {
        /// Which program.
        program: PathBuf,
        /// What it said.
        text: String,
    },
    /// The kernel refused.
    #[error("cannot set up the packet filter")]
    Kernel(#[from] NetlinkError),
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The networks that are set up could not be read.
    #[error(transparent)]
    Names(#[from] NamesError),
}

/// Why a network may not work, or not protect, as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Another program's rules drop what they do not know.
    #[error(
        "the host's firewall drops forwarded packets (table `{family} {table}`, chain `{chain}`): networks of containers and steps do not get out unless it accepts the links {}{}",
        links.iter().map(|links| format!("`{links}`")).collect::<Vec<_>>().join(", "),
        advice.as_deref().map(|advice| format!("; for example: {advice}")).unwrap_or_default()
    )]
    ForwardingDropped {
        /// The family of the table.
        family: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// Our links that it stops; `*` stands for any end of a name.
        links: Vec<String>,
        /// A command that would let our packets through.
        advice: Option<String>,
    },
    /// Endpoints can send packets in each other's names.
    #[error(
        "the kernel has no packet filter on bridges (nf_tables for the bridge family): endpoints of a network can take each other's addresses"
    )]
    Unguarded,
}

/// What was found or made last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checked {
    /// The network namespace, by its number.
    namespace: u64,
    /// The number of the rule set that was checked; none while our tables are being made.
    generation: Option<u32>,
    /// What our rules hash to.
    fingerprint: String,
    /// When they were made: each time has a value of its own.
    #[serde(default)]
    made: Made,
    /// Whether the table of bridges is there.
    guarded: bool,
    /// Whether Docker's filter was to be passed.
    passage: Option<Passage>,
    /// What the rules were made of: another program may have made others.
    #[serde(default)]
    rules: String,
    /// What is wrong.
    warnings: Vec<Warning>,
}

/// What tells the rules of this program from those of others.
fn rules() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(RULES.as_bytes()).update(GUARD.as_bytes());
        hasher.finalize().to_hex().to_string()
    });
    &HASH
}

/// The state of our tables after a look at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Firewall {
    /// Whether ports can be guarded.
    pub(crate) guarding: Guarding,
    /// Which making of them it was.
    pub(crate) made: Made,
    /// What is wrong.
    pub(crate) warnings: Vec<Warning>,
}

impl From<Checked> for Firewall {
    fn from(checked: Checked) -> Self {
        let guarding = if checked.guarded { Guarding::On } else { Guarding::Missing };
        Self { guarding, made: checked.made, warnings: checked.warnings }
    }
}

/// Whether our tables had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// They were as they should be.
    Whole,
    /// Another program had changed or removed them.
    Damaged,
}

/// Makes our tables again if another program changed them. Those that another version of this program made are its own.
pub(crate) fn mend(site: &Site) -> Result<Found, FirewallError> {
    let path = site.config().runtime.join("firewall.state");
    match read(&path, site.namespace())? {
        Some(known) if known.rules == rules() => Ok(look_after(site)?.1),
        _ => Ok(Found::Whole),
    }
}

/// Finds our tables whole, or makes them, and the way past Docker's filter.
pub(crate) fn ensure(site: &Site) -> Result<Firewall, FirewallError> {
    Ok(look_after(site)?.0)
}

fn look_after(site: &Site) -> Result<(Firewall, Found), FirewallError> {
    let path = site.config().runtime.join("firewall.state");
    let passage = site.config().passage;
    let known = read(&path, site.namespace())?;
    let generation = site.netfilter(generation)?;
    if let Some(known) = known
        && (known.generation, known.passage) == (Some(generation), Some(passage))
        && known.rules == rules()
    {
        return Ok((known.into(), Found::Whole));
    }
    let _lock = Lock::take(&path.with_extension("lock"))?;
    let known = read(&path, site.namespace())?;
    let mut seen = site.netfilter(|socket| look(socket, site))?;
    let (guarded, made, found) = match known {
        Some(known)
            if known.generation.is_some()
                && known.fingerprint == seen.fingerprint
                && known.rules == rules() =>
        {
            (known.guarded, known.made, Found::Whole)
        }
        _ => {
            // Whoever takes the tables away has to know of them even if this process ends here.
            let made = Made::now()?;
            write(&path, &Checked::unfinished(site, made))?;
            let guarded = make(site)?;
            seen = site.netfilter(|socket| look(socket, site))?;
            (guarded, made, Found::Damaged)
        }
    };
    match pass(site, &mut seen, passage) {
        Ok(Passed::AsBefore) => {}
        Ok(Passed::Changed) => seen = site.netfilter(|socket| look(socket, site))?,
        // The warning stays, and says what would help.
        Err(FirewallError::Refused { .. } | FirewallError::Run { .. }) => {}
        Err(error) => return Err(error),
    }
    let checked = seen.checked(site, guarded, made);
    write(&path, &checked)?;
    Ok((checked.into(), found))
}

/// Whether rules in the filters of others had to be made or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// They were as they should be.
    AsBefore,
    /// They are now.
    Changed,
}

/// Has what lets our packets past the filters of others be as it should. Stores take away the rules of those that are no more:
/// what another one has done since the look is looked at again, and what is refused twice stays refused.
fn pass(site: &Site, seen: &mut Seen, passage: Passage) -> Result<Passed, FirewallError> {
    let mut refused = String::new();
    loop {
        let Some(script) = passage::script(site, &seen.forwards, &seen.named, passage)? else {
            return Ok(Passed::AsBefore);
        };
        match run(site, &script) {
            Err(FirewallError::Refused { .. }) if script != refused => {
                *seen = site.netfilter(|socket| look(socket, site))?;
                refused = script;
            }
            outcome => return outcome.map(|()| Passed::Changed),
        }
    }
}

/// As [`ensure`], and looks at what tells of no change, too: for networks that come up.
pub(crate) fn bring_up(site: &Site) -> Result<Firewall, FirewallError> {
    let mut firewall = ensure(site)?;
    firewall.warnings.extend(legacy::ensure(site));
    Ok(firewall)
}

/// The number of no rule set.
const NEVER: u32 = 0;

/// Has the next one look, whoever that is: a bridge with a name that people chose comes or goes, which needs a way past
/// Docker's filter of its own.
pub(crate) fn forget(site: &Site) -> Result<(), FirewallError> {
    let path = site.config().runtime.join("firewall.state");
    let _lock = Lock::take(&path.with_extension("lock"))?;
    match checked_generation(&path, site)? {
        Some((checked, _)) => write(&path, &Checked { generation: Some(NEVER), ..checked }),
        None => Ok(()),
    }
}

fn write(path: &Path, checked: &Checked) -> Result<(), FirewallError> {
    let bytes = serde_json::to_vec(checked).expect("the state has only strings and numbers");
    Ok(names::replace(path, &bytes)?)
}

/// Adds elements to our sets. Tables that were taken away since the last look are made again, and so are
/// those that hold what is in the way: whoever is killed while it makes a network or an endpoint leaves elements of what no file
/// tells of, and the kernel refuses ranges that overlap, and a port that leads to two addresses.
pub(crate) fn add(site: &Site, elements: &[Element]) -> Result<(), FirewallError> {
    let outcome = change(site, Change::Add, elements);
    let Err(FirewallError::Kernel(error)) = &outcome else { return outcome };
    match error.errno() {
        Some(Errno::NOENT) => {}
        Some(Errno::EXIST | Errno::BUSY) => distrust(site)?,
        _ => return outcome,
    }
    ensure(site)?;
    change(site, Change::Add, elements)
}

/// Has the next one make our tables again, with what the files of networks tell of.
fn distrust(site: &Site) -> Result<(), FirewallError> {
    let path = site.config().runtime.join("firewall.state");
    let _lock = Lock::take(&path.with_extension("lock"))?;
    write(&path, &Checked::unfinished(site, Made::now()?))
}

/// Whether our tables are still those that were made then. Whoever makes them knows only what files tell of: a record that is
/// written before this is asked is in those that come later.
pub(crate) fn are_of(site: &Site, made: Made) -> Result<bool, FirewallError> {
    let known = read(&site.config().runtime.join("firewall.state"), site.namespace())?;
    Ok(known.is_some_and(|known| known.made == made))
}

/// Adds those elements of our sets that somebody took out; says whether there were any.
pub(crate) fn restore(site: &Site, elements: &[Element]) -> Result<Found, FirewallError> {
    let mut found = Found::Whole;
    for group in groups(elements) {
        match change(site, Change::AddMissing, group) {
            Err(FirewallError::Kernel(error)) if error.errno() == Some(Errno::EXIST) => {}
            outcome => {
                outcome?;
                found = Found::Damaged;
            }
        }
    }
    Ok(found)
}

/// Elements that come and go for themselves: both ends of a range go together.
fn groups(elements: &[Element]) -> impl Iterator<Item = &[Element]> {
    elements.chunk_by(|one, other| one.set == other.set && other.ends_range)
}

/// So many elements are one message to the kernel. It tells of each that fails, and what a socket holds of that is less than two
/// hundred.
const AT_ONCE: usize = 100;

/// Divides elements into such messages; both ends of a range go together.
fn messages(mut elements: &[Element]) -> impl Iterator<Item = &[Element]> {
    std::iter::from_fn(move || {
        let mut length = elements.len().min(AT_ONCE);
        while elements.get(length).is_some_and(|next| next.ends_range) {
            length += 1;
        }
        let (message, rest) = elements.split_at(length);
        elements = rest;
        (!message.is_empty()).then_some(message)
    })
}

/// Changes elements of our sets, in one transaction unless there are very many.
fn change(site: &Site, change: Change, elements: &[Element]) -> Result<(), FirewallError> {
    messages(elements).try_for_each(|message| transact(site, change, message))
}

/// Changes elements of our sets in one transaction.
///
/// Each transaction gives the rule set another number, by which [`ensure`] would have to read all of our rules again. So it is
/// done to the rule set that was checked last, if that is still the one; then nothing but elements has changed, and
/// what follows is known to be whole, too.
fn transact(site: &Site, change: Change, elements: &[Element]) -> Result<(), FirewallError> {
    let path = site.config().runtime.join("firewall.state");
    // Who makes our tables holds the lock and knows of none.
    if checked_generation(&path, site)?.is_some() {
        let _lock = Lock::take(&path.with_extension("lock"))?;
        if let Some((checked, generation)) = checked_generation(&path, site)? {
            match commit(site, change, elements, Some(generation)) {
                Ok(Some(next)) => {
                    // The old number costs no more than a look.
                    let _ = write(&path, &Checked { generation: Some(next), ..checked });
                    return Ok(());
                }
                // All of it was so before: there is no other number.
                Ok(None) => return Ok(()),
                Err(error) if error.errno() == Some(Errno::RESTART) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(commit(site, change, elements, None).map(drop)?)
}

/// Returns the number of the rule set that it makes of the one that was meant; nothing if it changes nothing.
fn commit(
    site: &Site,
    change: Change,
    elements: &[Element],
    generation: Option<u32>,
) -> Result<Option<u32>, NetlinkError> {
    let table = site.store().table();
    let requests = nftables::change_elements(&table, change, elements, generation);
    let (outcomes, told) = site.netfilter(|socket| socket.attempt_and_hear(requests))?;
    outcomes.into_iter().collect::<Result<(), NetlinkError>>()?;
    Ok(told.iter().find_map(|answer| nftables::new_generation(answer.kind, &answer.body)))
}

/// What was found at the last look, with the number of the rule set that was looked at; nothing if there is no such number.
fn checked_generation(path: &Path, site: &Site) -> Result<Option<(Checked, u32)>, FileError> {
    let checked = read(path, site.namespace())?;
    let numbered = |checked: Checked| {
        checked.generation.filter(|generation| *generation != NEVER).map(|generation| (checked, generation))
    };
    Ok(checked.and_then(numbered))
}

/// Removes elements that may be gone already, each for itself if they do not all go at once.
pub(crate) fn remove_present(site: &Site, elements: &[Element]) -> Result<(), FirewallError> {
    if change(site, Change::Remove, elements).is_ok() {
        return Ok(());
    }
    for group in groups(elements) {
        match change(site, Change::Remove, group) {
            Err(FirewallError::Kernel(error)) if error.errno() == Some(Errno::NOENT) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Takes our tables away, and our rules from where they let us pass: the end of a store's last network.
pub(crate) fn remove(site: &Site) -> Result<(), FirewallError> {
    let path = site.config().runtime.join("firewall.state");
    // One that cannot be read is none, but says that there may be something: all of it can be seen in the kernel.
    if names::read_bounded(&path, LARGEST_FILE)?.is_none() {
        return Ok(());
    }
    let lock = Lock::take(&path.with_extension("lock"))?;
    let mut seen = site.netfilter(|socket| look(socket, site))?;
    legacy::remove(site);
    pass(site, &mut seen, Passage::Never)?;
    run(site, &removal(&seen.families, &site.store().table()))?;
    std::fs::remove_file(&path).map_err(|source| FileError::new("remove", &path, source))?;
    Ok(lock.remove()?)
}

/// The stores that have a table.
pub(crate) fn stores(site: &Site) -> Result<Vec<StorePrefix>, FirewallError> {
    let chains = site.netfilter(chains)?;
    Ok(chains.iter().filter_map(|chain| StorePrefix::of_table(&chain.table)).collect())
}

/// Takes the tables of stores away that are no more. Their rules where they let themselves pass go as those of any store
/// without links do.
pub(crate) fn remove_abandoned(site: &Site, stores: &[StorePrefix]) -> Result<(), FirewallError> {
    if stores.is_empty() {
        return Ok(());
    }
    let chains = site.netfilter(chains)?;
    let tables = stores.iter().map(StorePrefix::table);
    let script: String = tables.map(|table| removal(&families(&chains, &table), &table)).collect();
    if script.is_empty() { Ok(()) } else { run(site, &script) }
}

/// The removal of a table as text for `nft`; one that is gone meanwhile is made first.
fn removal(families: &[TableFamily], table: &str) -> String {
    let one = |family: &TableFamily| format!("table {0} {table}\ndelete table {0} {table}\n", family.word());
    families.iter().map(one).collect()
}

fn read(path: &Path, namespace: u64) -> Result<Option<Checked>, FileError> {
    let bytes = names::read_bounded(path, LARGEST_FILE)?;
    // What cannot be read is made anew: all of it can be seen in the kernel.
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice::<Checked>(&bytes).ok())
        .filter(|checked| checked.namespace == namespace))
}

fn generation(socket: &mut Socket) -> Result<u32, NetlinkError> {
    let answer = socket.query(Request::new("number the rules", nftables::get_generation()))?;
    nftables::read_generation(&answer.body)
        .ok_or(NetlinkError::Malformed { what: "the number of the rule set" })
}

impl Checked {
    /// What is known before our tables are made.
    fn unfinished(site: &Site, made: Made) -> Self {
        Self {
            namespace: site.namespace(),
            generation: None,
            fingerprint: String::new(),
            made,
            guarded: false,
            passage: None,
            rules: rules().to_owned(),
            warnings: Vec::new(),
        }
    }
}

/// Everything that a look at the kernel's rules shows.
struct Seen {
    generation: u32,
    fingerprint: String,
    /// Which of our tables there are.
    families: Vec<TableFamily>,
    forwards: Vec<Forward>,
    /// The bridges that people named, where one of those may stop them.
    named: Vec<LinkName>,
}

impl Seen {
    fn has_tables(&self, guarded: bool) -> bool {
        let has = |family| self.families.contains(&family);
        has(TableFamily::Inet) && (has(TableFamily::Bridge) || !guarded)
    }

    fn checked(self, site: &Site, guarded: bool, made: Made) -> Checked {
        let mut warnings = passage::warnings(&self.forwards, site.store(), &self.named);
        if !guarded {
            warnings.push(Warning::Unguarded);
        }
        Checked {
            namespace: site.namespace(),
            // What somebody took away between the making and the look is not to be taken for ours.
            generation: self.has_tables(guarded).then_some(self.generation),
            fingerprint: self.fingerprint,
            made,
            guarded,
            passage: Some(site.config().passage),
            rules: rules().to_owned(),
            warnings,
        }
    }
}

fn look(socket: &mut Socket, site: &Site) -> Result<Seen, FirewallError> {
    let generation = generation(socket)?;
    let table = site.store().table();
    let chains = chains(socket)?;
    let mut hasher = blake3::Hasher::new();
    let mut mine: Vec<_> = chains.iter().filter(|chain| chain.table == table).collect();
    mine.sort_by(|one, other| (one.family, &one.name).cmp(&(other.family, &other.name)));
    for chain in &mine {
        hasher.update(format!("{chain:?}\n").as_bytes());
    }
    // A family without a table of ours has no rules to read.
    let families = families(&chains, &table);
    for family in &families {
        for answer in socket.dump(&Request::new("list the rules", nftables::list_rules(*family, &table)))? {
            if let Some(rule) = nftables::read_rule(&answer.body) {
                hasher.update(rule.chain.as_bytes());
                hasher.update(&(rule.expressions.len() as u64).to_le_bytes());
                hasher.update(rule.expressions);
            }
        }
    }
    let foreign = passage::foreign(&chains);
    let named = if foreign.is_empty() { Vec::new() } else { passage::named(site)? };
    let forwards = passage::look(socket, site.store(), &named, &foreign, &chains)?;
    let fingerprint = hasher.finalize().to_hex().to_string();
    Ok(Seen { generation, fingerprint, families, forwards, named })
}

/// All chains of all tables.
fn chains(socket: &mut Socket) -> Result<Vec<Chain>, NetlinkError> {
    let answers = socket.dump(&Request::new("list the chains", nftables::list_chains()))?;
    Ok(answers.iter().filter_map(|answer| nftables::read_chain(&answer.body)).collect())
}

/// The families that have a store's table.
fn families(chains: &[Chain], table: &str) -> Vec<TableFamily> {
    let mut families = vec![TableFamily::Inet, TableFamily::Bridge];
    families.retain(|family| chains.iter().any(|chain| chain.family == *family && chain.table == table));
    families
}

/// Makes our tables and fills their sets with all that is set up; says whether there is one of bridges.
fn make(site: &Site) -> Result<bool, FirewallError> {
    let fill =
        |text: &str| text.replace("@TABLE@", &site.store().table()).replace("@LINKS@", &site.store().links());
    let rules = fill(RULES);
    let words = Words::of(site)?;
    // The rules alone tell whether it is the table of bridges that this kernel does not know.
    let guards = guards();
    let mut made = Ok(false);
    for understood in words.understood()..=guards.len() {
        let guard = guards.get(understood).map_or_else(String::new, |guard| fill(guard));
        made = run(site, &format!("{rules}{guard}")).map(|()| !guard.is_empty());
        match made {
            Err(FirewallError::Refused { .. }) => {}
            Ok(true) => {
                words.remember(understood);
                break;
            }
            _ => break,
        }
    }
    let guarded = made?;
    let guarding = if guarded { Guarding::On } else { Guarding::Missing };
    // A network whose file cannot be read is shut off; it does not shut off the others.
    let readable = names::readable(&site.config().runtime)?;
    change(site, Change::Add, &elements::of_all(&readable.states, guarding))?;
    match readable.error() {
        Some(error) => Err(error.into()),
        None => Ok(guarded),
    }
}
