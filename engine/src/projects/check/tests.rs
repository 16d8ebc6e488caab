use std::time::Duration;

use rbuild_model::project::{
    Bind, ConfigKey, Device, DeviceCount, DeviceRequest, FileGrant, FileObject, FileSource, HealthCheck,
    Mount, ProjectName, SecretKey,
};

use super::*;

fn project(change: impl FnOnce(&mut Project, &mut Service)) -> Project {
    let mut project = Project::named(ProjectName::new("p").expect("a name"));
    let mut service = Service::named(ServiceName::new("web").expect("a name"));
    change(&mut project, &mut service);
    project.services.insert(service.name.clone(), service);
    project
}

#[track_caller]
fn refused(project: &Project, wanted: &str) {
    let all = project.services.keys().cloned().collect();
    let checked = check(project, &all, &BTreeMap::new()).and_then(|()| check_machine(project, &all, &[]));
    let error = checked.expect_err(wanted);
    assert_eq!(error.to_string(), format!("services.web.{wanted}"));
}

fn bind(source: &Path, create_host_path: bool) -> Mount {
    let options = Bind { create_host_path, propagation: None, recursive: None, selinux: None };
    Mount {
        kind: MountKind::Bind { source: source.to_owned(), options },
        target: format!("/mnt{}", source.display()),
        read_only: false,
        consistency: None,
    }
}

fn object(source: FileSource) -> FileObject {
    FileObject {
        name: "p_it".to_owned(),
        source,
        labels: BTreeMap::new(),
        driver: None,
        driver_opts: BTreeMap::new(),
        template_driver: None,
    }
}

fn grant<Key>(source: Key) -> FileGrant<Key> {
    FileGrant { source, target: None, uid: None, gid: None, mode: None }
}

#[test]
fn folders_that_nobody_makes_are_missed() {
    let place = tempfile::tempdir().expect("a folder");
    let missing = place.path().join("a");
    let why = format!("bind source path does not exist: {}", missing.display());
    let alone = project(|_, web| web.volumes = vec![bind(place.path(), false), bind(&missing, false)]);
    refused(&alone, &format!("volumes[1]: {why}"));
    let made = project(|_, web| web.volumes = vec![bind(&missing, false), bind(&missing.join("b"), true)]);
    let all = made.services.keys().cloned().collect();
    assert_eq!(check_machine(&made, &all, &[]), Ok(()));
}

#[test]
fn what_configs_and_secrets_come_from_has_to_be_there() {
    let file = |source| {
        project(move |project, web| {
            let key = SecretKey::new("it").expect("a key");
            project.secrets.insert(key.clone(), object(source));
            web.secrets.push(grant(key));
        })
    };
    refused(
        &file(FileSource::File("/no/such".into())),
        "secrets[0]: secret it: bind source path does not exist: /no/such",
    );
    refused(
        &file(FileSource::Environment("NOPE".to_owned())),
        "secrets[0]: environment variable \"NOPE\" required by secret \"it\" is not set",
    );
    let external = project(|project, web| {
        let key = ConfigKey::new("it").expect("a key");
        project.configs.insert(key.clone(), object(FileSource::External));
        web.configs.push(grant(key));
    });
    refused(&external, "configs[0]: unsupported external config it: nothing here keeps such, use `file`");
}

#[test]
fn health_is_asked_for_no_more_often_than_it_can_be() {
    let often = project(|_, web| {
        let interval = Some(Duration::from_nanos(1));
        web.healthcheck = Some(HealthCheck { interval, ..HealthCheck::default() });
    });
    refused(&often, "healthcheck: Interval in Healthcheck cannot be less than 1ms");
}

#[test]
fn devices_have_to_be_known() {
    let named = project(|_, web| {
        let (source, target) = ("v.com/c=x".to_owned(), "v.com/c=x".to_owned());
        web.devices.push(Device { source, target, permissions: None });
    });
    refused(&named, "devices[0]: CDI device injection failed: unresolvable CDI devices v.com/c=x");
    let gpus = project(|_, web| {
        let count = Some(DeviceCount::All);
        web.gpus.push(DeviceRequest { count, ..DeviceRequest::default() });
    });
    refused(&gpus, "gpus[0]: could not select device driver \"\" with capabilities: [[gpu]]");
}
