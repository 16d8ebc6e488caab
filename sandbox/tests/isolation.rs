//! Real isolation of real programs. The test program is its own stage.
use std::process::ExitCode;
use rbuild_sandbox::*;
use rbuild_model::rootfs::*;

fn main() -> ExitCode {
    if let Some(code) = stage::dispatch(std::env::args_os()) { return code; }
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    for d in ["bin","etc","upper","work"] { std::fs::create_dir_all(base.join(d)).unwrap(); }
    std::fs::create_dir_all(dir.path().join("u")).unwrap();
    std::fs::create_dir_all(dir.path().join("w")).unwrap();
    std::fs::copy("/bin/busybox", base.join("bin/busybox")).unwrap();
    for n in ["sh","true","ls","cat","mount","id","ps"] { std::os::unix::fs::symlink("busybox", base.join("bin").join(n)).unwrap(); }
    let launcher = Launcher::new(&LauncherConfig::default()).unwrap();
    eprintln!("{:?}", launcher.seal_method());
    let args: Vec<String> = std::env::args().skip(1).collect();
    for _ in 0..5 {
    let t = std::time::Instant::now();
    let mut slot = launcher.slot(SlotRequest{cgroup: None, namespaces: Namespaces::default(), lifetime: Lifetime::Bound, oom_score_adj: Some(100)}).unwrap();
    slot.wait_parked().unwrap();
    let t1 = t.elapsed();
    let spec = profile::step(profile::Options::new(if args.is_empty() {vec!["/bin/true".into()]} else {args.clone()})).unwrap();
    let root = RootPlan::Overlay{lowers: vec![base.clone()], upper: Some(OverlayUpper{upper: dir.path().join("u"), work: dir.path().join("w"), volatile: false}), xattr: OverlayXattr::Trusted};
    let fd = |n: i32| Some(std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap()).filter(|_| n==0);
    let out = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().unwrap();
    let err = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned().unwrap();
    let _ = fd;
    let running = slot.launch(Order{spec, root, mounts: vec![], stubs: Stubs::Remove}, Stdio{stdin: None, stdout: Some(out), stderr: Some(err)});
    let running = match running { Ok(r) => r, Err(e) => { let mut s = format!("{e}"); let mut c: &dyn std::error::Error = &e; while let Some(n) = c.source() { s += &format!(": {n}"); c = n; } eprintln!("ERR {s}"); return ExitCode::FAILURE } };
    let t2 = t.elapsed();
    let exit = running.wait().unwrap();
    eprintln!("{exit:?} park {t1:?} launched {t2:?} all {:?}", t.elapsed());
    }
    ExitCode::SUCCESS
}
