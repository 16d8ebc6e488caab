use rbuild_frontend::bake::Target;

use super::plan::{Scratch, of};
use crate::commands::build::{DockerfileSource, NoCache};
use crate::flags::{ContextSource, Destination, OutputKind};
use crate::settings::tests::bare;

fn target() -> Target {
    let entry = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut target = Target::new("app");
    target.context = Some("dir".to_owned());
    target.dockerfile = Some("app.Dockerfile".to_owned());
    target.args = [("A".to_owned(), "x=y --z".to_owned())].into();
    target.tags = vec!["user/app:1".to_owned()];
    target.contexts =
        [("base".to_owned(), "target:base".to_owned()), ("here".to_owned(), "cwd://".to_owned())].into();
    target.output = vec![entry(&[("type", "tar"), ("dest", "out,1.tar")])];
    target.no_cache_filter = vec!["one".to_owned(), "two".to_owned()];
    target.platforms = vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()];
    target
}

#[test]
fn a_target_is_a_build_of_its_attributes() {
    let plan = of(&target(), &Scratch::default(), &bare()).unwrap();
    assert_eq!(plan.context, ContextSource::Local("dir".into()));
    assert_eq!(
        plan.dockerfile,
        Some(DockerfileSource::At(ContextSource::Local("dir/app.Dockerfile".into())))
    );
    assert!(plan.build_args.iter().any(|arg| arg.name == "A" && arg.value == "x=y --z"));
    assert_eq!(plan.tags[0].to_string(), "docker.io/user/app:1");
    assert_eq!(plan.contexts[0].source, ContextSource::Target("base".to_owned()));
    assert_eq!(plan.contexts[1].source, ContextSource::Local(".".into()));
    assert_eq!(plan.no_cache, NoCache::Stages(vec!["one".to_owned(), "two".to_owned()]));
    assert_eq!(plan.platforms.len(), 2);
    let OutputKind::Tar { dest, .. } = &plan.outputs[0].kind else { panic!("it is a tar") };
    assert_eq!(*dest, Destination::Path("out,1.tar".into()));
}

#[test]
fn what_a_target_says_wrongly_is_told_as_a_build_would_tell_it() {
    let mut wrong = target();
    wrong.ulimits = vec!["nope=1".to_owned()];
    let error = of(&wrong, &Scratch::default(), &bare()).unwrap_err().to_string();
    assert!(error.contains("nope=1") && error.contains("--ulimit"), "{error}");
}

#[test]
fn a_dockerfile_in_the_file_is_written_for_as_long_as_it_is_needed() {
    let scratch = Scratch::default();
    let mut inline = target();
    inline.dockerfile_inline = Some("FROM scratch\n".to_owned());
    let plan = of(&inline, &scratch, &bare()).unwrap();
    let Some(DockerfileSource::At(ContextSource::Local(path))) = plan.dockerfile else {
        panic!("it is a file")
    };
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "FROM scratch\n");
    drop(scratch);
    assert!(!path.exists());
}
