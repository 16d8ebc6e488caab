//! Command lines and what becomes of them.

use super::*;
use crate::report;
use crate::terminal::Colour;

fn parsed(line: &str) -> anyhow::Result<Cli> {
    let words = std::iter::once("rbuild").chain(line.split_whitespace());
    parse(words.map(OsString::from))
}

fn told(line: &str) -> String {
    match parsed(line) {
        Ok(cli) => panic!("{line}: {cli:?}"),
        Err(error) => report::render(&error, Colour::Off),
    }
}

fn build(line: &str) -> build::Arguments {
    match parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).command {
        Command::Build(arguments) => *arguments,
        other => panic!("{line}: {other:?}"),
    }
}

fn run(line: &str) -> run::Options {
    match parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).command {
        Command::Run(arguments) => arguments.options,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    offered().debug_assert();
    bare().mut_subcommands(known).debug_assert();
    bare().mut_subcommands(read).debug_assert();
}

#[test]
fn a_folder_without_a_verb_is_built() {
    for (line, context) in [
        (".", "."),
        ("-t x .", "."),
        ("--root /r ./sub", "./sub"),
        ("src", "src"),
        ("-", "-"),
        ("https://example.com/x.git", "https://example.com/x.git"),
        ("build ..", ".."),
        ("build", "."),
        ("image build /x", "/x"),
        ("buildx build /x", "/x"),
        ("--debug=true --config=/c /x", "/x"),
    ] {
        assert_eq!(build(line).what.context, context, "{line}");
    }
    assert!(matches!(parsed("image ls").unwrap().command, Command::Images(_)));
    assert!(matches!(parsed("ls -q").unwrap().command, Command::Images(_)));
}

#[test]
fn switches_take_values_and_the_last_counts() {
    assert!(build("build --pull=true .").pull);
    assert!(!build("build --pull=false .").pull);
    assert!(!build("build --pull --pull=0 .").pull);
    assert_eq!(build("build --target a --target b .").what.target.as_deref(), Some("b"));
    let arguments = run("run -it --rm=false -e A=1 --env=B img");
    assert!(arguments.interactive && arguments.tty && !arguments.rm);
    assert_eq!(arguments.env.len(), 2);
    assert!(build("build --load --no-cache -q .").no_cache);
}

#[test]
fn what_follows_an_image_is_the_program() {
    let arguments = run("run --rm -h host busybox ls --rm -it --help -h --frob");
    assert_eq!(arguments.image(), "busybox");
    assert_eq!(arguments.command(), ["ls", "--rm", "-it", "--help", "-h", "--frob"]);
    assert_eq!(arguments.hostname.as_deref(), Some("host"));
    assert!(!arguments.interactive && arguments.rm);
    assert!(run("run busybox").command().is_empty());
    assert_eq!(run("run --memory-swap -1 --pids-limit -1 x").limits.pids_limit, Some(-1));
    assert_eq!(run("run -- x -y").command(), ["-y"]);
}

#[test]
fn flags_that_are_not_there_yet_say_so() {
    for (line, message) in [
        (
            "run --storage-opt size=1g x",
            "error: `--storage-opt` of `rbuild run` is not supported yet\nhint: leave it out\n",
        ),
        (
            "run --runtime kata x",
            "error: `--runtime` of `rbuild run` is not supported yet\nhint: leave it out: there is one runtime, which is \
             called `rbuild` and answers to `runc`\n",
        ),
        (
            "run --userns keep-id x",
            "error: `--userns` of `rbuild run` is not supported yet\nhint: run rbuild as an ordinary user\n",
        ),
        (
            "imagetools create --builder other -t a b",
            "error: `--builder` of `rbuild imagetools create` is not supported yet\nhint: leave it out: rbuild speaks to \
             registries by itself\n",
        ),
    ] {
        assert_eq!(told(line), message, "{line}");
        assert_eq!(report::judge(&parsed(line).unwrap_err()).status, report::Status::Usage);
    }
    for line in [
        "build --provenance=false --sbom=false --rm --force-rm .",
        "build --builder default .",
        "imagetools create --builder default -t a b",
        "imagetools inspect --builder=default a",
        "run --restart no --sig-proxy=true --sig-proxy --log-driver none x",
        "run x --gpus all -d",
    ] {
        assert!(parsed(line).is_ok(), "{line}");
    }
}

#[test]
fn attestations_take_the_next_word_if_it_is_a_value() {
    for (line, context, sbom, provenance) in [
        ("build --sbom false --provenance mode=max x", "x", "false", "mode=max"),
        ("build --provenance false --sbom x", "x", "true", "false"),
        ("build --provenance ./a=b", "./a=b", "", "true"),
        ("build --sbom=false --provenance", ".", "false", "true"),
        ("build --sbom --provenance=mode=max x", "x", "true", "mode=max"),
    ] {
        let arguments = build(line);
        assert_eq!(arguments.what.context, context, "{line}");
        let read = |text: &str, of: fn(&str) -> flags::Read<flags::Attest>| {
            (!text.is_empty()).then(|| of(text).unwrap())
        };
        assert_eq!(arguments.sbom, read(sbom, flags::sbom), "{line}");
        assert_eq!(arguments.provenance, read(provenance, flags::provenance), "{line}");
    }
    let Command::Bake(arguments) = parsed("bake --provenance mode=max --sbom true x").unwrap().command else {
        panic!("no bake")
    };
    assert_eq!(
        (arguments.provenance.as_deref(), arguments.sbom.as_deref(), arguments.targets.len()),
        (Some("mode=max"), Some("true"), 1)
    );
}

#[test]
fn unknown_words_are_never_taken_for_folders_silently() {
    for (line, message) in [
        ("serve", "error: `rbuild serve` is not available yet\nhint: use the commands of `rbuild` itself\n"),
        ("imags", "error: `imags` is neither a command nor a folder\nhint: did you mean `rbuild images`?\n"),
        (
            "config",
            "error: `config` is neither a command nor a folder\nhint: did you mean `rbuild compose config`?\n",
        ),
        (
            "help frob",
            "error: `frob` is neither a command nor a folder\nhint: `rbuild --help` lists the commands\n",
        ),
        (
            "frobnicate",
            "error: `frobnicate` is neither a command nor a folder\nhint: `rbuild --help` lists the commands\n",
        ),
    ] {
        assert_eq!(told(line), message, "{line}");
    }
}

#[test]
fn grouped_spellings_are_their_verbs() {
    let read = |line: &str| {
        let words = std::iter::once("rbuild").chain(line.split(' ')).map(OsString::from);
        format!("{:?}", parse(words).unwrap().command)
    };
    for (grouped, short) in [
        ("container ls -a", "ps -a"),
        ("container run --rm busybox true", "run --rm busybox true"),
        ("container exec c true", "exec c true"),
        ("container rm -f c", "rm -f c"),
        ("container logs -f c", "logs -f c"),
        ("image ls", "images"),
        ("image inspect i", "inspect --type image i"),
        ("image rm i", "rmi i"),
    ] {
        assert_eq!(read(grouped), read(short), "{grouped}");
    }
    assert!(read("container prune -f").starts_with("Container(Group { verb: Prune("));
    assert!(read("image prune -a").starts_with("Image(Group { verb: Prune("));
}

#[test]
fn flags_of_groups_are_known_too() {
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert!(parse(words("rbuild network create --scope local n")).is_ok());
    let refused = parse(words("rbuild network create --config-only n")).unwrap_err();
    assert_eq!(refused.to_string(), "`--config-only` of `rbuild network create` is not supported yet");
}

#[test]
fn mistakes_are_told() {
    for (line, part) in [
        ("build --memori 1 .", "`rbuild build` has no flag `--memori`\nhint: did you mean `--memory`?"),
        ("build --no-cach .", "did you mean `--no-cache`?"),
        ("run --frob x", "`rbuild run` has no flag `--frob`\nhint: `rbuild run --help` lists its flags"),
        (
            "run",
            "`rbuild run` needs IMAGE\nhint: it is used as: rbuild run [OPTIONS] IMAGE [COMMAND] [ARG]...",
        ),
        (
            "compose scale",
            "`rbuild compose scale` needs SERVICE=NUMBER\nhint: it is used as: rbuild compose scale <SERVICE=NUMBER>...",
        ),
        ("run --memory 1x x", "unknown unit `x`: use a number with b, k, m, g, t or p, as in `512m`"),
        ("run --mount type=bind,src=/x x", "no `target`: write `target=/PATH`"),
        ("run --network name=app,colour=red x", "unknown key `colour`"),
        ("run --restart sometimes x", "unknown policy 'sometimes'"),
        ("run --uts shareable x", "unknown mode `shareable`: use one of [host]"),
        ("run --pid none x", "unknown mode `none`: use one of [host, container:NAME]"),
        (
            "run --pull sometimes x",
            "`sometimes` is no value of `--pull`\nhint: it takes: always, missing, never",
        ),
        ("build --progress frob .", "it takes: auto, tty, plain, quiet, none, rawjson"),
        ("build --rm=maybe --pull=maybe .", "`maybe` is neither `true` nor `false`"),
        ("build a b", "`rbuild build` takes no further argument: `b`"),
        ("run -e =x y", "of `--env`"),
        ("network lss", "`rbuild network` has no command `lss`\nhint: did you mean `rbuild network ls`?"),
        ("compose -f x up --frob", "`rbuild compose up` has no flag `--frob`"),
        ("compose -p up ps --frob", "`rbuild compose ps` has no flag `--frob`"),
        ("--config build run --frob x", "`rbuild run` has no flag `--frob`"),
        ("tag a", "`rbuild tag` needs NAME[:TAG]\nhint: it is used as: rbuild tag <IMAGE> <NAME[:TAG]>\n"),
        ("save -o", "`--output` needs a value"),
        ("exec web", "`rbuild exec` needs more\nhint: it is used as: rbuild exec [OPTIONS] CONTAINER"),
        ("stop -t soon web", "invalid value `soon` of `--timeout`: not a whole number"),
    ] {
        let message = told(line);
        assert!(message.contains(part), "{line}: {message}");
        assert!(!message.contains("[=<"), "{line}: {message}");
        // As with Docker's commands, arguments that are missing or too many are another failure than what cannot be read.
        let is_of_number = ["run", "tag a", "exec web", "compose scale", "build a b"].contains(&line);
        let status = if is_of_number { report::Status::Failed } else { report::Status::Usage };
        assert_eq!(report::judge(&parsed(line).unwrap_err()).status, status, "{line}");
    }
}

#[test]
fn what_docker_judges_later_is_a_failure_as_any_other() {
    use report::Status::{Failed, Usage};
    for (line, status) in [
        ("create --ip nonsense x", Failed),
        ("container create --cap-add nonsense x", Failed),
        ("create --memory nonsense x", Usage),
        ("run --ip nonsense x", Usage),
        ("run --detach-keys nonsense x", Failed),
        ("update --cpuset-cpus nonsense x", Failed),
        ("create --cpus -1 x", Failed),
        ("create --cpus nonsense x", Usage),
        ("run --cpus -1 x", Usage),
        ("update --cpus -1 x", Failed),
        ("create --cpu-shares -5 x", Failed),
        ("create -c -5 x", Failed),
        ("run --cpu-shares -5 x", Usage),
        ("create --cpu-shares nonsense x", Usage),
        ("create --oom-score-adj 2000 x", Failed),
        ("create --oom-score-adj nonsense x", Usage),
        ("create --runtime nonsense x", Failed),
        ("run --runtime nonsense x", Usage),
        ("create --isolation nonsense x", Failed),
        ("run --isolation nonsense x", Usage),
        ("create --storage-opt size=5G x", Failed),
        ("create --userns nonsense x", Usage),
        ("create --restart nonsense x", Failed),
        ("create --restart on-failure:-1 x", Failed),
        ("create --restart on-failure:nonsense x", Usage),
        ("create --restart a:b:c x", Usage),
        ("run --restart nonsense x", Usage),
        ("create --security-opt nonsense x", Usage),
        ("create --security-opt seccomp= x", Usage),
        ("create --security-opt non=sense x", Failed),
        ("create --device-cgroup-rule nonsense x", Usage),
        ("create --device-cgroup-rule c_1:3_rrrr x", Usage),
        ("create --mount nonsense x", Usage),
        ("create --mount type=nonsense,target=/x x", Failed),
        ("run --mount type=nonsense,target=/x x", Usage),
        ("create --mount type=npipe,target=/x x", Failed),
        ("create --mount type=volume,target=rel x", Failed),
        ("create --mount type=volume,source=/a,target=/x x", Failed),
        ("create --mount type=volume,source=vol,target=/ x", Failed),
        ("create --mount type=bind,target=/x x", Failed),
        ("create --mount type=image,target=/x x", Failed),
        ("create --mount type=tmpfs,source=/a,target=/x x", Failed),
        ("create --mount type=tmpfs,target=/x,tmpfs-mode=9 x", Usage),
        ("create --mount type=bind,source=/a,target=/x,bind-propagation=nonsense x", Failed),
        ("create --mount type=bind,source=/a,target=/x,readonly=nonsense x", Usage),
        ("inspect --type nonsense x", Failed),
    ] {
        assert_eq!(report::judge(&parsed(line).unwrap_err()).status, status, "{line}");
    }
}

#[test]
fn every_flag_has_help_in_one_line_without_a_full_stop() {
    for verb in offered().get_subcommands() {
        for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                !help.is_empty() && !help.ends_with('.'),
                "{} {}: {help:?}",
                verb.get_name(),
                arg.get_id()
            );
        }
    }
}

#[test]
fn flags_of_older_composes_are_known_and_other_builders_are_not() {
    for line in [
        "compose --no-ansi --verbose --workdir /x ps",
        "compose build --compress --force-rm --no-rm --parallel --builder default",
        "compose pull --parallel --no-parallel",
        "compose rm -a -f",
        "compose up --menu=0",
        "compose run -i=F -d=false web --frob",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {:?}", parsed(line).err());
    }
    assert!(told("compose build --builder other").contains("`--builder` of `rbuild compose build`"));
    assert!(told("compose run --frob web").contains("`rbuild compose run` has no flag `--frob`"));
    assert!(told("compose --no-ansi --ansi always ps").contains("--ansi"));
}
