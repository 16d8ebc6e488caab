//! Many targets as one build: what is equal is done once, what fails names its target, contexts are other targets' results.

use std::fs;

use crate::scene::{assert_clean, file, scene, steps};

const FILE: &str = r#"
variable "WORD" { default = "made" }
group "default" { targets = ["app", "tool"] }
target "base" {
  context = "base"
  output = ["type=tar,dest=never.tar"]
}
target "app" {
  dockerfile-inline = <<EOT
FROM base
COPY f /app
RUN cat /word >> /app
EOT
  contexts = { base = "target:base" }
  tags = ["app:${WORD}"]
  output = ["type=docker", "type=local,dest=app.out"]
}
target "tool" {
  context = "tool"
  matrix = { n = ["one", "two"] }
  name = "tool-${n}"
  args = { N = n }
  output = ["type=local,dest=tool.out/${n}"]
}
"#;

#[test]
fn targets_are_one_build() {
    let Some(context) = scene("targets_are_one_build") else { return };
    context.write("docker-bake.hcl", FILE);
    context.write("base/Dockerfile", "FROM busybox\nARG WORD=w\nRUN echo word > /word\nENV KEPT=yes\n");
    context.write("f", "f ");
    let tool = "FROM busybox AS made\nCOPY g /g\nRUN echo shared >> /g\nFROM scratch\nCOPY --from=made /g /\nARG N\nCOPY <<E /n\n$N\nE\n";
    context.write("tool/Dockerfile", tool);
    context.write("tool/g", "g ");
    let printed = context.rbuild(["bake", "--print", "app"]).run();
    let plan: serde_json::Value = serde_json::from_str(&printed.assert_success().stdout).unwrap();
    assert_eq!(plan["target"]["base"]["output"][0]["type"], "cacheonly");
    let arguments = ["bake", "--progress=plain", "--metadata-file", "meta.json"];
    let output = context.rbuild(arguments).env("WORD", "given").run();
    let output = output.assert_success();
    let told = steps(output);
    assert_eq!(file(&context, "app.out/app"), "f word\n");
    assert_eq!(file(&context, "tool.out/one/g"), "g shared\n");
    assert_eq!(file(&context, "tool.out/one/n"), "one\n");
    assert_eq!(file(&context, "tool.out/two/n"), "two\n");
    assert!(!context.project().join("never.tar").exists(), "{output}");
    let shared = told.iter().filter(|(name, _)| name.contains("RUN echo shared")).count();
    assert_eq!(shared, 1, "equal steps are one: {output}");
    assert!(output.stderr.contains("[app 1/2] COPY f /app"), "{output}");
    assert!(output.stderr.contains("[base 2/2] RUN echo word"), "{output}");
    let image = context.rbuild(["inspect", "app:given"]).run();
    assert!(image.assert_success().stdout.contains("KEPT=yes"), "the config of the base counts: {image}");
    let meta: serde_json::Value = serde_json::from_str(&file(&context, "meta.json")).unwrap();
    assert!(meta["app"]["containerimage.config.digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(meta["app"]["image.name"], "docker.io/library/app:given");

    context.write("tool/Dockerfile", "FROM busybox\nARG N\nRUN test $N = one && echo $N > /n\n");
    let failed = context.rbuild(["bake", "--progress=plain", "tool"]).run();
    let failed = failed.assert_code(1);
    assert!(failed.stderr.contains("error: target tool-two: "), "{failed}");
    assert!(failed.stderr.contains("exit code: 1"), "{failed}");

    let arguments = ["bake", "-f", "-", "--print"];
    let streamed = context.rbuild(arguments).input("services:\n  web:\n    build: tool\n").run();
    let plan: serde_json::Value = serde_json::from_str(&streamed.assert_success().stdout).unwrap();
    assert_eq!(plan["target"]["web"]["context"], "tool", "{streamed}");

    fs::create_dir(context.project().join("inside")).unwrap();
    context.write(
        "inside/docker-bake.json",
        r#"{"target": {"default": {"context": "..", "entitlements": ["network.host"]}}}"#,
    );
    let outside = context.rbuild(["bake", "-f", "docker-bake.json"]).in_folder("inside").run();
    let outside = outside.assert_code(1);
    assert!(outside.stderr.contains("additional privileges requested"), "{outside}");
    assert!(outside.stderr.contains("--allow=network.host --allow=fs.read=.."), "{outside}");
    assert_clean(&context);
}
