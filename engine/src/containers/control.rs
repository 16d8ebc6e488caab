//! Containers started, stopped, frozen, waited for.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rbuild_model::container::{Definition, HostOptions, Removal, Signal, StartFailure, State};
use rbuild_model::network::NetworkMode;
use rbuild_monitor::protocol::frame::MAX_FDS;
use rbuild_monitor::{Client, ClientError, Grace, Handed, Plan, Refusal, Spawned, chain};
use rbuild_network::ports::Reservation;
use rbuild_network::resolver::ResolverChoice;
use rbuild_sandbox::{Access, FileContent, Mount, MountSource, Restrictions};
use rbuild_store::crash;

use super::define::plain;
use super::error::ContainerError;
use super::lend::NAME_FILES;
use super::link::Linked;
use super::note::{EndpointNote, PortNote, RunNote};
use super::observe::grace;
use super::reap::is_gone;
use super::trees::of_init;
use crate::engine::{Engine, io};
use crate::networks::{ConnectRequest, Connected, NameFiles, Naming, OwnNames, guard};

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The program runs since now; with what people should know.
    Started(Vec<String>),
    /// It ran already.
    Running,
}

/// What is to run a container.
enum Monitor<'a> {
    /// The caller has found it, or made it.
    There(&'a mut Client),
    /// It was begun, and becomes the container's unless another one was faster.
    Begun(Spawned),
}

/// As many sockets go with the message that starts a container; beside them go two namespaces.
const HANDED_PORTS: usize = MAX_FDS - 2;

impl Engine {
    /// Starts a container.
    pub fn start(&self, definition: &Definition) -> Result<Start, ContainerError> {
        self.start_with(definition, None)
    }

    /// Starts a container through a monitor that the caller found or started, because somebody is attached.
    pub fn start_attached(
        &self,
        definition: &Definition,
        client: &mut Client,
    ) -> Result<Start, ContainerError> {
        self.start_with(definition, Some(client))
    }

    fn start_with(
        &self,
        definition: &Definition,
        client: Option<&mut Client>,
    ) -> Result<Start, ContainerError> {
        let scope = self.parts.store.locks().scope();
        let _held = self.hold(&scope, definition.id)?;
        match self.observe(definition)?.state {
            State::Restarting { .. } if self.is_interrupted(definition.id) => {}
            State::Running(_) | State::Restarting { .. } => return Ok(Start::Running),
            State::Paused(_) => {
                return Err(ContainerError::State(
                    "cannot start a paused container, try unpause instead".to_owned(),
                ));
            }
            State::Removing { .. } | State::Dead { .. } => {
                return Err(ContainerError::State(
                    "container is marked for removal and cannot be started".to_owned(),
                ));
            }
            State::Created { .. } | State::Exited(_) => {}
        }
        let mut found;
        let client = match client {
            Some(client) => Some(client),
            None => {
                found = self.client(definition)?;
                // A command that was killed may have told it to start the program: it answers when it has.
                if found.is_some() && self.observe(definition)?.state.is_active() {
                    return Ok(Start::Running);
                }
                found.as_mut()
            }
        };
        Ok(Start::Started(self.start_held(definition, client)?))
    }

    /// Starts a container that does not run; the caller holds its lock in the store.
    pub(super) fn start_held(
        &self,
        definition: &Definition,
        client: Option<&mut Client>,
    ) -> Result<Vec<String>, ContainerError> {
        // Another command may have removed it before this one held it, and its folder would be made anew for nobody.
        if !self.folder(definition.id).exists()
            && let Err(ContainerError::NotFound(_)) = self.find(&definition.id.to_string())
        {
            return Err(ContainerError::NotFound(definition.name.to_string()));
        }
        let started = self.run_plan(definition, client);
        if let Err(error) = &started
            && !matches!(error, ContainerError::Start { .. })
        {
            self.note_failure(definition, StartFailure { code: 128, error: chain(error) });
        }
        let notes = started?;
        crash::point("container.started");
        self.tell(definition, "start", &[]);
        Ok(notes)
    }

    fn run_plan(
        &self,
        definition: &Definition,
        client: Option<&mut Client>,
    ) -> Result<Vec<String>, ContainerError> {
        // It makes itself ready while the networks are.
        let monitor = match client {
            Some(client) => Monitor::There(client),
            None => Monitor::Begun(self.new_monitor()?),
        };
        let hostname = self.hostname(definition);
        let links = self.linked(definition)?;
        let connected = self.connect(definition, &hostname, &links)?;
        crash::point("container.connected");
        let result = (|| {
            let mut notes = connected.notes.clone();
            let (plan, handed) = self.plan(definition, &hostname, &links, connected)?;
            let mut own;
            let client = match monitor {
                Monitor::There(client) => client,
                Monitor::Begun(spawned) => {
                    own = self.monitor_or(definition, spawned)?;
                    &mut own
                }
            };
            let started = client.start(plan, handed).map_err(|error| not_started(definition, error))?;
            notes.extend(started.notes);
            Ok(notes)
        })();
        if result.is_err() {
            // The error that is told is the first.
            let _ = self.disconnect(definition);
        }
        result
    }

    fn connect(
        &self,
        definition: &Definition,
        hostname: &str,
        links: &[Linked],
    ) -> Result<Connected, ContainerError> {
        let host = &definition.host;
        let shared = match &host.network {
            NetworkMode::Container(name) => Some(self.network_of(name)?),
            _ => None,
        };
        let resolver = resolver_choice(host);
        let mode = host.first_network();
        let links = links.iter().flat_map(Linked::hosts);
        let extra_hosts: Vec<_> = host.extra_hosts.iter().cloned().chain(links).collect();
        let mut ports = host.ports.clone();
        if host.publish_all {
            ports.extend(super::define::unpublished(definition));
        }
        let connected = self.networks().connect(ConnectRequest {
            container: &definition.id.to_string(),
            name: definition.name.as_str(),
            naming: Naming {
                hostname,
                domainname: definition.domainname.as_deref(),
                resolver: &resolver,
                extra_hosts: &extra_hosts,
            },
            mode: &mode,
            endpoints: &host.endpoints,
            ports: &ports,
            guard: guard(host),
            shared,
            ahead: self.prepared_namespace(&mode),
        });
        connected.map_err(|error| self.with_holder(definition, error))
    }

    /// Opens the network namespace of another container, which must run.
    fn network_of(&self, name: &str) -> Result<OwnedFd, ContainerError> {
        let other = self.find(name).map_err(|error| match error {
            // It was not there either when this container was made, or it is gone.
            ContainerError::NotFound(_) => {
                ContainerError::Invalid(format!("joining network namespace of container: {error}"))
            }
            error => error,
        })?;
        let state = self.observe(&other)?.state;
        let open = |path: PathBuf| File::open(&path).map_err(io("open", path));
        let namespace = state.run().map(|run| of_init(run, "ns/net", open)).transpose()?;
        namespace.flatten().map(OwnedFd::from).ok_or_else(|| {
            ContainerError::State(format!(
                "cannot join network namespace of a non running container: container {name} is {}",
                state.status()
            ))
        })
    }

    /// Makes of a definition and its networks what the monitor runs, again and again.
    fn plan(
        &self,
        definition: &Definition,
        hostname: &str,
        links: &[Linked],
        connected: Connected,
    ) -> Result<(Plan, Handed), ContainerError> {
        let host = &definition.host;
        let shares = self.shares(definition)?;
        let Connected { namespace, files, reservations, published, duties, endpoints, notes: _ } = connected;
        let mut prepared = self.launch(definition, hostname, links)?;
        let names = match &host.network {
            NetworkMode::Container(lender) => self.lent_name_files(lender, host.read_only)?,
            _ => name_files(files, host.read_only),
        };
        add_name_files(&mut prepared.mounts, names);
        let note = RunNote {
            endpoints: endpoints.iter().map(EndpointNote::of).collect(),
            ports: published.iter().map(PortNote::of).collect(),
        };
        let network = namespace.filter(|_| host.network != NetworkMode::Host);
        let plan = Plan {
            spec: prepared.spec,
            root: prepared.root,
            mounts: prepared.mounts,
            cgroup: prepared.cgroup,
            volumes: prepared.volumes,
            shares,
            duties: Some(duties)
                .filter(|_| !matches!(host.network, NetworkMode::Host | NetworkMode::Container(_))),
            note: serde_json::to_value(note).expect("numbers and texts can be written to memory"),
        };
        let handed = Handed {
            network,
            // Who has no way out still runs what needs none.
            place: match host.first_network() {
                NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => None,
                NetworkMode::Default | NetworkMode::Bridge | NetworkMode::Named(_) => self.parts.place()?,
            },
            // What one message does not take of them is let go, and bound anew by who carries it.
            ports: reservations.into_iter().take(HANDED_PORTS).map(Reservation::into_socket).collect(),
        };
        Ok((plan, handed))
    }

    /// Gives back what a container has of networks; repeatable.
    pub(super) fn disconnect(&self, definition: &Definition) -> Result<(), ContainerError> {
        Ok(self.networks().disconnect_all(&definition.id.to_string())?)
    }

    /// Asks a container's program to end, and ends it when its time is over. One that does not run is left as it is.
    pub fn stop(
        &self,
        definition: &Definition,
        signal: Option<Signal>,
        timeout: Option<i64>,
    ) -> Result<(), ContainerError> {
        let state = self.observe(definition)?.state;
        if !state.is_active() {
            return Ok(());
        }
        let Some(mut client) = self.client(definition)? else { return Ok(()) };
        if state.run().is_some() {
            let sent = signal.unwrap_or_else(|| definition.program.stop_signal());
            self.tell(definition, "kill", &[("signal", sent.number().to_string())]);
        }
        let grace = match timeout {
            None => Grace::Default,
            Some(seconds) => grace(Some(seconds)).map_or(Grace::Forever, Grace::For),
        };
        match client.stop(signal, grace) {
            // It ended meanwhile by itself.
            Ok(()) | Err(ClientError::Refused(Refusal::NotRunning)) => {}
            Err(error) => return Err(error.into()),
        }
        self.tell(definition, "stop", &[]);
        self.release_volumes_of(definition);
        Ok(())
    }

    /// Stops a container if it runs, and starts it.
    pub fn restart(
        &self,
        definition: &Definition,
        signal: Option<Signal>,
        timeout: Option<i64>,
    ) -> Result<(), ContainerError> {
        self.stop(definition, signal, timeout)?;
        // One that removes itself is not removed by being restarted; but its monitor may have begun to.
        if is_gone(definition, &self.observe(definition)?.state) && self.client(definition)?.is_none() {
            return Err(ContainerError::NotFound(definition.name.to_string()));
        }
        self.start(definition)?;
        self.tell(definition, "restart", &[]);
        Ok(())
    }

    /// Sends a signal to a container's program.
    pub fn kill(&self, definition: &Definition, name: &str, signal: Signal) -> Result<(), ContainerError> {
        let not_running = || {
            ContainerError::State(format!(
                "cannot kill container: {name}: container {} is not running",
                definition.id
            ))
        };
        if !self.observe(definition)?.state.is_active() {
            return Err(not_running());
        }
        let mut client = self.client(definition)?.ok_or_else(not_running)?;
        self.tell(definition, "kill", &[("signal", signal.number().to_string())]);
        match client.kill(signal) {
            Err(ClientError::Refused(Refusal::NotRunning)) => Err(not_running()),
            result => Ok(result?),
        }
    }

    /// Ends a container's program, and returns when it has ended.
    pub(super) fn end_at_once(&self, definition: &Definition) -> Result<(), ContainerError> {
        let client = match self.client(definition) {
            Err(ContainerError::Monitor(error)) if matches!(*error, ClientError::Unreachable(_)) => {
                // Without it the container is as any other that has lost its monitor.
                self.end_monitor(definition)?;
                self.client(definition)?
            }
            client => client?,
        };
        let Some(mut client) = client else { return Ok(()) };
        match client.stop(Some(Signal::KILL), Grace::For(Duration::ZERO)) {
            Ok(()) | Err(ClientError::Refused(Refusal::NotRunning)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Freezes a container.
    pub fn pause(&self, definition: &Definition) -> Result<(), ContainerError> {
        let mut client = self.running(definition)?;
        match client.pause() {
            Err(ClientError::Refused(Refusal::Paused)) => {
                return Err(ContainerError::State(format!("Container {} is already paused", definition.id)));
            }
            Err(ClientError::Refused(Refusal::Restarting)) => {
                return Err(ContainerError::restarting(definition.id));
            }
            result => result?,
        }
        self.tell(definition, "pause", &[]);
        Ok(())
    }

    /// Thaws a container.
    pub fn unpause(&self, definition: &Definition) -> Result<(), ContainerError> {
        let not_paused = || ContainerError::State(format!("Container {} is not paused", definition.id));
        let Some(mut client) = self.client(definition)? else { return Err(not_paused()) };
        match client.unpause() {
            Err(ClientError::Refused(Refusal::NotPaused | Refusal::NotRunning | Refusal::Restarting)) => {
                return Err(not_paused());
            }
            result => result?,
        }
        self.tell(definition, "unpause", &[]);
        Ok(())
    }

    /// Connects to the monitor of a container that has to run.
    pub(super) fn running(&self, definition: &Definition) -> Result<Client, ContainerError> {
        let not_running = || ContainerError::State(format!("container {} is not running", definition.id));
        if !self.observe(definition)?.state.is_active() {
            return Err(not_running());
        }
        self.client(definition)?.ok_or_else(not_running)
    }

    /// Tells a running container its new name, for its events, and the networks that it is in.
    pub(super) fn renamed(&self, definition: &Definition) -> Result<(), ContainerError> {
        let (container, hostname) = (definition.id.to_string(), self.hostname(definition));
        let own = OwnNames { container: &container, name: definition.name.as_str(), hostname: &hostname };
        self.networks().rename(&own, &definition.host.endpoints)?;
        match self.client(definition)? {
            Some(mut client) => Ok(client.rename(definition.name.as_str())?),
            None => Ok(()),
        }
    }

    /// Takes away a container that removes itself and could not be started.
    pub fn discard_unstarted(&self, definition: &Definition) -> Result<(), ContainerError> {
        if definition.host.removal == Removal::Auto {
            let scope = self.parts.store.locks().scope();
            let _held = self.hold(&scope, definition.id)?;
            self.take_away(definition, true)?;
        }
        Ok(())
    }
}

fn not_started(definition: &Definition, error: ClientError) -> ContainerError {
    match error {
        ClientError::Refused(Refusal::NotStarted { status, message }) => {
            ContainerError::Start { id: definition.id.short(), code: status, why: message }
        }
        error => error.into(),
    }
}

/// What a container was told to ask for names.
pub(crate) fn resolver_choice(host: &HostOptions) -> ResolverChoice {
    ResolverChoice {
        servers: host.dns.clone(),
        search: host.dns_search.clone(),
        options: host.dns_options.clone(),
    }
}

/// The files by which a container knows names.
fn name_files(files: NameFiles, read_only: bool) -> Vec<Mount> {
    let NameFiles { hosts, resolv_conf, hostname } = files;
    let texts = [hosts, resolv_conf, hostname];
    NAME_FILES
        .into_iter()
        .zip(texts)
        .map(|(target, text)| name_file(target, text.into_bytes(), read_only))
        .collect()
}

/// Adds the files by which a container knows names to its mounts: above what is mounted at the folders that they are in, and
/// not where it asks for a file of its own.
fn add_name_files(mounts: &mut Vec<Mount>, names: Vec<Mount>) {
    let asked: Vec<PathBuf> = mounts.iter().map(|mount| plain(&mount.target.to_string_lossy())).collect();
    mounts.extend(names.into_iter().filter(|name| !asked.contains(&name.target)));
}

/// A file by which a container knows names.
pub(super) fn name_file(target: &str, bytes: Vec<u8>, read_only: bool) -> Mount {
    Mount {
        target: target.into(),
        source: MountSource::File(FileContent { bytes, mode: 0o644, uid: 0, gid: 0 }),
        access: if read_only { Access::ReadOnly } else { Access::ReadWrite },
        restrictions: Restrictions::default(),
    }
}
