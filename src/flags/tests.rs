//! Tables of texts and what they mean.

use rbuild_model::container::DeviceRequest;

use super::port::PortRange;
use super::*;

/// Checks texts against the debug form of what they mean, or the error.
fn check<T: std::fmt::Debug>(read: impl Fn(&str) -> Read<T>, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let actual = match read(text) {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(&actual, expected, "{text:?}");
    }
}

#[test]
fn sizes() {
    check(
        bytes,
        &[
            ("64", "64"),
            ("512m", "536870912"),
            ("1g", "1073741824"),
            ("1.5GiB", "1610612736"),
            ("10 kB", "10240"),
            ("3b", "3"),
            ("1x", "error: unknown unit `x`: use a number with b, k, m, g, t or p, as in `512m`"),
            ("-1", "error: not a size: use a number with b, k, m, g, t or p, as in `512m`"),
            ("", "error: not a size: use a number with b, k, m, g, t or p, as in `512m`"),
            ("1.2.3m", "error: not a number: use a number with b, k, m, g, t or p, as in `512m`"),
            ("9999999999p", "error: the size is larger than any machine"),
        ],
    );
    check(swap, &[("-1", "Unlimited"), ("1k", "Total(1024)")]);
}

#[test]
fn limits() {
    check(
        |text| ulimit(text).map(|limit| (limit.name, limit.soft, limit.hard)),
        &[
            ("nofile=1024", r#"("nofile", 1024, 1024)"#),
            ("nofile=1024:2048", r#"("nofile", 1024, 2048)"#),
            ("core=-1", r#"("core", -1, -1)"#),
            ("nofile=2:1", "error: the soft limit must not be above the hard limit: 2 > 1"),
            ("nofile=-1:1", "error: the soft limit must not be above the hard limit: -1 > 1"),
            ("nofiles=1", "error: unknown limit `nofiles` (did you mean `nofile`?)"),
            ("nofile", "error: write `NAME=SOFT[:HARD]`, as in `nofile=1024:2048`"),
            ("nofile=a", "error: `a` is not a limit: use a number, or -1 for none"),
        ],
    );
    check(
        cpus,
        &[
            ("1.5", "Cpus(1500000000)"),
            (".25", "Cpus(250000000)"),
            ("2", "Cpus(2000000000)"),
            ("x", "error: not a number of processors: write one like `2` or `1.5`"),
            (".", "error: not a number of processors: write one like `2` or `1.5`"),
        ],
    );
    check(
        cpuset,
        &[
            ("0-3,7", "\"0-3,7\""),
            ("3-0", "error: not a list of processors: write one like `0-3` or `0,1`"),
            ("", "error: not a list of processors: write one like `0-3` or `0,1`"),
        ],
    );
    check(
        capability,
        &[
            ("net_admin", "\"NET_ADMIN\""),
            ("CAP_SYS_PTRACE", "\"SYS_PTRACE\""),
            ("all", "\"ALL\""),
            ("net_admn", "error: unknown capability `NET_ADMN` (did you mean `NET_ADMIN`?)"),
            ("frobnicate", "error: unknown capability `FROBNICATE`: see `man 7 capabilities`"),
        ],
    );
    check(
        device,
        &[
            ("/dev/fuse", r#"Node(DeviceUse { host: "/dev/fuse", container: "/dev/fuse", access: "rwm" })"#),
            ("/dev/a:r", r#"Node(DeviceUse { host: "/dev/a", container: "/dev/a", access: "r" })"#),
            ("/dev/a:/dev/b:rw", r#"Node(DeviceUse { host: "/dev/a", container: "/dev/b", access: "rw" })"#),
            ("vendor.com/gpu=0", r#"Named("vendor.com/gpu=0")"#),
            ("vendor.com/gpu", "error: `vendor.com/gpu` is not an absolute path"),
            ("/dev/a:/dev/b:x", "error: `x` are no rights: use some of `rwm`"),
            ("fuse", "error: `fuse` is not an absolute path"),
        ],
    );
    let told = |text: &str| {
        let DeviceRequest { driver, count, ids, capabilities, options } = gpus(text)?;
        Ok(format!("{driver} {count} {ids:?} {capabilities:?} {options:?}"))
    };
    check(
        told,
        &[
            ("all", r#"" -1 [] [[\"gpu\"]] {}""#),
            ("2", r#"" 2 [] [[\"gpu\"]] {}""#),
            ("device=1", r#"" 0 [\"1\"] [[\"gpu\"]] {}""#),
            (
                "\"device=0,2\",driver=nvidia,capabilities=compute",
                r#""nvidia 0 [\"0\", \"2\"] [[\"compute\", \"gpu\"]] {}""#,
            ),
            (
                "capabilities=utility,\"options=a=b,c\"",
                r#"" 1 [] [[\"utility\", \"gpu\"]] {\"a\": \"b\", \"c\": \"\"}""#,
            ),
            ("some", "error: invalid count (some): value must be either \"all\" or an integer"),
            ("1,count=2", "error: gpu request key 'count' can be specified only once"),
            (
                "colour=red",
                "error: unknown key `colour`: use one of [count, device, driver, capabilities, options]",
            ),
        ],
    );
    check(
        sysctl,
        &[
            ("net.core.somaxconn=5", r#"Sysctl { name: "net.core.somaxconn", value: "5" }"#),
            ("kernel/sem=5", r#"Sysctl { name: "kernel.sem", value: "5" }"#),
            ("x", "error: write `NAME=VALUE`, as in `net.core.somaxconn=1024`"),
            (
                "kernel.hostname=x",
                "error: sysctl 'kernel.hostname=x' is not allowed: use one of the container's own namespaces, \
                 [kernel.msgmax, kernel.msgmnb, kernel.msgmni, kernel.sem, kernel.shmall, kernel.shmmax, kernel.shmmni, \
                 kernel.shm_rmid_forced] or one below net., fs.mqueue.",
            ),
        ],
    );
}

#[test]
fn variables() {
    check(
        env_entry,
        &[
            ("A=b=c", r#"EnvEntry { name: "A", value: Some("b=c") }"#),
            ("A=", r#"EnvEntry { name: "A", value: Some("") }"#),
            ("A", r#"EnvEntry { name: "A", value: None }"#),
            ("=b", "error: the variable has no name: write `NAME=value`, or `NAME` to pass yours on"),
        ],
    );
    check(
        label,
        &[
            ("a=b", r#"("a", "b")"#),
            ("a", r#"("a", "")"#),
            ("=b", "error: the label has no key: write `key=value`"),
        ],
    );
}

#[test]
fn files_of_variables() {
    let entries = env_file("\u{feff}# c\n\n  A=1 2 \nB\nC=\"x\"\n").unwrap();
    let texts: Vec<_> = entries
        .iter()
        .map(|entry| format!("{}|{}", entry.name, entry.value.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(texts, ["A|1 2 ", "B|-", "C|\"x\""]);
    assert_eq!(
        env_file("A=1\nA B=2").unwrap_err().to_string(),
        "line 2: variable `A B` contains white space"
    );
    assert_eq!(env_file("=2").unwrap_err().to_string(), "line 1: no variable name on line `=2`");
}

#[test]
fn hosts() {
    check(
        |text| add_host(text).map(|host| format!("{} {}", host.name, host.address)),
        &[
            ("db:10.0.0.7", "\"db 10.0.0.7\""),
            ("db=10.0.0.7", "\"db 10.0.0.7\""),
            ("db:[::1]", "\"db ::1\""),
            ("db:::1", "\"db ::1\""),
            ("h:host-gateway", "\"h host-gateway\""),
            ("a", "error: write `NAME:ADDRESS` or `NAME=ADDRESS`, as in `db:10.0.0.7`"),
            ("a:b", "error: `b` is not an IP address nor `host-gateway`"),
        ],
    );
}

#[test]
fn ports() {
    let short = |text: &str| {
        publish(text).map(|port| {
            let host = port.host.map_or("any".to_owned(), |host| format!("{}-{}", host.first, host.last));
            let address = port.address.map_or("*".to_owned(), |address| address.to_string());
            let PortRange { first, last } = port.container;
            format!("{address} {host} {first}-{last} {:?}", port.protocol)
        })
    };
    check(
        short,
        &[
            ("80", "\"* any 80-80 Tcp\""),
            ("8080:80", "\"* 8080-8080 80-80 Tcp\""),
            ("127.0.0.1:8080:80/udp", "\"127.0.0.1 8080-8080 80-80 Udp\""),
            ("127.0.0.1::80", "\"127.0.0.1 any 80-80 Tcp\""),
            ("[::1]:1:2", "\"::1 1-1 2-2 Tcp\""),
            ("8000-8010:80", "\"* 8000-8010 80-80 Tcp\""),
            ("1000-1002:2000-2002", "\"* 1000-1002 2000-2002 Tcp\""),
            ("1000-1001:2000-2002", "error: the ranges of host and container differ in length"),
            ("2-1", "error: the range 2-1 runs backwards"),
            ("x:80", "error: `x` is not a port: use 1 to 65535"),
            ("0", "error: a container cannot listen on port 0"),
            ("99999", "error: `99999` is not a port: use 1 to 65535"),
            ("80/quic", "error: unknown protocol `quic`: use one of [tcp, udp, sctp]"),
            ("1:2:3:4", "error: `1:2` is not an IP address"),
            ("8080:80/", "\"* 8080-8080 80-80 Tcp\""),
            ("published=8080,target=80", "\"* 8080-8080 80-80 Tcp\""),
            ("target=80-81,published=1000-1001,protocol=udp,mode=host", "\"* 1000-1001 80-81 Udp\""),
            ("target=80,mode=ingress", "\"* any 80-80 Tcp\""),
            ("target=80,mode=both", "error: unknown mode `both`: use one of [host, ingress]"),
            ("published=80", "error: it has no port of the container: write `target=PORT`"),
            (
                "target=80,host_ip=::1",
                "error: unknown key `host_ip`: use one of [target, published, protocol, mode]",
            ),
        ],
    );
}

#[test]
fn secrets() {
    check(
        secret,
        &[
            ("id=a", r#"Secret { id: "a", source: Either("a") }"#),
            ("id=a,src=/p", r#"Secret { id: "a", source: File("/p") }"#),
            ("src=p", r#"Secret { id: "p", source: File("p") }"#),
            ("id=a,env=V", r#"Secret { id: "a", source: Variable("V") }"#),
            ("id=a,type=env", r#"Secret { id: "a", source: Variable("a") }"#),
            ("type=env,id=a,src=V", r#"Secret { id: "a", source: Variable("V") }"#),
            ("id=a,type=file", r#"Secret { id: "a", source: File("a") }"#),
            (r#"id=a,"src=x,y""#, r#"Secret { id: "a", source: File("x,y") }"#),
            ("id=a,src=x,env=y", "error: `src` and `env` exclude each other"),
            ("id=a,type=file,env=y", "error: `type=file` and `env` exclude each other"),
            ("id=", "error: `id` needs a value: write `id=VALUE`"),
            ("foo", "error: unknown key `foo`: use one of [id, src, source, env, type]"),
            ("type=env", "error: the secret has no `id`: write `id=NAME[,src=PATH|,env=VARIABLE]`"),
            ("id=a,sorce=x", "error: unknown key `sorce` (did you mean `source`?)"),
        ],
    );
    check(
        ssh,
        &[
            ("default", r#"Ssh { id: "default", paths: [] }"#),
            ("k=/a,/b", r#"Ssh { id: "k", paths: ["/a", "/b"] }"#),
            ("k=", "error: no path behind `=`: leave it out for your own agent"),
            ("=a", "error: no id: write `default` or `ID=PATH`"),
        ],
    );
}

#[test]
fn contexts() {
    check(
        |text| Ok(context_source(text)),
        &[
            (".", r#"Local(".")"#),
            ("-", "Stdin"),
            ("docker-image://alpine", r#"Image("alpine")"#),
            ("oci-layout://d:t", r#"Layout("d:t")"#),
            ("https://h/x.git#main:sub", r#"Git("https://h/x.git#main:sub")"#),
            ("git@h:x", r#"Git("git@h:x")"#),
            ("github.com/a/b", r#"Git("github.com/a/b")"#),
            ("https://h/x.tar", r#"Http("https://h/x.tar")"#),
            ("target:x", r#"Target("x")"#),
        ],
    );
    check(
        build_context,
        &[
            ("a=b", r#"BuildContext { name: "a", source: Local("b") }"#),
            ("a", "error: write `NAME=PATH`, `NAME=docker-image://IMAGE` or `NAME=URL`"),
            (
                "B=c",
                r#"error: invalid context name B: invalid reference format: "B": repository name must be lowercase"#,
            ),
        ],
    );
}

#[test]
fn outputs() {
    check(
        |text| output(text).map(|output| output.kind),
        &[
            ("-", "Tar { dest: Stdout, platform_split: None }"),
            ("out", r#"Local { dest: "out", platform_split: None, leftovers: Keep }"#),
            (
                "type=local,dest=o,platform-split=false",
                r#"Local { dest: "o", platform_split: Some(false), leftovers: Keep }"#,
            ),
            ("type=oci,dest=o,tar=false", r#"Oci { dest: Path("o"), tar: Off, names: [] }"#),
            (
                r#"type=image,"name=a,b",push=true"#,
                r#"Image { names: ["a", "b"], push: On, by_digest: Off, store: On }"#,
            ),
            (
                "type=registry,name=a,store=false",
                r#"Image { names: ["a"], push: On, by_digest: Off, store: Off }"#,
            ),
            (
                "type=image,name=a,push-by-digest=true",
                r#"Image { names: ["a"], push: On, by_digest: On, store: On }"#,
            ),
            ("type=image,store=false", "error: `store=false` without `push=true` makes nothing"),
            ("type=docker", "Docker { dest: None, tar: On, names: [] }"),
            ("type=docker,dest=o,tar=false", r#"Docker { dest: Some(Path("o")), tar: Off, names: [] }"#),
            ("type=docker,tar=false", "error: `tar=false` makes a folder: give it one with `dest=PATH`"),
            ("type=local,dest=o,mode=copy", r#"Local { dest: "o", platform_split: None, leftovers: Keep }"#),
            (
                "type=local,dest=o,mode=delete",
                r#"Local { dest: "o", platform_split: None, leftovers: Remove }"#,
            ),
            ("type=local,dest=o,mode=mirror", "error: unknown mode `mirror`: use one of [copy, delete]"),
            (
                "type=oci,dest=o,compatibility-version=10",
                "error: `compatibility-version=10` is not supported: say what is meant: `oci-mediatypes=false` for Docker's media types",
            ),
            (
                "type=image,name=a,name-canonical=false,unpack=true",
                r#"Image { names: ["a"], push: Off, by_digest: Off, store: On }"#,
            ),
            ("type=image,unpack=perhaps", "error: `unpack`: `perhaps` is neither `true` nor `false`"),
            (
                "type=foo",
                "error: unknown type of output `foo`: use one of [local, tar, oci, docker, image, registry, cacheonly]",
            ),
            ("type=locl,dest=x", "error: unknown type of output `locl` (did you mean `local`?)"),
            (
                "dest=x",
                "error: no `type`: write one of [local, tar, oci, docker, image, registry, cacheonly]",
            ),
            ("type=local", "error: type `local` needs `dest=PATH`, or `dest=-` for standard output"),
            ("type=local,dest=-", "error: a folder cannot go to standard output: use `type=tar,dest=-`"),
            ("type=oci,tar=false", "error: `tar=false` makes a folder: give it one with `dest=PATH`"),
            (
                "type=tar,name=x",
                "error: unknown key of type `tar` `name`: use one of [type, dest, platform-split, source-date-epoch, attestation-prefix]",
            ),
            (
                "type=image,annotation-foo.a=b",
                "error: unknown place of an annotation `foo`: use one of [manifest, manifest-descriptor, index, index-descriptor]",
            ),
            (
                "type=image,compression=estargz",
                "error: compression `estargz` is not supported yet: use `gzip` or `zstd`",
            ),
            (
                "type=tar,source-date-epoch=context",
                "error: `context` is no time: use whole seconds since 1970",
            ),
            (
                "type=local,dest=x,rewrite-timestamp=false",
                "error: `rewrite-timestamp=false` is not supported: with an epoch, files in a folder or a tar have its time in any case",
            ),
            ("type=image,compression=gzip,compression-level=10", "error: compression level 10 is above 9"),
        ],
    );
    for (keys, epoch) in [("source-date-epoch=-5", Some(-5)), ("rewrite-timestamp=true", None)] {
        assert_eq!(output(&format!("type=tar,{keys}")).unwrap().epoch, epoch);
    }
    let zstd = output("type=image,compression=zstd,compression-level=22,rewrite-timestamp=true").unwrap();
    assert_eq!(zstd.compression, Some(Compression::Zstd));
    assert_eq!((zstd.compression_level, zstd.rewrite_timestamp), (Some(22), Some(true)));
}

#[test]
fn mounts() {
    check(
        mount,
        &[
            (
                "type=bind,src=/x,dst=/y,ro",
                r#"RunMount { target: "/y", read_only: On, kind: Bind { source: "/x", propagation: RecursivePrivate, recursion: All, create: Off }, asked: Long { driver: None, options: {}, labels: {} } }"#,
            ),
            (
                "src=data,dst=/y,volume-nocopy",
                r#"RunMount { target: "/y", read_only: Off, kind: Volume { name: Some("data"), copy: Off, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Long { driver: None, options: {}, labels: {} } }"#,
            ),
            (
                "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
                r#"RunMount { target: "/t", read_only: Off, kind: Tmpfs(TmpfsUse { size: Some(1048576), mode: Some(1016), uid: 0, gid: 0, exec: false, suid: false, dev: false, options: "size=1048576,mode=1770", more: [] }), asked: Long { driver: None, options: {}, labels: {} } }"#,
            ),
            (
                "type=foo,dst=/x",
                "error: unknown type of mount `foo`: use one of [bind, volume, tmpfs, image]",
            ),
            (
                "type=image,src=busybox,dst=/i,image-subpath=bin",
                r#"RunMount { target: "/i", read_only: Off, kind: Image { reference: "busybox", subpath: Some("bin") }, asked: Long { driver: None, options: {}, labels: {} } }"#,
            ),
            (
                "type=volume,src=,dst=/y,volume-subpath=,volume-driver=",
                r#"RunMount { target: "/y", read_only: Off, kind: Volume { name: None, copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Long { driver: None, options: {}, labels: {} } }"#,
            ),
            (
                "type=bind,src=/x,dst=/y,bind-propagation=",
                r#"RunMount { target: "/y", read_only: Off, kind: Bind { source: "/x", propagation: RecursivePrivate, recursion: All, create: Off }, asked: Long { driver: None, options: {}, labels: {} } }"#,
            ),
            ("type=bind,src=,dst=/y", "error: no `source`: a bind mount needs `source=PATH`"),
            ("type=volume,src=x,dst=", "error: no `target`: write `target=/PATH`"),
            ("type=image,dst=/i", "error: no `source`: an image mount needs `source=IMAGE`"),
            (
                "type=volume,dst=/i,image-subpath=x",
                "error: `image-subpath` belongs to type `image`, and this is type `volume`",
            ),
            ("type=bind,src=/x", "error: no `target`: write `target=/PATH`"),
            ("type=bind,dst=/x", "error: no `source`: a bind mount needs `source=PATH`"),
            (
                "type=bind,src=/x,dst=/x,tmpfs-size=1",
                "error: `tmpfs-size` belongs to type `tmpfs`, and this is type `bind`",
            ),
            ("type=bind,src=/x,dst=/", "error: nothing can be mounted over `/`"),
            ("type=bind,src=/x,dst=x", "error: `x` is not an absolute path in the container"),
            // What is behind a comma is a key of its own, never an option of the mount.
            (
                "type=bind,src=/x,dst=/x,bind-propagation=rslave,suid",
                "error: unknown key `suid`: use one of [type, source, src, target, destination, dst, readonly, ro, bind-propagation, bind-nonrecursive, bind-recursive, volume-nocopy, volume-subpath, volume-driver, volume-opt, volume-label, tmpfs-size, tmpfs-mode, image-subpath]",
            ),
            (
                "type=tmpfs,dst=/x,tmpfs-mode=700\nlowerdir=/",
                "error: `700\nlowerdir=/` are no permissions: write them in octal, as in `1777`",
            ),
            (
                "\"type=tmpfs\",dst=/x,\"tmpfs-size=1m,lowerdir=/\"",
                "error: unknown unit `m,lowerdir=/`: use a number with b, k, m, g, t or p, as in `512m`",
            ),
            ("type=bind,src=/x,dst=/x,taget=1", "error: unknown key `taget` (did you mean `target`?)"),
        ],
    );
}

#[test]
fn mounts_in_the_short_form() {
    check(
        volume,
        &[
            (
                "./a:/b:ro,rslave",
                r#"RunMount { target: "/b", read_only: On, kind: Bind { source: "./a", propagation: RecursiveSlave, recursion: All, create: On }, asked: Short { options: "ro,rslave" } }"#,
            ),
            (
                "/data",
                r#"RunMount { target: "/data", read_only: Off, kind: Volume { name: None, copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Target }"#,
            ),
            (
                "v1:/data:rshared",
                "error: mounts spread in folders of the host only: a volume has no propagation",
            ),
            (
                "/a:/data:nocopy",
                "error: `nocopy` is for volumes: nothing is ever copied into a folder of the host",
            ),
            (
                "v1:/data",
                r#"RunMount { target: "/data", read_only: Off, kind: Volume { name: Some("v1"), copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Short { options: "" } }"#,
            ),
            ("a:b:c:d", "error: write `[SOURCE:]TARGET[:OPTIONS]`, as in `./data:/data:ro`"),
            ("", "error: invalid empty volume spec"),
            (":/x", "error: invalid spec: :/x: empty section between colons"),
            ("vol::/y", "error: invalid spec: vol::/y: empty section between colons"),
            ("x::/y", "error: an empty path: write `[SOURCE:]TARGET[:OPTIONS]`"),
            ("/a:/b:/c:/d", "error: invalid spec: /a:/b:/c:/d: too many colons"),
            ("ab:/", "error: nothing can be mounted over `/`"),
            (
                "C:/x:ro",
                "error: volume name is too short, names should be at least two alphanumeric characters",
            ),
            // A letter and a colon are part of the path.
            (
                "a:/x",
                r#"RunMount { target: "/a:/x", read_only: Off, kind: Volume { name: None, copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Target }"#,
            ),
            (
                "a:",
                r#"RunMount { target: "/a:", read_only: Off, kind: Volume { name: None, copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Target }"#,
            ),
            (
                ":",
                r#"RunMount { target: "/:", read_only: Off, kind: Volume { name: None, copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Target }"#,
            ),
            (
                "rel",
                r#"RunMount { target: "/rel", read_only: Off, kind: Volume { name: None, copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Target }"#,
            ),
            (
                "./x",
                r#"RunMount { target: "/./x", read_only: Off, kind: Volume { name: None, copy: On, subpath: None, made: VolumeMaking { driver: None, options: {}, labels: {} } }, asked: Target }"#,
            ),
            (
                "a/b:/x",
                r#"error: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path"#,
            ),
            (
                "/a:/b:ro,z",
                r#"RunMount { target: "/b", read_only: On, kind: Bind { source: "/a", propagation: RecursivePrivate, recursion: All, create: On }, asked: Short { options: "ro,z" } }"#,
            ),
            ("/a:/b:rox", "error: unknown option `rox` (did you mean `ro`?)"),
            ("/a:/b:ro,rw", "error: invalid mode: ro,rw: `rw` repeats or contradicts what is said before it"),
            (
                "/a:/b:z,ro,Z",
                "error: invalid mode: z,ro,Z: `Z` repeats or contradicts what is said before it",
            ),
            (
                "/a:/b:shared,rslave",
                "error: invalid mode: shared,rslave: `rslave` repeats or contradicts what is said before it",
            ),
            (
                "/a:/b:cached,delegated",
                "error: invalid mode: cached,delegated: `delegated` repeats or contradicts what is said before it",
            ),
            ("/a:/b:ro,", "error: an empty option: write `[SOURCE:]TARGET[:OPTIONS]`"),
            ("/a:/b:", "error: invalid spec: /a:/b:: empty section between colons"),
        ],
    );
    check(
        tmpfs,
        &[
            (
                "/t:size=64k,noexec,mode=700",
                r#"RunMount { target: "/t", read_only: Off, kind: Tmpfs(TmpfsUse { size: Some(65536), mode: Some(448), uid: 0, gid: 0, exec: false, suid: false, dev: false, options: "size=64k,noexec,mode=700", more: [] }), asked: Short { options: "" } }"#,
            ),
            ("t", "error: `t` is no path below the root of a container"),
            (
                "/t:frob=1",
                "error: `frob=1` is no option of a tmpfs mount: use size=, mode=, uid=, gid=, nr_inodes=, nr_blocks=, mpol=, ro, rw, [no]exec, [no]suid, [no]dev, [no]atime, [no]diratime, relatime, strictatime, sync, dirsync",
            ),
        ],
    );
}

#[test]
fn platform_lists() {
    check(
        |text| platforms(text).map(|list| list.0.iter().map(ToString::to_string).collect::<Vec<_>>()),
        &[("linux/amd64,arm64", r#"["linux/amd64", "linux/arm64"]"#)],
    );
    assert!(platforms("linux/amd64,").is_err());
}

#[test]
fn domains() {
    check(
        domain,
        &[
            ("example.org", "\"example.org\""),
            (" a.b. ", "\"a.b.\""),
            (".", "\".\""),
            ("", "error: `` is not a valid domain"),
            ("1.2", "error: `1.2` is not a valid domain"),
            ("a..b", "error: `a..b` is not a valid domain"),
            ("-a", "error: `-a` is not a valid domain"),
        ],
    );
}
