//! The document of a container, as Docker's templates know it.

use super::shape::Shape::{Json, List, Map, Number, Optional, Span, Struct, Text, Truth};
use super::shape::{Field, Shape};

const fn f(name: &'static str, shape: Shape) -> Field {
    Field::new(name, shape)
}

const fn called(name: &'static str, json: &'static str, shape: Shape) -> Field {
    Field::called(name, json, shape)
}

const TEXTS: Shape = List(&Text);
const TEXT_MAP: Shape = Map(&Text);
const SET: Shape = Map(&Struct(&[]));

/// What `container inspect` tells.
pub(crate) const CONTAINER: Shape = Struct(&[
    called("ID", "Id", Text),
    f("Created", Text),
    f("Path", Text),
    f("Args", TEXTS),
    f("State", Optional(&STATE)),
    f("Image", Text),
    f("ResolvConfPath", Text),
    f("HostnamePath", Text),
    f("HostsPath", Text),
    f("LogPath", Text),
    f("Name", Text),
    f("RestartCount", Number),
    f("Driver", Text),
    f("Platform", Text),
    f("MountLabel", Text),
    f("ProcessLabel", Text),
    f("AppArmorProfile", Text),
    f("ExecIDs", TEXTS),
    f("HostConfig", Optional(&HOST_CONFIG)),
    f("GraphDriver", Struct(&[f("Data", TEXT_MAP), f("Name", Text)])),
    f("SizeRw", Optional(&Number)),
    f("SizeRootFs", Optional(&Number)),
    f("Mounts", List(&MOUNT)),
    f("Config", Optional(&CONFIG)),
    f("NetworkSettings", Optional(&NETWORK_SETTINGS)),
    f("ImageManifestDescriptor", Optional(&Json)),
]);

const STATE: Shape = Struct(&[
    f("Status", Text),
    f("Running", Truth),
    f("Paused", Truth),
    f("Restarting", Truth),
    f("OOMKilled", Truth),
    f("Dead", Truth),
    f("Pid", Number),
    f("ExitCode", Number),
    f("Error", Text),
    f("StartedAt", Text),
    f("FinishedAt", Text),
    f(
        "Health",
        Optional(&Struct(&[
            f("Status", Text),
            f("FailingStreak", Number),
            f(
                "Log",
                List(&Optional(&Struct(&[
                    f("Start", Text),
                    f("End", Text),
                    f("ExitCode", Number),
                    f("Output", Text),
                ]))),
            ),
        ])),
    ),
]);

const MOUNT: Shape = Struct(&[
    f("Type", Text),
    f("Name", Text),
    f("Source", Text),
    f("Destination", Text),
    f("Driver", Text),
    f("Mode", Text),
    f("RW", Truth),
    f("Propagation", Text),
]);

const PORTS: Shape = Map(&List(&Struct(&[called("HostIP", "HostIp", Text), f("HostPort", Text)])));
const RATES: Shape = List(&Optional(&Struct(&[f("Path", Text), f("Rate", Number)])));

const HOST_CONFIG: Shape = Struct(&[
    f("Binds", TEXTS),
    f("ContainerIDFile", Text),
    f("LogConfig", Struct(&[f("Type", Text), f("Config", TEXT_MAP)])),
    f("NetworkMode", Text),
    f("PortBindings", PORTS),
    f("RestartPolicy", Struct(&[f("Name", Text), f("MaximumRetryCount", Number)])),
    f("AutoRemove", Truth),
    f("VolumeDriver", Text),
    f("VolumesFrom", TEXTS),
    f("ConsoleSize", List(&Number)),
    f("Annotations", TEXT_MAP),
    f("CapAdd", TEXTS),
    f("CapDrop", TEXTS),
    f("CgroupnsMode", Text),
    called("DNS", "Dns", TEXTS),
    called("DNSOptions", "DnsOptions", TEXTS),
    called("DNSSearch", "DnsSearch", TEXTS),
    f("ExtraHosts", TEXTS),
    f("GroupAdd", TEXTS),
    f("IpcMode", Text),
    f("Cgroup", Text),
    f("Links", TEXTS),
    f("OomScoreAdj", Number),
    f("PidMode", Text),
    f("Privileged", Truth),
    f("PublishAllPorts", Truth),
    f("ReadonlyRootfs", Truth),
    f("SecurityOpt", TEXTS),
    f("StorageOpt", TEXT_MAP),
    f("Tmpfs", TEXT_MAP),
    f("UTSMode", Text),
    f("UsernsMode", Text),
    f("ShmSize", Number),
    f("Sysctls", TEXT_MAP),
    f("Runtime", Text),
    f("Isolation", Text),
    called("CPUShares", "CpuShares", Number),
    f("Memory", Number),
    called("NanoCPUs", "NanoCpus", Number),
    f("CgroupParent", Text),
    f("BlkioWeight", Number),
    f("BlkioWeightDevice", List(&Optional(&Struct(&[f("Path", Text), f("Weight", Number)])))),
    f("BlkioDeviceReadBps", RATES),
    f("BlkioDeviceWriteBps", RATES),
    f("BlkioDeviceReadIOps", RATES),
    f("BlkioDeviceWriteIOps", RATES),
    called("CPUPeriod", "CpuPeriod", Number),
    called("CPUQuota", "CpuQuota", Number),
    called("CPURealtimePeriod", "CpuRealtimePeriod", Number),
    called("CPURealtimeRuntime", "CpuRealtimeRuntime", Number),
    f("CpusetCpus", Text),
    f("CpusetMems", Text),
    f(
        "Devices",
        List(&Struct(&[f("PathOnHost", Text), f("PathInContainer", Text), f("CgroupPermissions", Text)])),
    ),
    f("DeviceCgroupRules", TEXTS),
    f(
        "DeviceRequests",
        List(&Struct(&[
            f("Driver", Text),
            f("Count", Number),
            f("DeviceIDs", TEXTS),
            f("Capabilities", List(&TEXTS)),
            f("Options", TEXT_MAP),
        ])),
    ),
    f("KernelMemory", Number),
    f("KernelMemoryTCP", Number),
    f("MemoryReservation", Number),
    f("MemorySwap", Number),
    f("MemorySwappiness", Optional(&Number)),
    f("OomKillDisable", Optional(&Truth)),
    f("PidsLimit", Optional(&Number)),
    f("Ulimits", List(&Optional(&Struct(&[f("Name", Text), f("Hard", Number), f("Soft", Number)])))),
    called("CPUCount", "CpuCount", Number),
    called("CPUPercent", "CpuPercent", Number),
    f("IOMaximumIOps", Number),
    f("IOMaximumBandwidth", Number),
    f("Mounts", List(&Json)),
    f("MaskedPaths", TEXTS),
    f("ReadonlyPaths", TEXTS),
    f("Init", Optional(&Truth)),
]);

const CONFIG: Shape = Struct(&[
    f("Hostname", Text),
    f("Domainname", Text),
    f("User", Text),
    f("AttachStdin", Truth),
    f("AttachStdout", Truth),
    f("AttachStderr", Truth),
    f("ExposedPorts", SET),
    f("Tty", Truth),
    f("OpenStdin", Truth),
    f("StdinOnce", Truth),
    f("Env", TEXTS),
    f("Cmd", TEXTS),
    f(
        "Healthcheck",
        Optional(&Struct(&[
            f("Test", TEXTS),
            f("Interval", Span),
            f("Timeout", Span),
            f("StartPeriod", Span),
            f("StartInterval", Span),
            f("Retries", Number),
        ])),
    ),
    f("ArgsEscaped", Truth),
    f("Image", Text),
    f("Volumes", SET),
    f("WorkingDir", Text),
    f("Entrypoint", TEXTS),
    f("NetworkDisabled", Truth),
    f("MacAddress", Text),
    f("OnBuild", TEXTS),
    f("Labels", TEXT_MAP),
    f("StopSignal", Text),
    f("StopTimeout", Optional(&Number)),
    f("Shell", TEXTS),
]);

const NETWORK_SETTINGS: Shape = Struct(&[
    f("Bridge", Text),
    f("SandboxID", Text),
    f("SandboxKey", Text),
    f("Ports", PORTS),
    f("HairpinMode", Truth),
    f("LinkLocalIPv6Address", Text),
    f("LinkLocalIPv6PrefixLen", Number),
    f("SecondaryIPAddresses", List(&Json)),
    f("SecondaryIPv6Addresses", List(&Json)),
    f("EndpointID", Text),
    f("Gateway", Text),
    f("GlobalIPv6Address", Text),
    f("GlobalIPv6PrefixLen", Number),
    f("IPAddress", Text),
    f("IPPrefixLen", Number),
    f("IPv6Gateway", Text),
    f("MacAddress", Text),
    f("Networks", Map(&Optional(&ENDPOINT))),
]);

const ENDPOINT: Shape = Struct(&[
    f(
        "IPAMConfig",
        Optional(&Struct(&[f("IPv4Address", Text), f("IPv6Address", Text), f("LinkLocalIPs", TEXTS)])),
    ),
    f("Links", TEXTS),
    f("Aliases", TEXTS),
    f("MacAddress", Text),
    f("DriverOpts", TEXT_MAP),
    f("GwPriority", Number),
    f("NetworkID", Text),
    f("EndpointID", Text),
    f("Gateway", Text),
    f("IPAddress", Text),
    f("IPPrefixLen", Number),
    f("IPv6Gateway", Text),
    f("GlobalIPv6Address", Text),
    f("GlobalIPv6PrefixLen", Number),
    f("DNSNames", TEXTS),
]);
