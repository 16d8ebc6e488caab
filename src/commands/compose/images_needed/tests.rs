use rbuild_model::project::{Build, PreStart};

use super::*;

fn image(digit: char) -> ImageId {
    format!("sha256:{}", digit.to_string().repeat(64)).parse().expect("a digest")
}

fn service(image: Option<&str>, builds: bool, policy: Option<PullPolicy>) -> Service {
    let mut service = Service::named(ServiceName::new("web").expect("a name"));
    service.image = image.map(str::to_owned);
    service.build = builds.then(Build::default);
    service.pull_policy = policy;
    service
}

/// The way as a word: `here`, `pull`, `pull or build`, `build`, or the mistake.
fn told(service: &Service, here: bool, wishes: Wishes) -> String {
    let here = here.then(|| (image('a'), Some(1_000)));
    match way(service, here, true, wishes, 1_000 + 86_400) {
        Ok((Way::Here(_), _)) => "here".to_owned(),
        Ok((Way::Pull { else_build: false }, _)) => "pull".to_owned(),
        Ok((Way::Pull { else_build: true }, _)) => "pull or build".to_owned(),
        Ok((Way::Build, _)) => "build".to_owned(),
        Err(mistake) => mistake.to_string(),
    }
}

#[test]
fn policies_decide_between_here_registry_and_dockerfile() {
    let none = Wishes::default();
    let named = |policy| service(Some("x"), false, policy);
    assert_eq!(told(&named(None), true, none), "here");
    assert_eq!(told(&named(None), false, none), "pull");
    assert_eq!(told(&named(Some(PullPolicy::Always)), true, none), "pull");
    assert_eq!(told(&named(Some(PullPolicy::Never)), true, none), "here");
    assert_eq!(told(&named(Some(PullPolicy::Never)), false, none), "no such image: x");
    assert_eq!(told(&named(Some(PullPolicy::Build)), true, none), "here");
    assert_eq!(told(&named(Some(PullPolicy::Build)), false, none), "no such image: x");
    // Never to pull is not never to build.
    assert_eq!(told(&service(Some("x"), true, Some(PullPolicy::Never)), false, none), "build");
    let no_build = Wishes { no_build: true, ..none };
    for policy in [PullPolicy::Never, PullPolicy::Build] {
        assert_eq!(told(&service(Some("x"), true, Some(policy)), false, no_build), "no such image: x");
    }
    let daily = PullPolicy::Every(Duration::from_secs(86_400));
    assert_eq!(told(&named(Some(daily)), true, none), "pull");
    let weekly = PullPolicy::Every(Duration::from_secs(7 * 86_400));
    assert_eq!(told(&named(Some(weekly)), true, none), "here");

    let built = service(None, true, None);
    assert_eq!(told(&built, false, none), "build");
    assert_eq!(told(&built, true, none), "here");
    assert_eq!(told(&service(None, true, Some(PullPolicy::Build)), true, none), "build");
    assert_eq!(told(&service(Some("x"), true, None), false, none), "pull or build");
}

#[test]
fn what_a_person_says_counts_before_what_services_say() {
    let built = service(None, true, None);
    assert_eq!(told(&built, true, Wishes { build: true, ..Wishes::default() }), "build");
    assert_eq!(told(&built, true, Wishes { evaluate: true, ..Wishes::default() }), "build");
    let no_build = Wishes { no_build: true, evaluate: true, ..Wishes::default() };
    assert_eq!(told(&built, true, no_build), "here");
    assert_eq!(told(&built, false, no_build), "the image was not built yet");
    let always = Wishes { pull: Some(Pull::Always), ..Wishes::default() };
    assert_eq!(told(&service(Some("x"), false, None), true, always), "pull");
    assert_eq!(told(&built, true, always), "here", "nobody else has what is built here");
}

#[test]
fn images_that_are_mounted_are_had_as_the_service_says() {
    let mount = |source: &str| rbuild_model::project::Mount {
        kind: MountKind::Image { source: source.to_owned(), subpath: None },
        target: format!("/{source}"),
        read_only: false,
        consistency: None,
    };
    let mut web = service(None, true, Some(PullPolicy::Always));
    web.volumes = vec![mount("theirs"), mount("ours")];
    let step = |image: Option<&str>| PreStart { image: image.map(str::to_owned), ..PreStart::default() };
    web.pre_start = vec![step(None), step(Some("tools")), step(Some("ours"))];
    let mut base = service(Some("ours"), true, None);
    base.name = ServiceName::new("base").expect("a name");
    let mut model = Model::named(rbuild_model::project::ProjectName::new("p").expect("a name"));
    model.services.extend([web.clone(), base].map(|service| (service.name.clone(), service)));
    let uses: Vec<_> = uses(&model, &web).collect();
    let [(own, _), (mounted, as_if), (step, run)] = uses.as_slice() else { panic!("{uses:?}") };
    assert_eq!(own.path(), ["services", "web", "image"]);
    assert_eq!(mounted.path(), ["services", "web", "volumes", "0", "source"]);
    assert_eq!(step.path(), ["services", "web", "pre_start", "1", "image"]);
    assert_eq!(told(run, true, Wishes::default()), "pull");
    assert_eq!(told(as_if, true, Wishes { build: true, ..Wishes::default() }), "pull");
}

#[test]
fn no_more_is_done_at_once_than_may_be() {
    let jobs: Vec<usize> = (0..20).collect();
    for limit in [Some(1), Some(3), None] {
        let (under_way, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        at_once(&jobs, limit.and_then(NonZeroUsize::new), |job| {
            let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            done.lock().expect("nobody panicked").push(*job);
            under_way.fetch_sub(1, Ordering::SeqCst);
        });
        let mut done = done.into_inner().expect("nobody panicked");
        done.sort_unstable();
        assert_eq!(done, jobs);
        assert!(most.into_inner() <= limit.unwrap_or(jobs.len()));
    }
}
