//! What a service's container may use of the machine.

use rbuild_model::container::{BlkioRate, BlkioWeight, Resources};
use rbuild_model::project::{self, Limit, Service};
use rbuild_model::step::Ulimit;

use super::{NotPossible, not, positive};

pub(in crate::projects) fn resources(service: &Service) -> Result<Resources, NotPossible> {
    let limits = service.deploy.as_ref().and_then(|deploy| deploy.limits.as_ref());
    let reservations = service.deploy.as_ref().and_then(|deploy| deploy.reservations.as_ref());
    let memory = positive(service.mem_limit).or_else(|| positive(limits.and_then(|limits| limits.memory)));
    let reserved =
        positive(service.mem_reservation).or_else(|| positive(reservations.and_then(|kept| kept.memory)));
    let cpus = service.cpus.or_else(|| limits.and_then(|limits| limits.cpus));
    let pids = match service.pids_limit {
        Some(Limit::AtMost(count)) => Some(count).filter(|count| *count > 0),
        Some(Limit::Unlimited) => None,
        None => limits
            .and_then(|limits| limits.pids)
            .and_then(|count| u64::try_from(count).ok())
            .filter(|n| *n > 0),
    };
    let unsigned = |key: &'static str, value: Option<i64>| match value {
        None | Some(0) => Ok(None),
        Some(value) => u64::try_from(value).map(Some).map_err(|_| not(service, key, "must not be negative")),
    };
    let swappiness = match service.mem_swappiness {
        None | Some(-1) => None,
        Some(value) => match u8::try_from(value) {
            Ok(value) if value <= 100 => Some(value),
            _ => return Err(not(service, "mem_swappiness", "must be from 0 to 100")),
        },
    };
    let io = service.blkio_config.clone().unwrap_or_default();
    let rates = |rates: Vec<project::DeviceRate>| {
        rates.into_iter().map(|rate| BlkioRate { path: rate.path, rate: rate.rate }).collect()
    };
    let weights = io.weight_device.into_iter();
    let bound = |limit: Limit| match limit {
        Limit::AtMost(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Limit::Unlimited => -1,
    };
    Ok(Resources {
        memory,
        memory_swap: service.memswap_limit.map(|bytes| bytes.0).filter(|bytes| *bytes != 0),
        memory_reservation: reserved,
        memory_swappiness: swappiness,
        nano_cpus: cpus.map(|cpus| cpus.nanos).filter(|nanos| *nanos > 0),
        cpu_shares: unsigned("cpu_shares", service.cpu_shares)?,
        cpu_period: unsigned("cpu_period", service.cpu_period)?,
        cpu_quota: service.cpu_quota.filter(|quota| *quota != 0),
        cpu_rt_period: unsigned("cpu_rt_period", service.cpu_rt_period)?,
        cpu_rt_runtime: unsigned("cpu_rt_runtime", service.cpu_rt_runtime)?,
        cpuset_cpus: service.cpuset.clone().filter(|set| !set.is_empty()),
        cpuset_mems: None,
        pids,
        oom_kill_disable: service.oom_kill_disable,
        blkio_weight: io.weight.filter(|weight| *weight > 0),
        blkio_weight_device: weights
            .map(|weight| BlkioWeight { path: weight.path, weight: weight.weight })
            .collect(),
        device_read_bps: rates(io.device_read_bps),
        device_write_bps: rates(io.device_write_bps),
        device_read_iops: rates(io.device_read_iops),
        device_write_iops: rates(io.device_write_iops),
        device_rules: service.device_cgroup_rules.clone(),
        ulimits: service
            .ulimits
            .iter()
            .map(|(name, limit)| Ulimit {
                name: name.clone(),
                soft: bound(limit.soft),
                hard: bound(limit.hard),
            })
            .collect(),
    })
}
