//! cost
use std::time::Instant;
use rbuild_network::{driver::*, drivers::driver, link::StorePrefix, names::*, namespace::Namespace, site::*};
fn main() {
    let host = Namespace::create().unwrap();
    std::thread::scope(|s| { s.spawn(|| {
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&host), Some(rustix::thread::LinkNameSpaceType::Network)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let t = Instant::now();
        let site = Site::open(SiteConfig { store: StorePrefix::new("deadbeef").unwrap(), runtime: dir.path().into(), host_lock: dir.path().join("host.lock"), nft: None }).unwrap();
        eprintln!("open {:?}", t.elapsed());
        let d = driver(DriverKind::Bridge);
        let spec = NetworkSpec::for_steps(NetworkId::new("steps").unwrap());
        let t = Instant::now(); let n = d.ensure(&site, &spec).unwrap(); eprintln!("ensure first {:?}", t.elapsed());
        let t = Instant::now(); d.ensure(&site, &spec).unwrap(); eprintln!("ensure again {:?}", t.elapsed());
        let spec2 = NetworkSpec::new(NetworkId::new("two").unwrap());
        let t = Instant::now(); d.ensure(&site, &spec2).unwrap(); eprintln!("ensure second network {:?}", t.elapsed());
        let mut keep = vec![];
        for i in 0..8 {
            let t = Instant::now(); let mut ns = Namespace::create().unwrap(); let a = t.elapsed();
            let t = Instant::now(); let e = d.attach(&site, &n, &mut ns, &EndpointSpec::new(EndpointId::new(&format!("e{i}")).unwrap())).unwrap(); let b = t.elapsed();
            let c = if i % 2 == 0 { let t = Instant::now(); drop(ns.into_fd()); let f = t.elapsed(); let t = Instant::now(); d.detach(&site, &n.id, &e.id).unwrap(); (f, t.elapsed()) } else { keep.push(ns); Default::default() };
            eprintln!("create {a:?} attach {b:?} close,detach {c:?}");
        }
    });});
}
