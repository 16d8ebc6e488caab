use rbuild_devices::Registry;

use super::DeviceGrants;

/// The devices `vendor.com/gpu=0`, `=1` and `=spare`; those with numbers are of the class `fast`.
const GPU: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.com/gpu
annotations: {org.mobyproject.buildkit.device.class: fast}
devices:
  - name: "1"
  - name: "0"
  - name: spare
    annotations: {org.mobyproject.buildkit.device.class: slow, org.mobyproject.buildkit.device.autoallow: "true"}
"#;

#[test]
fn only_what_was_granted_is_given() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gpu.yaml"), GPU).unwrap();
    let registry = Registry::load(&[folder.path().to_owned()]);
    let all = DeviceGrants { all: true, ..DeviceGrants::default() };
    let named = |name: &str| DeviceGrants { named: vec![name.to_owned()], ..DeviceGrants::default() };
    let alias = |name: &str| DeviceGrants {
        aliases: [("any.thing/x".to_owned(), name.to_owned())].into(),
        ..DeviceGrants::default()
    };
    let forbidden = |name: &str| {
        format!(
            "device {name} is requested by the build but not allowed; allow it with `--allow device={name}`"
        )
    };
    for (grants, requests, result) in [
        (&DeviceGrants::default(), &["vendor.com/gpu"][..], forbidden("vendor.com/gpu=0")),
        (&DeviceGrants::default(), &["vendor.com/gpu=spare"], "vendor.com/gpu=spare".to_owned()),
        (&all, &["vendor.com/gpu", "vendor.com/gpu=0"], "vendor.com/gpu=0".to_owned()),
        (&named("vendor.com/gpu"), &["vendor.com/gpu=0"], "vendor.com/gpu=0".to_owned()),
        (&named("vendor.com/gpu"), &["vendor.com/gpu=*"], forbidden("vendor.com/gpu=1")),
        (&named("vendor.com/gpu=fast"), &["vendor.com/gpu=1"], "vendor.com/gpu=1".to_owned()),
        (&alias("vendor.com/gpu=1"), &["any.thing/x,required"], "vendor.com/gpu=1".to_owned()),
        (&DeviceGrants::default(), &["no.such/thing"], String::new()),
        (&all, &["no.such/thing,required"], "required device \"no.such/thing\" is not registered".to_owned()),
    ] {
        let requests: Vec<String> = requests.iter().map(|request| (*request).to_owned()).collect();
        let mut notes = Vec::new();
        let found = grants.resolve(&registry, &requests, &mut notes);
        let found = found.map_or_else(|error| error.to_string(), |names| names.join(" "));
        assert_eq!(found, result, "{requests:?}");
        let without = requests == ["no.such/thing"];
        assert_eq!(notes.len(), usize::from(without), "{requests:?}: {notes:?}");
    }
}
