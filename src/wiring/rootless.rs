//! What an ordinary user works in: entered before the first thread is made, and before the store is opened, so that
//! everything in the store belongs to the same ids whatever command made it.
//!
//! Only commands that run programs or have to do with containers start the keeper of the user's namespaces: one whose
//! monitor was killed may be due for a start, and networks are made and taken away in the keeper's. The way out of its
//! network is only made when a program wants a network.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rbuild_network::resolver::ResolverChoice;
use rbuild_network::site::{FindPlace, Place};
use rbuild_sandbox::rootless::{
    self, Keeper, KeeperNeed, Mapping, NAME_SERVER, RootlessConfig, RootlessError, WayOut,
};

use crate::cli::Command;
use crate::cli::system::{System, SystemVerb};
use crate::report::Mistake;
use crate::settings::Settings;
use crate::terminal::Terminal;

/// The user namespace that this process is in, and what connects it with the outside.
#[derive(Debug)]
pub(crate) struct Rootless {
    keeper: Option<Arc<Keeper>>,
    /// Whether programs can have a network of their own; if not, what would help.
    network: Result<(), String>,
    terminal: Terminal,
}

/// What a command wants of the namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// The same ids as all others.
    Ids,
    /// The same ids, and files of many owners are made.
    Files,
    /// The same ids, and the networks of containers can be reached.
    Containers,
    /// Programs are run.
    Programs,
}

fn want(command: &Command) -> Want {
    match command {
        Command::System(System { verb: SystemVerb::Boot })
        | Command::Build(_)
        | Command::Bake(_)
        | Command::Run(_)
        | Command::Create(_)
        | Command::Start(_)
        | Command::Restart(_) => Want::Programs,
        Command::Up(_) => Want::Programs,
        Command::Compose(arguments) if arguments.verb.runs_programs() => Want::Programs,
        Command::Compose(_)
        | Command::Inspect(_)
        | Command::Ps(_)
        | Command::Update(_)
        | Command::Top(_)
        | Command::Stats(_)
        | Command::Cp(_)
        | Command::Down(_)
        | Command::Network(_)
        | Command::Stop(_)
        | Command::Kill(_)
        | Command::Pause(_)
        | Command::Unpause(_)
        | Command::Wait(_)
        | Command::Logs(_)
        | Command::Attach(_)
        | Command::Exec(_)
        | Command::Rm(_)
        | Command::Rename(_)
        | Command::Port(_)
        | Command::Diff(_)
        | Command::Export(_)
        | Command::Container(_)
        | Command::Reap(_)
        | Command::System(_) => Want::Containers,
        Command::Pull(_)
        | Command::Push(_)
        | Command::Registry(_)
        | Command::Load(_)
        | Command::Import(_)
        | Command::Commit(_) => Want::Files,
        Command::Check(_)
        | Command::Context(_)
        | Command::Image(_)
        | Command::Images(_)
        | Command::Volume(_)
        | Command::Events(_)
        | Command::Copy(_)
        | Command::Imagetools(_)
        | Command::Manifest(_)
        | Command::Search(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::History(_)
        | Command::Tag(_)
        | Command::Rmi(_)
        | Command::Save(_)
        | Command::Cache(_)
        | Command::Why(_)
        | Command::Du(_)
        | Command::Prune(_)
        | Command::Version(_)
        | Command::Info(_)
        | Command::Doctor(_)
        | Command::Complete(_)
        | Command::Completion(_)
        | Command::Man(_)
        | Command::Promote => Want::Ids,
    }
}

impl Rootless {
    /// Enters the user's namespaces; this process is root of them when it returns.
    pub(crate) fn enter(
        command: &Command,
        settings: &Settings,
        terminal: Terminal,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let want = want(command);
        let keeper = match want {
            Want::Containers | Want::Programs => KeeperNeed::Started,
            Want::Ids | Want::Files => KeeperNeed::Joined,
        };
        let config = RootlessConfig { runtime: settings.runtime.clone(), keeper };
        let entered = rootless::enter(&config).map_err(|error| told(error, &settings.runtime))?;
        if let (Mapping::Single { reason }, Want::Files | Want::Programs) = (&entered.mapping, want) {
            terminal.tell(&format!(
                "note: files of all owners are stored as yours, and programs cannot become other users: {}\n",
                crate::text::one_line(reason)
            ));
        }
        // Looked for here, because the answer is the same for all that this command does.
        let network = if want == Want::Programs { WayOut::find().map(drop) } else { Ok(()) };
        Ok(Some(Arc::new(Self { keeper: entered.keeper.map(Arc::new), network, terminal })))
    }

    /// Whether programs can have a network of their own. If not, they use the machine's, and people are told.
    pub(super) fn has_network(&self) -> bool {
        if let Err(missing) = &self.network {
            self.note(&format!(
                "programs use the network of this machine as it is, without one of their own: {missing}"
            ));
        }
        self.network.is_ok()
    }

    /// Tells people what is not as it would be for root.
    pub(super) fn note(&self, text: &str) {
        self.terminal.tell(&format!("note: {}\n", crate::text::one_line(text)));
    }

    /// Where networks are made.
    pub(super) fn place(&self) -> Place {
        match &self.keeper {
            Some(keeper) => Place::Elsewhere(Arc::new(Shared(Arc::clone(keeper)))),
            None => Place::Here,
        }
    }

    /// Returns what keeps the namespaces for as long as it is open: for processes that outlive this one.
    pub(super) fn hold(&self) -> anyhow::Result<Option<OwnedFd>> {
        Ok(self.keeper.as_ref().map(|keeper| keeper.hold()).transpose()?)
    }

    /// What programs with a network of their own ask for names.
    pub(super) fn resolver() -> ResolverChoice {
        ResolverChoice { servers: vec![NAME_SERVER.into()], ..ResolverChoice::default() }
    }
}

/// The network namespace that the keeper holds.
#[derive(Debug)]
struct Shared(Arc<Keeper>);

impl FindPlace for Shared {
    fn find(&self) -> Result<OwnedFd, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.network()?)
    }
}

/// Adds what can be done about it.
fn told(error: RootlessError, runtime: &Path) -> anyhow::Error {
    let hint = match &error {
        RootlessError::Folder { .. } | RootlessError::Exposed { .. } => {
            format!(
                "set XDG_RUNTIME_DIR to a folder that is yours alone, in place of `{}`",
                runtime.display()
            )
        }
        RootlessError::Forbidden { .. } => "or run rbuild as root".to_owned(),
        _ => return error.into(),
    };
    Mistake::new(crate::report::chain(&error.into())).hint(&hint).into()
}
