//! The verbs of networks.

use rbuild_model::network::Mac;

use crate::cli::formats;
use crate::flags;

const FILTERS: &str = "\
Filters:
  driver=DRIVER, id=ID, name=NAME, label=KEY[=VALUE], scope=local, type=custom|builtin, dangling=true|false";

/// What `rbuild network` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: NetworkVerb,
}

/// What can be done with networks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum NetworkVerb {
    /// Make a network
    Create(Box<Create>),
    /// Put a container into a network
    Connect(Box<Connect>),
    /// Take a container out of a network
    Disconnect(Disconnect),
    /// Show all that is known of networks
    Inspect(Inspect),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(List),
    /// Remove all networks that no running container is in
    Prune(Prune),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Remove),
}

/// What `rbuild network create` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Name of the network
    #[arg(value_name = "NETWORK")]
    pub(crate) name: String,
    /// Let containers be attached by hand, as every network here does
    #[arg(long)]
    pub(crate) attachable: bool,
    /// Address that is never given out (can be repeated)
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = flags::label)]
    pub(crate) aux_address: Vec<(String, String)>,
    /// Kind of network
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    pub(crate) driver: String,
    /// Gateway of a subnet (can be repeated)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) gateway: Vec<String>,
    /// Lead nowhere but to other containers
    #[arg(long)]
    pub(crate) internal: bool,
    /// Part of a subnet that addresses are given out of (can be repeated)
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    pub(crate) ip_range: Vec<String>,
    /// Who gives out addresses
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    pub(crate) ipam_driver: String,
    /// Option of who gives out addresses (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::label)]
    pub(crate) ipam_opt: Vec<(String, String)>,
    /// Give IPv4 addresses
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) ipv4: bool,
    /// Give IPv6 addresses too
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Label (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::label)]
    pub(crate) label: Vec<(String, String)>,
    /// Option of the driver (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::label)]
    pub(crate) opt: Vec<(String, String)>,
    /// Subnet, as in 10.1.0.0/16 (can be repeated)
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    pub(crate) subnet: Vec<String>,
}

/// What `rbuild network connect` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Further name that leads to the container there (can be repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) alias: Vec<String>,
    /// Option of the network's driver (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::label)]
    pub(crate) driver_opt: Vec<(String, String)>,
    /// Where it stands in the choice of the default route: the highest wins
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) gw_priority: i64,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Another container, and what it is called here (can be repeated)
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    pub(crate) link: Vec<String>,
    /// Address on the link alone (can be repeated)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) link_local_ip: Vec<String>,
    /// Hardware address
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) mac_address: Option<Mac>,
}

/// What `rbuild network disconnect` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Disconnect {
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Say nothing if it is not connected
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild network inspect` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_inspect("{{json .Containers}}"))]
pub(crate) struct Inspect {
    /// Networks, by name or id
    #[arg(value_name = "NETWORK", required = true)]
    pub(crate) networks: Vec<String>,
    /// How it is shown: `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Also tasks of services, of which rbuild has none
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// What `rbuild network ls` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = FILTERS, after_long_help = filters_and_formats())]
pub(crate) struct List {
    /// Only networks that fit (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Show ids in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn filters_and_formats() -> String {
    format!("{FILTERS}\n\n{}", formats::of_list(r"{{.Name}}\t{{.Driver}}", "{{.Name}}"))
}

/// What `rbuild network prune` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Only networks that fit: `until=`, `label=`, `label!=` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild network rm` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Networks, by name or id
    #[arg(value_name = "NETWORK", required = true)]
    pub(crate) networks: Vec<String>,
    /// Say nothing of those that are not there
    #[arg(short, long)]
    pub(crate) force: bool,
}
