//! What a container's programs are told of names, as its networks change.

use std::os::fd::AsFd as _;

use rbuild_network::hosts::LineChange;
use rbuild_sandbox::MountSource;

use super::monitor::Monitor;
use crate::chain;
use crate::document::{self, Promise};
use crate::place::PLAN;
use crate::plan::{NameServing, Plan};
use crate::protocol::Refusal;

impl Monitor {
    /// Answers questions for names from now on, if that is asked for, and has every later start of the program begin with
    /// the files as they are now.
    pub(super) fn ask_names(
        &mut self,
        hosts: &LineChange,
        serving: Option<NameServing>,
    ) -> Result<(), Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::Failed(chain(error));
        let mut plan = self.read_plan().map_err(Refusal::Failed)?.ok_or(Refusal::NotRunning)?;
        if let (Some(serving), Some(service), Some(namespace)) =
            (&serving, &mut self.service, &self.handed.network)
        {
            let upstreams = serving.upstreams.clone();
            service.serve_names(upstreams, namespace.as_fd()).map_err(|error| failed(&error))?;
        }
        change(&mut plan, hosts, serving);
        document::write(&self.place.plan(), PLAN, &plan, Promise::Volatile).map_err(|error| failed(&error))
    }
}

fn change(plan: &mut Plan, hosts: &LineChange, serving: Option<NameServing>) {
    for mount in &mut plan.mounts {
        let MountSource::File(file) = &mut mount.source else { continue };
        match (mount.target.to_str(), &serving) {
            (Some("/etc/hosts"), _) => {
                file.bytes = hosts.apply(&String::from_utf8_lossy(&file.bytes)).into_bytes();
            }
            (Some("/etc/resolv.conf"), Some(serving)) => {
                file.bytes = serving.resolv_conf.clone().into_bytes()
            }
            _ => {}
        }
    }
    if let (Some(duties), Some(serving)) = (&mut plan.duties, serving) {
        duties.names = Some(serving.upstreams);
    }
}
