use rbuild_image::distribution::Registries;
use rbuild_testkit::registry::Registry as Server;

use super::*;
use crate::backends::{DocumentForm, conformance};

#[test]
fn conforms_against_a_real_registry() {
    let Some(server) = Server::start("conforms_against_a_real_registry") else { return };
    let network = Network::new(Registries::default());
    for (document, name) in [(DocumentForm::Manifest, "a"), (DocumentForm::Index, "b")] {
        let reference: Reference = format!("{}/caches/{name}:main", server.host()).parse().unwrap();
        let form = Form { document, ..Form::default() };
        conformance::suite(&Registry::new(reference, form, network.clone()));
    }
}
