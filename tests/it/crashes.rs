//! The store survives `kill -9` at any instant: nothing is wrong afterwards, the next build succeeds, and it uses again
//! what had finished.
//!
//! Kills come at random moments; ten in an ordinary run, as many as `RBUILD_TEST_KILLS` says otherwise. With the feature
//! `crash-points`, every named place between two effects on the disk is walked as well:
//!
//! ```text
//! RBUILD_TEST_KILLS=100 cargo test -p rbuild --features crash-points --test it crashes -- --nocapture
//! ```

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rbuild_testkit::context::TestContext;
use rbuild_testkit::files::{self, Random, Shape};

use crate::scene::{assert_clean, assert_processes_end, furnish, images, scene};

/// Six steps of several kinds; each round has keys of its own.
const TEXT: &str = "\
FROM busybox AS left
ARG ROUND
RUN --mount=type=cache,target=/c echo $ROUND >> /c/runs && dd if=/dev/urandom of=/left bs=64k count=8 2>/dev/null
RUN echo $ROUND > /l2 && ln /left /left-hard && mkdir /many && for i in $(seq 60); do echo $i > /many/$i; done
FROM busybox AS right
ARG ROUND
RUN echo $ROUND > /right && rm -rf /home
COPY tree /tree
FROM busybox
ARG ROUND
COPY --from=left /left /many /l/
COPY --from=right /tree /r/
RUN echo $ROUND > /round && cat /l/left | wc -c > /size
";

fn prepared(test: &str) -> Option<TestContext> {
    let context = scene(test)?;
    files::generate(&context.project().join("tree"), Shape { files: 200, ..Shape::default() });
    context.write("Dockerfile", TEXT);
    Some(context)
}

fn arguments(round: &str, tag: &str) -> Vec<String> {
    ["build", "--progress", "plain", "--build-arg", &format!("ROUND={round}"), "-t", tag, "."]
        .map(str::to_owned)
        .into()
}

/// The names of steps with an ending, in a build's progress.
fn steps_with(progress: &str, ending: &str) -> Vec<String> {
    let mut names = std::collections::BTreeMap::new();
    let mut found = Vec::new();
    for line in progress.lines() {
        let Some((number, rest)) = line.split_once(' ').filter(|(number, _)| number.starts_with('#')) else {
            continue;
        };
        let name = names.entry(number).or_insert(rest);
        if name.starts_with('[')
            && !name.contains("FROM ")
            && !name.starts_with("[internal]")
            && rest.starts_with(ending)
        {
            found.push((*name).to_owned());
        }
    }
    found
}

/// What a crash left is sound; the next build succeeds and uses what had finished; nothing is left of either.
#[track_caller]
fn assert_recovers(context: &TestContext, round: &str, finished: &[String], story: &str) -> usize {
    // A container lives on without the command that started it, and its monitor has it removed in the end.
    assert_processes_end(context);
    let doctor = context.rbuild(["doctor"]).run();
    assert!(doctor.stdout.ends_with(": good\n"), "{story}: {doctor}");
    let next = context.rbuild(arguments(round, "next")).run();
    assert!(next.status.success(), "{story}: {next}");
    let cached = steps_with(&next.stderr, "CACHED");
    for step in finished {
        assert!(cached.contains(step), "{story}: `{step}` had finished and was done again: {next}");
    }
    assert_clean(context);
    finished.len()
}

fn kills() -> u64 {
    std::env::var("RBUILD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// The commands that are killed, one of each kind.
fn victims(round: &str) -> [Vec<String>; 6] {
    let build = arguments(round, "killed");
    let anew = [&["build", "--no-cache"].map(str::to_owned)[..], &build[1..]].concat();
    let words = |line: &[&str]| line.iter().map(|&word| word.to_owned()).collect();
    [
        build,
        anew,
        words(&["prune", "--force"]),
        words(&["run", "--rm", "-m", "64m", "busybox", "sh", "-c", "echo x > /x; sleep 1"]),
        words(&["create", "--name", "victim", "-v", "/anonymous", "-v", "named:/n", "busybox", "true"]),
        words(&["rm", "-f", "-v", "victim"]),
    ]
}

/// Which of the victims is drawn: half of the kills are of ordinary builds.
const DRAWN: [usize; 10] = [0, 0, 0, 0, 0, 1, 2, 3, 4, 5];

#[test]
fn kills_at_random_moments() {
    let Some(context) = prepared("kills_at_random_moments") else { return };
    let seed = std::env::var("RBUILD_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let mut random = Random::new(seed);
    let begun = Instant::now();
    context.rbuild(arguments("measure", "first")).run().assert_success();
    // Each kind of command is killed within the time that it takes.
    let spans = victims("span").map(|line| {
        let begun = Instant::now();
        context.rbuild(&line).run().assert_success();
        u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    });
    let (mut killed, mut reused, mut draws) = (0, 0, 0);
    while killed < kills() {
        draws += 1;
        assert!(draws <= 10 + 10 * kills(), "of {draws} commands only {killed} could be killed");
        let round = format!("r{draws}");
        let kind = DRAWN[(random.next() % 10) as usize];
        let moment = Duration::from_micros(random.next() % spans[kind]);
        let line = &victims(&round)[kind];
        let story = format!("draw {draws} (seed {seed}), {line:?} after {moment:?}");
        let running = context.rbuild(line).start();
        running.within("\u{0}", moment);
        let ended = running.kill();
        if ended.status.signal() != Some(9) {
            // It was over before. The victim may be there already, or not be there.
            let may_fail = ["create", "rm"].contains(&line[0].as_str());
            assert!(ended.status.success() || may_fail, "{story}: {}", ended.stderr);
            continue;
        }
        killed += 1;
        reused += assert_recovers(&context, &round, &steps_with(&ended.stderr, "DONE"), &story);
    }
    assert!(images(&context).contains("first:latest") && images(&context).contains("next:latest"));
    let ran = context.rbuild(["run", "--rm", "--network", "none", "first", "cat", "/round"]).run();
    assert_eq!(ran.assert_success().stdout, "measure\n");
    #[expect(clippy::print_stderr, reason = "the figures of a long run")]
    {
        eprintln!(
            "{killed} killed, {} had ended before, {reused} finished steps used again, {:?}",
            draws - killed,
            begun.elapsed()
        );
    }
    assert!(reused > 0 || killed < 10, "no finished step was used again");
}

#[test]
fn the_first_command_is_killed() {
    let Some(context) = prepared("the_first_command_is_killed") else { return };
    // Stores that were just being made.
    let mut random = Random::new(3);
    for number in 0..5 {
        let fresh = rbuild_testkit::context!();
        files::generate(&fresh.project().join("tree"), Shape { files: 5, ..Shape::default() });
        fresh.write("Dockerfile", TEXT);
        let running = fresh.rbuild(["images"]).start();
        running.within("\u{0}", Duration::from_micros(random.next() % 30_000));
        running.kill();
        let doctor = fresh.rbuild(["doctor"]).run();
        assert!(doctor.stdout.ends_with(": good\n"), "{number}: {doctor}");
        furnish(&fresh);
        fresh.rbuild(arguments("x", "x")).run().assert_success();
        assert_clean(&fresh);
    }
    assert_clean(&context);
}

/// The store's points that only acts on containers pass.
#[cfg(feature = "crash-points")]
const OF_CONTAINERS: [&str; 3] = ["replace.renamed", "tree.renamed", "events.appended"];

#[cfg(feature = "crash-points")]
#[test]
fn named_points() {
    let worker = ["step.done", "step.committed", "step.recorded"];
    // What no command of the walk passes, only the store's own tests kill at: this list may only shrink.
    let unreached = ["events.rotated"];
    let Some(context) = prepared("named_points") else { return };
    context.rbuild(arguments("measure", "first")).run().assert_success();
    let (mut crashed, mut reused, mut silent) = (0, 0, Vec::new());
    let of_builds = rbuild_store::crash::POINTS.iter().filter(|point| !OF_CONTAINERS.contains(point));
    for point in of_builds.chain(&worker) {
        let mut seen = false;
        for nth in [1, 2, 5] {
            let round = format!("{point}-{nth}");
            let lines: [Vec<String>; 5] = [
                arguments(&round, "killed"),
                ["promote"].map(str::to_owned).into(),
                ["save", "-o", "saved.tar", "first"].map(str::to_owned).into(),
                ["load", "-i", "saved.tar"].map(str::to_owned).into(),
                ["prune", "--force"].map(str::to_owned).into(),
            ];
            let mut finished = Vec::new();
            for line in lines {
                let output = context.rbuild(&line).env("RBUILD_CRASH_POINT", format!("{point}:{nth}")).run();
                if line[0] == "build" {
                    finished = steps_with(&output.stderr, "DONE");
                }
                if line[0] == "prune" {
                    // What it has taken is made again where somebody reads it.
                    finished.clear();
                }
                if output.status.signal() == Some(9) {
                    (seen, crashed) = (true, crashed + 1);
                    reused +=
                        assert_recovers(&context, &round, &finished, &format!("{line:?} at {point}:{nth}"));
                    finished.clear();
                }
            }
            if point.starts_with("open.") {
                // A store of its own, which is made.
                let fresh = rbuild_testkit::context!();
                let output =
                    fresh.rbuild(["images"]).env("RBUILD_CRASH_POINT", format!("{point}:{nth}")).run();
                if output.status.signal() == Some(9) {
                    (seen, crashed) = (true, crashed + 1);
                }
                let doctor = fresh.rbuild(["doctor"]).run();
                assert!(doctor.stdout.ends_with(": good\n"), "{point}:{nth}: {doctor}");
            }
        }
        if !seen {
            silent.push(*point);
        }
    }
    #[expect(clippy::print_stderr, reason = "the figures of a long run")]
    {
        eprintln!(
            "{crashed} crashes at named points, {reused} finished steps used again; never passed: {silent:?}"
        );
    }
    assert_eq!(silent, unreached, "the points that no command of the walk passes");
}

/// What a person does with containers, networks and volumes, killed at every named point of it.
#[cfg(feature = "crash-points")]
#[test]
fn containers_at_named_points() {
    let Some(context) = scene("containers_at_named_points") else { return };
    context.write("Dockerfile", "FROM busybox\nRUN mkdir /filled && echo x > /filled/x\nVOLUME /filled\n");
    context.rbuild(["build", "-q", "-t", "app", "."]).run().assert_success();
    // No name here may be the beginning of an identifier, which are hexadecimal.
    let create =
        ["create", "--name", "former", "-v", "named:/filled", "-v", "/other", "--network", "net", "app"];
    let lines: [&[&str]; 8] = [
        &["network", "create", "net"],
        &[&create[..], &["sleep", "60"]].concat(),
        &["start", "former"],
        &["stop", "-t", "0", "former"],
        &["rename", "former", "latter"],
        &["rm", "-v", "latter"],
        &["volume", "rm", "named"],
        &["network", "rm", "net"],
    ];
    let mut silent = Vec::new();
    for point in rbuild_engine::containers::CRASH_POINTS.iter().chain(&OF_CONTAINERS) {
        let mut seen = false;
        for line in lines {
            let output = context.rbuild(line).env("RBUILD_CRASH_POINT", format!("{point}:1")).run();
            let story = format!("{line:?} at {point}: {output}");
            if output.status.signal() != Some(9) {
                assert!(output.status.success(), "{story}");
                continue;
            }
            seen = true;
            if matches!(line[0], "start" | "stop") {
                // While monitors live, what the dead command left waits for them.
                context.rbuild(["stop", "-t", "0", "former"]).run().assert_success();
            }
            assert_processes_end(&context);
            crate::scene::assert_sound(&context);
            // What was killed is done again, or had been done.
            let again = context.rbuild(line).run();
            let was_done = [
                "is already in use by container",
                "No such container",
                "network with name net already exists",
                "network net not found",
                "no such volume",
            ];
            assert!(
                again.status.success() || was_done.iter().any(|text| again.stderr.contains(text)),
                "{story}\n{again}"
            );
        }
        if !seen {
            silent.push(*point);
        }
        let volumes = context.rbuild(["volume", "ls", "-q"]).run();
        assert_eq!(volumes.stdout, "", "{point}: volumes are left");
        assert_clean(&context);
    }
    assert_eq!(silent, [""; 0], "the points that no command of the walk passes");
}
