//! `rbuild network create`.

use std::collections::BTreeMap;

use rbuild_engine::networks::{NetworkRequest, ipam};
use rbuild_model::network::{Ipam, Switch};

use crate::cli::network::Create;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};

pub(super) fn run(arguments: &Create, context: &Context) -> Outcome {
    let request = request(arguments)?;
    let (_home, engine) = crate::wiring::engine(context, "rbuild network create")?;
    let created = engine.networks().create(&request)?;
    for note in &created.notes {
        context.terminal.tell(&format!("warning: {note}\n"));
    }
    context.terminal.print(&format!("{}\n", created.definition.id))?;
    Ok(Status::Done)
}

fn request(arguments: &Create) -> Result<NetworkRequest, Mistake> {
    let auxiliary: BTreeMap<String, String> = arguments.aux_address.iter().cloned().collect();
    let pools = ipam::pools(&arguments.subnet, &arguments.ip_range, &arguments.gateway, &auxiliary)
        .map_err(Mistake::new)?;
    Ok(NetworkRequest {
        driver: arguments.driver.clone(),
        ipv4: Switch::from(arguments.ipv4),
        ipv6: Switch::from(arguments.ipv6),
        internal: Switch::from(arguments.internal),
        attachable: Switch::from(arguments.attachable),
        ipam: Ipam {
            driver: arguments.ipam_driver.clone(),
            options: (!arguments.ipam_opt.is_empty()).then(|| arguments.ipam_opt.iter().cloned().collect()),
            config: pools,
        },
        options: arguments.opt.iter().cloned().collect(),
        labels: arguments.label.iter().cloned().collect(),
        ..NetworkRequest::new(&arguments.name)
    })
}
