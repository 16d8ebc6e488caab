//! What Dockerfiles do, as their results show.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::scene::{assert_clean, build, built, built_from, file, scene, states};

#[test]
fn stages_arguments_and_environment() {
    let Some(context) = scene("stages_arguments_and_environment") else { return };
    context.write("in.txt", "one\n");
    let text = "\
ARG BASE=busybox
ARG GLOBAL=g
FROM ${BASE} AS tools
ARG GLOBAL
ARG LOCAL=l
ENV FIXED=$LOCAL-env PATH=$PATH:/opt
RUN echo \"$GLOBAL $LOCAL $FIXED\" > /seen
FROM tools AS child
RUN echo \"[$LOCAL] $FIXED\" > /child
FROM $BASE AS other
RUN echo \"[$GLOBAL] [$LOCAL] [$FIXED]\" > /other
FROM scratch
COPY --from=tools /seen /
COPY --from=child /child /
COPY --from=2 /other /
COPY in.txt /deep/er/renamed.txt
";
    built_from(&context, text, ["-o", "out"]);
    assert_eq!(file(&context, "out/seen"), "g l l-env\n");
    assert_eq!(file(&context, "out/child"), "[l] l-env\n", "values of ARG reach a stage built on this one");
    assert_eq!(file(&context, "out/other"), "[] [] []\n");
    assert_eq!(file(&context, "out/deep/er/renamed.txt"), "one\n");
    let names = [("GLOBAL", "G"), ("LOCAL", "L")].map(|(name, value)| format!("{name}={value}"));
    built(&context, ["--build-arg", &names[0], "--build-arg", &names[1], "-o", "out2"]);
    assert_eq!(file(&context, "out2/seen"), "G L L-env\n");
    assert_clean(&context);
}

#[test]
fn copies_with_owner_and_mode() {
    let Some(context) = scene("copies_with_owner_and_mode") else { return };
    context.write("a/f.sh", "#!/bin/sh\n");
    context.write("a/sub/g", "g");
    let text = "\
FROM busybox AS made
RUN mkdir /made && echo x > /made/x && chown -R 5:6 /made && ln -s x /made/l
FROM busybox
COPY --chown=nobody:nogroup --chmod=750 a /a
COPY --chown=7 a/f.sh /seven
COPY --from=made /made /made
COPY --link --chmod=u=rwX,go=rX a/sub /linked/
RUN cd / && stat -c '%n %u:%g %a' a a/f.sh a/sub a/sub/g seven made made/x linked/g > /stats && readlink made/l >> /stats
";
    built_from(&context, text, ["-o", "out"]);
    let expected = "\
a 65534:65534 750
a/f.sh 65534:65534 750
a/sub 65534:65534 750
a/sub/g 65534:65534 750
seven 7:7 644
made 0:0 755
made/x 5:6 644
linked/g 0:0 644
x
";
    assert_eq!(file(&context, "out/stats"), expected);
    assert_clean(&context);
}

#[test]
fn texts_in_the_dockerfile() {
    let Some(context) = scene("texts_in_the_dockerfile") else { return };
    let text = "\
FROM busybox
ARG WHO=you
RUN <<EOF
set -e
echo first > /lines
echo \"second $WHO\" >> /lines
EOF
RUN <<'EOF' cat > /quoted
$WHO stays
EOF
COPY <<EOF <<-TWO /texts/
hello $WHO
EOF
\t\tindented
\tTWO
RUN <<EOF
#!/bin/awk -f
BEGIN { print \"awk ran\" > \"/script\" }
EOF
";
    built_from(&context, text, ["-o", "out"]);
    assert_eq!(file(&context, "out/lines"), "first\nsecond you\n");
    assert_eq!(file(&context, "out/quoted"), "$WHO stays\n");
    assert_eq!(file(&context, "out/texts/EOF"), "hello you\n");
    assert_eq!(file(&context, "out/texts/TWO"), "indented\n");
    assert_eq!(file(&context, "out/script"), "awk ran\n");
    assert_clean(&context);
}

#[test]
fn what_the_context_leaves_out_and_archives_that_are_unpacked() {
    let Some(context) = scene("what_the_context_leaves_out_and_archives_that_are_unpacked") else { return };
    for path in ["keep.txt", "drop.log", "deep/drop.log", "deep/keep.log", "node/x/y", "secret/.env"] {
        context.write(path, path);
    }
    context.write(".dockerignore", "# comment\n**/*.log\n!deep/keep.log\nnode\nsecret/*\n");
    context.write("packed/inner/p.txt", "packed");
    let packed = context.project().join("packed");
    let made = std::process::Command::new("tar")
        .arg("-C")
        .arg(&packed)
        .args(["-czf"])
        .arg(context.project().join("p.tar.gz"))
        .arg("inner")
        .status();
    assert!(made.expect("there is a tar program").success());
    let text = "\
FROM busybox
COPY . /all
ADD p.tar.gz /unpacked/
COPY p.tar.gz /copied/
RUN cd /all && find . -type f | sort > /list
";
    built_from(&context, text, ["-o", "out"]);
    let expected =
        "./.dockerignore\n./Dockerfile\n./deep/keep.log\n./keep.txt\n./p.tar.gz\n./packed/inner/p.txt\n";
    assert_eq!(file(&context, "out/list"), expected);
    assert_eq!(file(&context, "out/unpacked/inner/p.txt"), "packed");
    assert!(context.project().join("out/copied/p.tar.gz").is_file());
    assert_clean(&context);
}

#[test]
fn every_mount_of_a_step() {
    let Some(mut context) = scene("every_mount_of_a_step") else { return };
    context.write("src/input", "from the context");
    context.write("token.txt", "file secret");
    context.set("MY_TOKEN", "variable secret");
    let text = "\
FROM busybox AS stage
RUN echo 'from the stage' > /given && mkdir -m 1750 /seed && echo s > /seed/f && chown 5:6 /seed
FROM busybox
RUN --mount=type=cache,id=c,target=/cache echo kept >> /cache/log
RUN --mount=type=cache,id=c,target=/elsewhere cp /elsewhere/log /from-cache
RUN --mount=type=cache,from=stage,source=/seed,target=/s,mode=0700,uid=9 cat /s/f > /from-seed && stat -c '%a %u:%g' /s >> /from-seed
RUN --mount=type=bind,source=src,target=/in cat /in/input > /from-context && ! touch /in/no 2>/dev/null
RUN --mount=type=bind,source=src,target=/in,rw echo changed > /in/input && cat /in/input > /changed
RUN --mount=from=stage,source=/given,target=/g cat /g > /from-stage
RUN --mount=type=tmpfs,target=/mem,size=1m grep ' /mem tmpfs ' /proc/mounts | cut -d' ' -f2-3 > /from-tmpfs; \\
    dd if=/dev/zero of=/mem/x bs=1M count=3 2>/dev/null && exit 1 || true
RUN --mount=type=secret,id=file cat /run/secrets/file > /from-secret; stat -c '%a %u' /run/secrets/file >> /from-secret
RUN --mount=type=secret,id=variable,env=TOKEN,target=/t,mode=0444 echo \"$TOKEN $(cat /t)\" > /from-variable
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
RUN ls -A /cache /elsewhere /in /mem /run/secrets > /left 2>&1 || true
";
    let secrets = ["id=file,src=token.txt", "id=variable,env=MY_TOKEN"];
    let output = built_from(&context, text, ["--secret", secrets[0], "--secret", secrets[1], "-o", "out"]);
    assert_eq!(file(&context, "out/from-cache"), "kept\n");
    assert_eq!(file(&context, "out/from-seed"), "s\n1750 5:6\n", "what a cache begins with stays what it is");
    assert_eq!(file(&context, "out/from-context"), "from the context");
    assert_eq!(file(&context, "out/changed"), "changed\n");
    assert_eq!(file(&context, "src/input"), "from the context", "writes into the context are thrown away");
    assert_eq!(file(&context, "out/from-stage"), "from the stage\n");
    assert_eq!(file(&context, "out/from-tmpfs"), "/mem tmpfs\n");
    assert_eq!(file(&context, "out/from-secret"), "file secret400 0\n");
    assert_eq!(file(&context, "out/from-variable"), "variable secret variable secret\n");
    for secret in ["file secret", "variable secret"] {
        assert!(!output.stderr.contains(secret), "a secret was told: {output}");
    }
    for place in ["cache", "elsewhere", "in", "mem"] {
        let left = context.project().join("out").join(place);
        let empty = fs::read_dir(&left).map_or(true, |mut entries| entries.next().is_none());
        assert!(empty, "{} holds what was mounted", left.display());
    }
    assert!(!context.project().join("out/run/secrets/file").exists());
    let needed = "FROM busybox\nRUN --mount=type=secret,id=needed,required=true true\n";
    context.write("Dockerfile", needed);
    let output = build(&context, []);
    output.assert_code(1);
    assert!(output.stderr.contains("needed") && output.stderr.contains("Dockerfile:2"), "{output}");
    assert_clean(&context);
}

#[test]
fn targets_and_stages_that_nobody_needs() {
    let Some(context) = scene("targets_and_stages_that_nobody_needs") else { return };
    let text = "\
FROM busybox AS first
RUN echo one > /one
FROM busybox AS unused
RUN echo never && exit 1
FROM first AS second
RUN echo two > /two
FROM scratch
COPY --from=second /one /two /
";
    let output = built_from(&context, text, ["-o", "out"]);
    assert!(!output.stderr.contains("never"), "{output}");
    assert_eq!((file(&context, "out/one"), file(&context, "out/two")), ("one\n".into(), "two\n".into()));
    let output = built(&context, ["--target", "first", "-t", "first"]);
    assert_eq!(states(&output), "CACHED", "only the target's steps: {output}");
    let output = build(&context, ["--target", "secnd"]);
    output.assert_code(1);
    assert!(output.stderr.contains("secnd") && output.stderr.contains("did you mean second?"), "{output}");
    let output = build(&context, ["--target", "unused"]);
    output.assert_code(1);
    assert!(output.stderr.contains("Dockerfile:4") && output.stderr.contains("exit code: 1"), "{output}");
    assert_clean(&context);
}

#[test]
fn users_folders_shells_and_links() {
    let Some(context) = scene("users_folders_shells_and_links") else { return };
    context.write("run.sh", "#!/bin/sh\necho ran\n");
    fs::set_permissions(context.project().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let text = "\
FROM busybox
WORKDIR /work/dir
COPY run.sh ./
RUN ./run.sh > out
RUN ln -s /work/dir /alias
COPY run.sh /alias/through-link.sh
SHELL [\"/bin/ash\", \"-ec\"]
RUN echo $0 > /shell
WORKDIR sub
USER nobody
RUN id -u > /tmp/uid; pwd > /tmp/pwd; if touch /etc/no 2>/dev/null; then exit 1; fi
RUN [\"/bin/sh\", \"-c\", \"echo exec $HOME > /tmp/exec\"]
";
    built_from(&context, text, ["-o", "out"]);
    assert_eq!(file(&context, "out/work/dir/out"), "ran\n");
    assert!(context.project().join("out/work/dir/through-link.sh").is_file());
    assert_eq!(file(&context, "out/shell"), "/bin/ash\n");
    assert_eq!(file(&context, "out/tmp/uid"), "65534\n");
    assert_eq!(file(&context, "out/tmp/pwd"), "/work/dir/sub\n");
    assert!(file(&context, "out/tmp/exec").starts_with("exec"));
    assert_clean(&context);
}

#[test]
fn networks_of_steps() {
    let Some(context) = scene("networks_of_steps") else { return };
    let quiet = "RUN cat /sys/class/net/eth0/address >> /quiet\n";
    let connects = "RUN cat /sys/class/net/eth0/address >> /connects && test $(wc -l < /proc/net/tcp) -eq 1 && \\\n    \
                    httpd -p 7777 -h /etc && wget -q -O /dev/null http://127.0.0.1:7777/passwd\n";
    let text = format!("FROM busybox\n{}{}", quiet.repeat(6), connects.repeat(4));
    built_from(&context, &text, ["-o", "out"]);
    let links = |name: &str| file(&context, name).lines().map(str::to_owned).collect::<BTreeSet<_>>().len();
    assert!(links("out/quiet") <= 3, "a step gets the network of one before it");
    assert_eq!(links("out/connects"), 4, "but none in which a connection is remembered");
    assert_clean(&context);
}

#[test]
fn devices_by_their_names() {
    let Some(context) = scene("devices_by_their_names") else { return };
    let spec = format!(
        "cdiVersion: 0.6.0\nkind: example.com/zero\ndevices:\n- name: first\n  containerEdits:\n    env: [GIVEN=yes]\n\
         \x20   deviceNodes: [{{path: /dev/nought, hostPath: /dev/zero, uid: 5}}]\n\
         \x20   mounts: [{{hostPath: {}, containerPath: /opt/driver, options: [ro, bind]}}]\n",
        context.project().join("driver").display()
    );
    context.write("cdi/zero.yaml", &spec);
    context.write("driver/lib.so", "code\n");
    context.write("config.toml", format!("[steps]\ndevices = [{:?}]\n", context.project().join("cdi")));
    let text = "\
FROM busybox
RUN --device=example.com/zero,required --device=example.com/none stat -c '%t:%T %u' /dev/nought > /seen && \\
    head -c 3 /dev/nought | od -An -t x1 >> /seen && cat /opt/driver/lib.so >> /seen && echo \"$GIVEN\" >> /seen
RUN ls /dev/nought /opt 2>/dev/null | wc -l >> /seen
";
    context.write("Dockerfile", text);
    let run = |more: &[&str]| {
        let arguments = ["--config", "config.toml", "build", "-o", "out", "."];
        context.rbuild(arguments.iter().chain(more)).run()
    };
    let refused = run(&[]);
    assert!(!refused.status.success());
    let why = "device example.com/zero=first is requested by the build but not allowed";
    assert!(refused.stderr.contains(why) && refused.stderr.contains("Dockerfile:2"), "{refused}");
    let given = run(&["--allow", "device=example.com/zero"]);
    given.assert_success();
    assert!(given.stderr.contains("device example.com/none is not registered"), "{given}");
    assert_eq!(file(&context, "out/seen"), "1:5 5\n 00 00 00\ncode\nyes\n0\n");
    context.write("Dockerfile", text.replace("none", "none,required"));
    let missing = run(&["--allow", "device"]);
    assert!(missing.stderr.contains("required device \"example.com/none\" is not registered"), "{missing}");
    assert_clean(&context);
}

#[test]
fn keys_in_files_are_offered_by_an_agent() {
    const TEST: &str = "keys_in_files_are_offered_by_an_agent";
    let Some(context) = scene(TEST) else { return };
    let keygen = |name: &str, passphrase: &str| {
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-f", name])
            .current_dir(context.project())
            .status()
    };
    if keygen("key", "").is_err() {
        rbuild_testkit::privilege::missing(TEST, "ssh-keygen is not installed");
        return;
    }
    assert!(keygen("locked", "secret").unwrap().success());
    context.write(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=ssh,id=git,required [ -S \"$SSH_AUTH_SOCK\" ] && echo \"$SSH_AUTH_SOCK\" > /o\n",
    );
    built(&context, ["--ssh", "git=key", "-o", "out"]);
    assert_eq!(file(&context, "out/o"), "/run/buildkit/ssh_agent.0\n");
    for (key, why) in [("locked", "ssh-add does not take locked"), ("none", "there is no key `none`")] {
        let refused = context.rbuild(["build", "--ssh", &format!("git={key}"), "."]).run();
        refused.assert_code(1);
        assert!(refused.stderr.contains(why), "{refused}");
    }
    assert_clean(&context);
}
