//! Templates against what Docker's commands print for them.

use serde_json::json;

use super::*;

fn image() -> Value {
    json!({
        "Id": "sha256:8dae",
        "RepoTags": ["h-t1:latest"],
        "Size": 1_984_230,
        "RootFS": {"Type": "layers", "Layers": ["sha256:ef13", "sha256:a6d6"]},
        "Config": {
            "Env": ["PATH=/bin"],
            "Cmd": ["sh", "-c"],
            "Entrypoint": null,
            "Labels": null,
            "User": "",
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}, "/more": {}},
        },
        "Metadata": {"Labels": {"b": "2", "a": "1"}},
    })
}

fn render(template: &str) -> String {
    match Template::parse(template).and_then(|template| template.render(&image())) {
        Ok(text) => text,
        Err(diagnostic) => format!(
            "error: {diagnostic}{}",
            diagnostic.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default()
        ),
    }
}

#[test]
fn templates_render_as_dockers() {
    for (template, expected) in [
        ("plain", "plain"),
        ("{{.Id}}", "sha256:8dae"),
        (
            "{{ .Config.Env }}|{{.Config.Cmd}}|{{.Config.Entrypoint}}|{{.Config.Labels}}",
            "[PATH=/bin]|[sh -c]|[]|map[]",
        ),
        ("{{.Metadata.Labels}}", "map[a:1 b:2]"),
        ("{{.Config.ExposedPorts}}|{{.Config.Volumes}}", "map[80/tcp:{}]|map[/data:{} /more:{}]"),
        ("{{.Config.Labels.x}}|{{index .Config.Labels \"x\"}}", "<no value>|"),
        ("{{.Metadata.Labels.x}}|{{index .Metadata.Labels \"a\"}}", "<no value>|1"),
        ("{{json .Config.Env}} {{json .Config.Labels}}", "[\"PATH=/bin\"] null"),
        ("{{range .RootFS.Layers}}{{.}} {{end}}", "sha256:ef13 sha256:a6d6 "),
        ("{{range $i, $l := .RootFS.Layers}}{{$i}}={{$l}};{{end}}", "0=sha256:ef13;1=sha256:a6d6;"),
        ("{{range $k, $v := .Metadata.Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 "),
        ("{{range .Config.Entrypoint}}x{{else}}none{{end}}", "none"),
        ("{{range .RootFS.Layers}}{{.}}{{break}}{{end}}", "sha256:ef13"),
        ("{{index .RepoTags 0}} {{len .RootFS.Layers}} {{len .Id}}", "h-t1:latest 2 11"),
        ("{{(index .RootFS.Layers 1)}} {{slice .Id 7}} {{slice .Id 0 6}}", "sha256:a6d6 8dae sha256"),
        ("{{join (split \"abc\" \"\") \"-\"}}", "a-b-c"),
        ("{{if .Config.User}}user{{else if gt .Size 5}}big{{else}}small{{end}}", "big"),
        ("{{if and .Id (not .Config.User)}}yes{{end}}", "yes"),
        ("{{or .Config.User \"root\"}}", "root"),
        ("{{if eq .Config.User \"a\" \"\"}}match{{end}}", "match"),
        (
            "{{with .Config}}{{.Cmd}}{{$.Id}}{{end}}{{with .Config.User}}x{{else}}-{{end}}",
            "[sh -c]sha256:8dae-",
        ),
        ("{{$x := .Id}}{{$x | printf \"%s!\"}}", "sha256:8dae!"),
        ("{{$x := 1}}{{range .RootFS.Layers}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{upper \"ab\"}}{{lower \"AB\"}}{{title \"latest one\"}}", "ABabLatest One"),
        ("{{join .Config.Cmd \"+\"}} {{split \"a/b\" \"/\"}}", "sh+-c [a b]"),
        ("{{truncate .Id 3}}|{{pad \"x\" 1 2}}|", "sha| x  |"),
        ("{{println 1 \"a\"}}", "1 a\n"),
        ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
        (
            "{{printf \"%q %v %d %-5s|%5s|%05d %.2f %t %%\" \"a\" .Config.Env 3 \"l\" \"r\" 42 1.5 true}}",
            "\"a\" [PATH=/bin] 3 l    |    r|00042 1.50 true %",
        ),
        ("a {{- /* c */ -}} b {{- \" x \" -}} c", "ab x c"),
        ("{{`raw \\n`}}", "raw \\n"),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}

#[test]
fn mistakes_are_pointed_at() {
    for (template, expected) in [
        ("{{.Nope", "error: --format:1:1: this action is not closed | add `}}`"),
        ("{{.Sise}}", "error: --format:1:3: there is no field `Sise` | did you mean `.Size`?"),
        (
            "x {{.Config.Nope}}",
            "error: --format:1:12: there is no field `Nope` | there are [Env, Cmd, Entrypoint, Labels, User, ExposedPorts, Volumes]",
        ),
        ("{{jsonn .}}", "error: --format:1:3: function `jsonn` is not defined | did you mean `json`?"),
        ("{{if .Id}}x", "error: --format:1:1: this block is not closed | add `{{end}}`"),
        ("{{end}}", "error: --format:1:1: `end` without `if`, `range` or `with`"),
        ("{{template \"x\"}}", "error: --format:1:1: template \"x\" is not defined"),
        ("{{index .RepoTags 7}}", "error: --format:1:3: index 7 is out of range: the list has 1"),
        ("{{eq 1 1.0}}", "error: --format:1:3: a number and a number with a fraction cannot be compared"),
        ("{{eq \"a\" \"a\" 1}}", "error: --format:1:3: a text and a number cannot be compared"),
        ("{{eq .RepoTags .RepoTags}}", "error: --format:1:3: a list and a list cannot be compared"),
        ("{{lt 1 2.5}}", "error: --format:1:3: a number and a number with a fraction cannot be compared"),
        ("{{0x}}", "error: --format:1:3: `0x` is not a number"),
        ("{{1__0}}", "error: --format:1:3: `1__0` is not a number"),
        ("{{99999999999999999999}}", "error: --format:1:3: `99999999999999999999` is too large a number"),
        ("{{\"\\xff\"}}", "error: --format:1:4: unknown escape `\\x`"),
        (
            "{{join .Id}}",
            "error: --format:1:3: `join` cannot be used with these arguments | write `join LIST SEPARATOR`",
        ),
        ("{{.Id.x}}", "error: --format:1:6: there is no field `x` in a text"),
        ("{{$y}}", "error: --format:1:3: variable `$y` is not declared"),
        ("{{(.Id}}", "error: --format:1:3: this parenthesis is not closed"),
        ("{{.Id | .Id}}", "error: --format:1:9: only a function can stand behind `|`"),
        ("{{}}", "error: --format:1:1: a value is missing here"),
        ("{{break}}", "error: --format:1:1: `break` outside of `range`"),
        ("{{lt 1 \"a\"}}", "error: --format:1:3: a number and a text cannot be compared"),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}

#[test]
fn ports_of_a_row_print_as_structures() {
    let row = json!({ "Name": "a", "Publishers": [
        { "URL": "::", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp" },
        { "URL": "", "TargetPort": 81, "PublishedPort": 0, "Protocol": "udp" },
    ] });
    for (template, expected) in [
        ("{{.Publishers}}", "[{:: 80 8080 tcp} { 81 0 udp}]\n"),
        ("{{range .Publishers}}{{.}}{{.PublishedPort}};{{end}}", "{:: 80 8080 tcp}8080;{ 81 0 udp}0;\n"),
        ("{{(index .Publishers 0).URL}} {{len .Publishers}}", ":: 2\n"),
        (
            "{{json .Publishers}}",
            "[{\"URL\":\"::\",\"TargetPort\":80,\"PublishedPort\":8080,\"Protocol\":\"tcp\"},\
             {\"URL\":\"\",\"TargetPort\":81,\"PublishedPort\":0,\"Protocol\":\"udp\"}]\n",
        ),
    ] {
        assert_eq!(
            list(Some(template), "", &[], std::slice::from_ref(&row)).unwrap(),
            expected,
            "{template}"
        );
    }
}

#[test]
fn what_documents_of_networks_leave_out_is_empty() {
    let network = json!({
        "Name": "n", "Id": "4f68", "ConfigFrom": { "Network": "" }, "Containers": {},
        "IPAM": { "Driver": "default", "Config": [{ "Subnet": "fd00::/64", "Gateway": "fd00::1" }, {
            "Subnet": "10.1.0.0/24", "AuxiliaryAddresses": { "a": "10.1.0.9" }
        }] },
    });
    let told = |template: &str| {
        let documents = documents(Some(template), std::slice::from_ref(&network));
        documents.unwrap_or_else(|diagnostic| diagnostic.to_string())
    };
    for (template, expected) in [
        ("{{.Peers}}|{{.Services}}|{{.ID}}", "[]|map[]|4f68\n"),
        ("{{json .Peers}}{{with .Peers}}a{{else}}b{{end}}", "nullb\n"),
        ("{{range .IPAM.Config}}[{{.IPRange}}{{.Gateway}}]{{end}}", "[fd00::1][]\n"),
        ("{{range .IPAM.Config}}{{.AuxAddress}}{{end}}", "map[]map[a:10.1.0.9]\n"),
        ("{{.Containers.nobody}}", "<no value>\n"),
        ("{{json .ConfigFrom}}", "{\"Network\":\"\"}\n"),
        ("{{.Status}}", "--format:1:3: there is no field `Status`"),
        ("{{.ConfigFrom.Peers}}", "--format:1:14: there is no field `Peers`"),
    ] {
        assert_eq!(told(template), expected, "{template}");
    }
}

const COLUMNS: &[Column] = &[
    Column { field: "Repository", title: "REPOSITORY" },
    Column { field: "Tag", title: "TAG" },
    Column { field: "ID", title: "IMAGE ID" },
];

#[test]
fn lists_have_all_forms() {
    let rows = [
        json!({"Repository": "busybox", "Tag": "latest", "ID": "14816dac1dc8"}),
        json!({"Repository": "<none>", "Tag": "<none>", "ID": "d63558dc2b61"}),
    ];
    let standard = "{{.Repository}}\t{{.Tag}}\t{{.ID}}";
    for (format, expected) in [
        (
            None,
            "REPOSITORY   TAG       IMAGE ID\nbusybox      latest    14816dac1dc8\n<none>       <none>    d63558dc2b61\n",
        ),
        (
            Some("table {{upper .Repository}}\\t{{.Tag | printf \"%s!\"}}"),
            "REPOSITORY   TAG!\nBUSYBOX      latest!\n<NONE>       <none>!\n",
        ),
        (Some("{{.ID}}"), "14816dac1dc8\nd63558dc2b61\n"),
        (
            Some("json"),
            "{\"Repository\":\"busybox\",\"Tag\":\"latest\",\"ID\":\"14816dac1dc8\"}\n{\"Repository\":\"<none>\",\"Tag\":\"<none>\",\"ID\":\"d63558dc2b61\"}\n",
        ),
    ] {
        assert_eq!(list(format, standard, COLUMNS, &rows).unwrap(), expected);
    }
    assert_eq!(
        list(Some("{{.Nope}}"), standard, COLUMNS, &rows).unwrap_err().to_string(),
        "--format:1:3: there is no field `Nope`"
    );
}

#[test]
fn rows_have_labels_beside_them() {
    const COLUMNS: &[Column] = &[Column { field: "Name", title: "NAME" }];
    let rows = [json!({"Label": {"a.b-c": "1,2"}, "Name": "one"}), json!({"Name": "two"})];
    for (format, expected) in [
        (r#"{{.Name}} {{.Label "a.b-c"}}|{{.Label "x"}}"#, "one 1,2|\ntwo |\n"),
        (r#"table {{.Name}}\t{{.Label "a.b-c"}}"#, "NAME      b c\none       1,2\ntwo       \n"),
        ("json", "{\"Name\":\"one\"}\n{\"Name\":\"two\"}\n"),
        ("{{json .}}", "{\"Name\":\"one\"}\n{\"Name\":\"two\"}\n"),
    ] {
        assert_eq!(list(Some(format), "{{.Name}}", COLUMNS, &rows).unwrap(), expected, "{format}");
    }
    assert!(list(Some(r#"{{.Name "a"}}"#), "", COLUMNS, &rows).is_err());
}

#[test]
fn documents_have_all_forms() {
    let one = [json!({"A": [1]})];
    assert_eq!(
        documents(None, &one).unwrap(),
        "[\n    {\n        \"A\": [\n            1\n        ]\n    }\n]\n"
    );
    assert_eq!(documents(Some("json"), &one).unwrap(), "{\"A\":[1]}\n");
    assert_eq!(documents(Some("{{.A}}"), &one).unwrap(), "[1]\n");
    assert_eq!(documents(None, &[]).unwrap(), "[]\n");
}

#[test]
fn json_can_be_written_as_go_writes_it() {
    let value = json!({"a": {"url": "pkg:x/y?a=b&c=<d>", "none": {}}});
    let template = Template::parse("{{json .a}} {{.a.url}}").unwrap();
    let expected =
        "{\n  \"url\": \"pkg:x/y?a=b\\u0026c=\\u003cd\\u003e\",\n  \"none\": {}\n} pkg:x/y?a=b&c=<d>";
    assert_eq!(template.render_indented(&value).unwrap(), expected);
}

/// A container's document with little in it.
fn container() -> Document {
    let value = json!({
        "Id": "8dae",
        "State": {"Status": "running", "Pid": 7},
        "HostConfig": {
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "NanoCpus": 5,
            "PidsLimit": null,
            "Binds": null,
        },
        "Mounts": [{"Type": "tmpfs", "Source": "", "Destination": "/t", "Mode": "", "RW": true, "Propagation": ""}],
        "Config": {"Labels": {"a": "1"}, "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1_500_000_000}},
        "NetworkSettings": {"Ports": {"80/tcp": null, "81/tcp": [{"HostIp": "::", "HostPort": "9"}]}},
    });
    Document { value, shape: Some(&container::CONTAINER) }
}

#[test]
fn what_a_document_leaves_out_is_there_for_templates() {
    let text = |template: &str| match inspected(Some(template), &[container()]) {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    };
    for (template, expected) in [
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{.State.Health}}|{{json .State.Health}}|{{.SizeRw}}", "<nil>|null|<nil>"),
        ("{{.Config.ExposedPorts}}|{{.Config.StopSignal}}|{{.Config.Shell}}", "map[]||[]"),
        ("{{json .Config.ExposedPorts}}|{{json .Config.StopSignal}}", "null|\"\""),
        ("{{.HostConfig.RestartPolicy}}|{{.HostConfig.Binds}}|{{.HostConfig.Tmpfs}}", "{no 0}|[]|map[]"),
        ("{{.HostConfig.PidsLimit}}|{{.HostConfig.Init}}", "<nil>|<nil>"),
        ("{{.Config.Healthcheck}}", "{[CMD x] 1.5s 0s 0s 0s 0}"),
        ("{{.Mounts}}", "[{tmpfs   /t   true }]"),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[] 81/tcp:[{:: 9}]]"),
        ("{{(index (index .NetworkSettings.Ports \"81/tcp\") 0).HostPort}}", "9"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{$p}}{{range $c}}:{{.}}{{end}};{{end}}",
            "80/tcp;81/tcp:{:: 9};",
        ),
        ("{{.Config.Labels.a}} {{.Config.Labels.b}}", "1 <no value>"),
        // Names of the JSON make it a template about that, as far as it goes.
        ("{{.ID}} {{.HostConfig.NanoCPUs}}", "8dae 5"),
        (
            "{{.Id}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy}}",
            "8dae 5 map[MaximumRetryCount:0 Name:no]",
        ),
        ("{{.Id}} {{.State.Health}}", "8dae <nil>"),
    ] {
        assert_eq!(text(template), format!("{expected}\n"), "{template}");
    }
    for (template, wrong) in [
        ("{{.State.Health.Status}}", "there is no field `Health`"),
        ("{{.Nosuch}}", "there is no field `Nosuch`"),
    ] {
        assert!(text(template).contains(wrong), "{template}: {}", text(template));
    }
}

#[test]
fn what_is_inspected_is_one_document() {
    let two = [json!({"A": 1}).into(), json!({"B": 2}).into()];
    assert_eq!(inspected(Some("json"), &two).unwrap(), "[{\"A\":1},{\"B\":2}]\n");
}

#[test]
fn texts_are_escaped_for_where_they_go() {
    for (template, expected) in [
        (r#"{{html "<a href='x'>&\""}}"#, "&lt;a href=&#39;x&#39;&gt;&amp;&#34;"),
        (
            r#"{{js "it's \"<b>\" & = \n\t\\ é"}}"#,
            "it\\'s \\\"\\u003Cb\\u003E\\\" \\u0026 \\u003D \\u000A\\u0009\\\\ é",
        ),
        (r#"{{urlquery "a b&c/d?é~-_.*"}}"#, "a+b%26c%2Fd%3F%C3%A9~-_.%2A"),
        (
            r#"{{html "a" 1 true "b"}}|{{js 5 6}}|{{urlquery .Config.Cmd}}|{{html}}"#,
            "a1 trueb|5 6|%5Bsh+-c%5D|",
        ),
        (r#"{{.Id | html | printf "<%s>"}}"#, "<sha256:8dae>"),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}

#[test]
fn templates_have_names_and_may_use_each_other() {
    for (template, expected) in [
        (r#"{{define "x"}}[{{.}}]{{end}}{{template "x" .Id}}{{template "x" 1}}"#, "[sha256:8dae][1]"),
        (r#"{{template "z" 3}}{{define "z"}}({{.}}){{end}}"#, "(3)"),
        (r#"{{block "y" .Id}}<{{.}}>{{end}}{{template "y" 2}}"#, "<sha256:8dae><2>"),
        (
            r#"{{define "all"}}{{range .}}{{template "one" .}}{{end}}{{end}}{{define "one"}}{{.}};{{end}}{{template "all" .RootFS.Layers}}"#,
            "sha256:ef13;sha256:a6d6;",
        ),
        (r#"{{define "r"}}{{template "r"}}{{end}}ok"#, "ok"),
        (r#"{{define "n"}}{{if .}}{{.}}{{else}}none{{end}}{{end}}{{template "n"}}"#, "none"),
        (r#"{{with .Config.User}}{{.}}{{else with .Id}}{{.}}{{else}}no{{end}}"#, "sha256:8dae"),
        (r#"{{with .Config.User}}{{.}}{{else with .Config.User}}{{.}}{{else}}no{{end}}"#, "no"),
        (
            "{{range 3}}{{.}}{{end}}|{{range $i := 2}}{{$i}}{{end}}|{{range 0}}x{{else}}none{{end}}",
            "012|01|none",
        ),
        (r#"{{printf "%X %X %o %b %c %U" "hi" 255 8 5 65 65}}"#, "6869 FF 10 101 A U+0041"),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}

#[test]
fn templates_that_mean_nothing_say_where() {
    for (template, told) in [
        (r#"a{{template "nope"}}"#, "template \"nope\" is not defined"),
        (r#"{{define "r"}}{{template "r" .}}{{end}}{{template "r" .}}"#, "used in itself too deeply"),
        (r#"{{define "a"}}{{end}}{{define "a"}}{{end}}"#, "defined twice"),
        (r#"{{if true}}{{define "a"}}{{end}}{{end}}"#, "cannot stand in another block"),
        (r#"{{define}}{{end}}"#, "name is missing"),
        (r#"{{define "a" .}}{{end}}"#, "does not belong here"),
        (r#"{{define "a"}}"#, "not closed"),
        (r#"{{define "a"}}{{else}}{{end}}"#, "`else` without"),
        (r#"{{range .RepoTags}}{{else with .Id}}{{end}}"#, "nothing may follow this `else`"),
        (r#"{{define "v"}}{{$x}}{{end}}{{$x := 1}}{{template "v"}}"#, "`$x` is not declared"),
        ("{{nil}}", "`nil` alone"),
        ("{{range 10000000}}{{end}}", "counts to"),
        ("{{range true}}{{end}}", "needs a list"),
    ] {
        let message = render(template);
        assert!(message.starts_with("error: ") && message.contains(told), "{template}: {message}");
    }
}

/// What Docker's commands print for the same.
#[test]
fn numbers_and_formats_are_gos() {
    for (template, expected) in [
        (
            "{{0x10}} {{0b11}} {{0o17}} {{017}} {{1_000}} {{+5}} {{-0x10}} {{0x1p4}}",
            "16 3 15 15 1000 5 -16 16",
        ),
        (
            "{{1e3}} {{1.}} {{.5}} {{1e6}} {{100000.0}} {{1e20}} {{0.0001}} {{0.00001}}",
            "1000 1 0.5 1e+06 100000 1e+20 0.0001 1e-05",
        ),
        ("{{123456789.0}} {{'a'}} {{'\\n'}} {{\"\\x41\\u00e9\\101\"}}", "1.23456789e+08 97 10 A\u{e9}A"),
        (
            r#"{{printf "%T %T %T %T %T %T" .Id 1 1.5 true nil .Metadata.Labels}}"#,
            "string int float64 bool <nil> map[string]string",
        ),
        (
            r#"{{printf "%e|%E|%g|%G|%.2e" 1234.5 1234.5 1234.5 1e30 1234.5}}"#,
            "1.234500e+03|1.234500E+03|1234.5|1E+30|1.23e+03",
        ),
        (r#"{{printf "%g %.3g %.10g %G" 1e6 123456.0 123456.0 0.00001}}"#, "1e+06 1.23e+05 123456 1E-05"),
        (r#"{{printf "%*d|%-*d|%.*f|" 5 3 5 3 2 3.14159}}"#, "    3|3    |3.14|"),
        (
            r#"{{printf "%+d|% d|%+.1f|%05d|%08.3f|%-05d|%+v" 3 3 3.0 -3 -3.14159 3 3}}"#,
            "+3| 3|+3.0|-0003|-003.142|3    |3",
        ),
        (r#"{{printf "%+q %#q %q %q" "\u00e9" "a" 65 .RepoTags}}"#, "\"\\u00e9\" `a` 'A' [\"h-t1:latest\"]"),
        (r#"{{printf "%q" "\a\b\f\v\n\x00"}}"#, r#""\a\b\f\v\n\x00""#),
        (
            r#"{{printf "%#x %#X %#o %O %#b %x %b %#U" 255 255 8 8 5 -255 -5 65}}"#,
            "0xff 0XFF 010 0o10 0b101 -ff -101 U+0041 'A'",
        ),
        (r#"{{printf "% x %#x %x" "abc" "abc" .RepoTags}}"#, "61 62 63 0x616263 [682d74313a6c6174657374]"),
        (
            r#"{{printf "%d %d %z %f %t %p" 1.5 "x" 5 3 3 3}}"#,
            "%!d(float64=1.5) %!d(string=x) %!z(int=5) %!f(int=3) %!t(int=3) %!p(int=3)",
        ),
        (r#"{{printf "%d %d" nil .RepoTags}}"#, "%!d(<nil>) [%!d(string=h-t1:latest)]"),
        (
            r#"{{printf "%d"}}|{{printf "x" 5}}|{{printf "%"}}|{{printf "%!"}}"#,
            "%!d(MISSING)|x%!(EXTRA int=5)|%!(NOVERB)|%!!(MISSING)",
        ),
        (r#"{{printf "%[2]d %[1]d" 1 2}}|{{printf "%[3]d" 1}}"#, "2 1|%!d(BADINDEX)"),
        (
            r#"{{printf "%5t|%5s|%.1s|%05s|%v" true "\u00e9" "\u00e9a" "ab" 1.0}}"#,
            " true|    \u{e9}|\u{e9}|000ab|1",
        ),
        ("{{eq 1 1}} {{eq 1.5 1.5}} {{eq .Id nil}} {{lt 1.0 2.0}}", "true true false true"),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}
