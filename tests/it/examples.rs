//! The compose projects in `examples/`, as their readers run them: nginx, Python, Node, PostgreSQL and Redis.
//!
//! Their images are made of Debian's packages by `scripts/bases`, which `make test` calls; a machine without them says so.
//! Each project comes up in a network namespace of its own, is asked over its published port, is killed in parts, and goes
//! down without leaving anything.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::privilege;
use serde_json::Value;

use crate::containers_lost::{kill, state};
use crate::networks::in_a_network_of_its_own;

/// What an image of a name is made of, and what it says of itself.
struct Base {
    image: &'static str,
    root: &'static str,
    changes: &'static [&'static str],
}

const NGINX: Base =
    Base { image: "nginx:1", root: "nginx", changes: &["CMD [\"nginx\"]", "STOPSIGNAL SIGQUIT"] };
const NODE: Base = Base { image: "node:22", root: "node", changes: &[] };
const PYTHON: Base = Base { image: "python:3-slim", root: "python", changes: &[] };
const REDIS: Base = Base {
    image: "redis:7",
    root: "redis",
    changes: &["VOLUME /data", "WORKDIR /data", "USER redis", "CMD [\"redis-server\"]"],
};
const POSTGRES: Base = Base {
    image: "postgres:16",
    root: "postgres",
    changes: &[
        "ENTRYPOINT [\"docker-entrypoint.sh\"]",
        "CMD [\"postgres\"]",
        "VOLUME /var/lib/postgresql/data",
        "STOPSIGNAL SIGINT",
    ],
};

/// Runs a scenario on a copy of an example, in a store that has its images.
fn in_example(test: &str, example: &str, bases: &[Base], scenario: impl FnOnce(&TestContext) + Send) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = project.join("target/bases");
    let complete = |base: &Base| roots.join(format!("packages/{}.complete", base.root)).exists();
    if !bases.iter().all(complete) {
        return privilege::missing(test, "no roots to make images of: `make bases` makes them");
    }
    in_a_network_of_its_own(test, |context| {
        copy(&project.join("examples").join(example), &context.project());
        for base in bases {
            let mut line =
                vec!["import", "-c", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
            line.extend(base.changes.iter().flat_map(|change| ["-c", *change]));
            let root = roots.join(base.root).into_os_string().into_string().expect("a path that is text");
            line.extend([root.as_str(), base.image]);
            done(context, &line);
        }
        scenario(context);
        done(context, &["down", "-v", "--remove-orphans"]);
        assert_eq!(done(context, &["ps", "-aq"]).stdout, "");
        assert_eq!(done(context, &["volume", "ls", "-q"]).stdout, "");
        let networks = done(context, &["network", "ls", "--filter", "type=custom", "-q"]);
        assert_eq!(networks.stdout, "");
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}

#[track_caller]
fn done(context: &TestContext, arguments: &[&str]) -> Output {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    output
}

/// Makes a request and returns status and body; a body means that it is posted.
fn asked(port: u16, path: &str, body: Option<&str>) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let head = match body {
        None => format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"),
        Some(body) => {
            format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    };
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (Some(status), Some((_, body))) = (status, answer.split_once("\r\n\r\n")) else {
        return Err(io::Error::other(format!("no answer: {answer:?}")));
    };
    Ok((status, body.to_owned()))
}

#[track_caller]
fn get(port: u16, path: &str) -> String {
    let (status, body) = asked(port, path, None).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[track_caller]
fn post(port: u16, path: &str, body: &str) -> String {
    let (status, answer) = asked(port, path, Some(body)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(status < 300, "{path}: {answer}");
    answer
}

/// Where the record of a container is, and what it says.
fn record(context: &TestContext, name: &str) -> (PathBuf, Value) {
    let id = done(context, &["inspect", "--format", "{{.Id}}", name]);
    state(context, String::from_utf8_lossy(&id.raw_stdout).trim())
}

/// Kills the program of a container, and waits until it has been started again.
fn kill_program(context: &TestContext, name: &str) {
    let before = done(context, &["inspect", "--format", "{{.State.StartedAt}}", name]).raw_stdout;
    let since = String::from_utf8_lossy(&before).trim().to_owned();
    let container = format!("container={name}");
    let filters = ["--filter", &container, "--filter", "event=die", "--filter", "event=start"];
    let line = [&["events", "--since", &since, "--format", "{{.Action}}."], &filters[..]].concat();
    let events = context.rbuild(line).start();
    kill(&record(context, name).1["state"]["init"]);
    events.until("die.\nstart.\n");
    events.kill();
}

/// Kills a command as soon as it has said something.
fn killed_at(context: &TestContext, line: &[&str], said: &str) {
    let running = context.rbuild(line).start();
    running.until(said);
    running.kill();
}

/// Kills all that runs for a project at once: monitors and programs.
fn kill_all(context: &TestContext, names: &[&str]) {
    for name in names {
        let record = record(context, name).1;
        kill(&record["monitor"]);
        kill(&record["state"]["init"]);
    }
}

/// Where containers are in their networks.
fn addresses(context: &TestContext, names: &[&str]) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    done(context, &[&["inspect", "--format", format], names].concat()).stdout
}

/// A second `up` finds everything as it has to be.
#[track_caller]
fn assert_nothing_to_do(context: &TestContext) {
    let again = done(context, &["up", "-d", "--wait"]);
    for word in ["Creat", "Recreat", "Starting"] {
        assert!(!again.stderr.contains(word), "{again}");
    }
}

#[test]
fn examples_shop_serves_and_survives() {
    let bases = [NGINX, PYTHON, POSTGRES, REDIS];
    in_example("examples_shop_serves_and_survives", "shop", &bases, |context| {
        // The first one is killed while the database is made; the next goes on from there.
        let first = context.rbuild(["up", "-d", "--wait"]).start();
        first.until("Container shop-db-1  Started");
        first.kill();
        done(context, &["up", "-d", "--wait"]);
        assert!(get(8080, "/").contains("<h1>Fruit</h1>"));
        assert!(get(8080, "/api/products").contains(r#""name": "quince", "price_cents": 120"#));
        assert_eq!(post(8080, "/api/orders", r#"{"product": 1, "count": 2}"#), "{\"order\": 1}\n");
        assert_nothing_to_do(context);

        // What holds data has no way out, and nobody in front reaches it.
        let routes = done(context, &["compose", "exec", "-T", "cache", "ip", "route"]);
        assert!(!routes.stdout.contains("default"), "{routes}");
        let lookup = context.rbuild(["compose", "exec", "-T", "web", "nslookup", "db"]).run();
        assert!(!lookup.status.success(), "{lookup}");
        let secret = done(context, &["compose", "exec", "-T", "api", "cat", "/run/secrets/db_password"]);
        assert_eq!(secret.stdout, "postgres\n");

        // Programs are started again and find what they had written; who lost a monitor goes on without it.
        let all = ["shop-db-1", "shop-api-1", "shop-cache-1", "shop-web-1"];
        for name in all {
            kill_program(context, name);
        }
        done(context, &["up", "-d", "--wait"]);
        for name in ["shop-web-1", "shop-db-1"] {
            kill(&record(context, name).1["monitor"]);
        }
        done(context, &["up", "-d", "--wait"]);
        assert_eq!(get(8080, "/api/orders"), "{\"apple\": 2}\n");
        // Its number is not the next one: a database that was killed leaves some out.
        post(8080, "/api/orders", r#"{"product": 1, "count": 3}"#);
        assert_nothing_to_do(context);

        // Data outlives the containers, also where `down` is killed half-way, or what makes them anew.
        killed_at(context, &["down"], "Container shop-api-1  Removed");
        // Who had been told to stop goes on stopping, and is started when that is over.
        done(context, &["up", "-d", "--wait"]);
        assert_eq!(get(8080, "/api/orders"), "{\"apple\": 5}\n");
        let places = addresses(context, &all);
        context.write(
            "compose.override.yaml",
            "services: {web: {labels: [new]}, api: {labels: [new]}, db: {labels: [new]}}\n",
        );
        killed_at(context, &["up", "-d", "--wait"], "Container shop-db-1  Recreated");
        done(context, &["up", "-d", "--wait"]);
        let new = done(context, &["ps", "-q", "--filter", "label=new"]).stdout;
        assert_eq!(new.lines().count(), 3, "{new}");
        assert_eq!(get(8080, "/api/orders"), "{\"apple\": 5}\n");
        assert_nothing_to_do(context);

        // Nobody is left, and yet all are where they were: who looked up a name before need not do it again.
        kill_all(context, &all);
        done(context, &["up", "-d", "--wait"]);
        assert_eq!(get(8080, "/api/orders"), "{\"apple\": 5}\n");
        assert_eq!(addresses(context, &all), places);
    });
}

#[test]
fn examples_notes_follows_its_files() {
    in_example("examples_notes_follows_its_files", "notes", &[NODE, REDIS], |context| {
        done(context, &["up", "-d", "--wait"]);
        assert_eq!(get(3000, "/"), "hello, developer\n");
        assert_eq!(post(3000, "/list", "buy quinces"), "welcome to your notes\nbuy quinces\n");
        assert_nothing_to_do(context);
        let keys = done(context, &["compose", "run", "--rm", "keys"]);
        let mut names: Vec<&str> = keys.stdout.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["notes:list", "seeded"]);

        // Sources are brought in, and the service takes them up by itself.
        let watch = context.rbuild(["compose", "watch", "--no-up"]).start();
        watch.until("Watch enabled");
        let source = context.project().join("src/server.js");
        let text = fs::read_to_string(&source).expect("a source");
        let logs = context.rbuild(["compose", "logs", "-f", "app"]).start();
        logs.until("listening on 3000");
        fs::write(&source, text.replace("listening on 3000", "listening anew")).expect("it can be written");
        logs.until("listening anew");
        logs.kill();
        watch.kill();

        // Without what is for development, and with settings of one's own.
        context.write("local.env", "GREETING='hello, $USER'\n");
        done(context, &["compose", "-f", "compose.yaml", "up", "-d", "--wait", "--build"]);
        assert_eq!(get(3000, "/"), "hello, $USER\n");
        // Its program has no time to find its store, and ends while nobody looks after it.
        kill_program(context, "notes-app-1");
        kill(&record(context, "notes-app-1").1["monitor"]);
        done(context, &["compose", "-f", "compose.yaml", "up", "-d", "--wait"]);
        assert_eq!(get(3000, "/list"), "welcome to your notes\nbuy quinces\n");
    });
}

#[test]
fn examples_jobs_are_done_once() {
    in_example("examples_jobs_are_done_once", "jobs", &[PYTHON, REDIS], |context| {
        let first = context.rbuild(["up", "-d", "--wait"]).start();
        first.until("Container jobs-fill-1  Started");
        first.kill();
        done(context, &["up", "-d", "--wait"]);
        let workers = done(context, &["compose", "ps", "-q", "worker"]);
        assert_eq!(workers.stdout.lines().count(), 3, "{workers}");
        // Three workers write until all is done.
        let logs = context.rbuild(["compose", "logs", "-f", "worker"]).start();
        for number in 2..62 {
            logs.until(&format!("| {number} = "));
        }
        logs.kill();
        let results: Value = serde_json::from_str(&get(8090, "/")).expect("JSON");
        assert_eq!(results.as_object().map(serde_json::Map::len), Some(60), "{results}");
        assert_eq!((&results["60"], &results["61"]), (&"2 2 3 5".into(), &"61".into()));

        // Workers that are killed come back; those that are too many go.
        kill_program(context, "jobs-worker-1");
        kill(&record(context, "jobs-worker-2").1["monitor"]);
        done(context, &["compose", "scale", "worker=5"]);
        assert_eq!(done(context, &["compose", "ps", "-q", "worker"]).stdout.lines().count(), 5);
        done(context, &["up", "-d", "--wait"]);
        assert_eq!(done(context, &["compose", "ps", "-q", "worker"]).stdout.lines().count(), 3);
        let rights = done(
            context,
            &["compose", "exec", "-T", "worker", "grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/self/status"],
        );
        assert_eq!(rights.stdout, "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n");

        // The queue's network has no way out, the results have one beside it.
        for (service, default) in [("worker", false), ("results", true)] {
            let routes = done(context, &["compose", "exec", "-T", service, "ip", "route"]);
            assert_eq!(routes.stdout.contains("default"), default, "{routes}");
        }
    });
}
