//! Promise 2: `kill -9` anywhere loses nothing and makes nothing twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::Workspace;

const CONFIGURATION: &str = r#"
instance "web" {
  image         = "web.raw"
  instance_type = "m6i.large"
  private_ip    = "10.20.1.15"
  state         = "stopped"
  guest { drivers = "none" }
  disk "root" { tags = { Role = "root" } }
  disk "data" { image = "data.raw" }
  tags = { Name = "web" }
}
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new(CONFIGURATION);
    workspace.raw_image("web.raw", 12, 1);
    workspace.raw_image("data.raw", 5, 2);
    workspace
}

/// How long a whole run takes here and now.
fn whole_run() -> Duration {
    let begun = Instant::now();
    workspace().apply().success();
    begun.elapsed()
}

fn killed_after(workspace: &Workspace, moment: Duration) {
    let mut child =
        workspace.command(&["apply", "--auto-approve"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn assert_one_of_everything(workspace: &Workspace, moment: Duration) {
    let volumes = workspace.volumes();
    assert_eq!(volumes.len(), 2, "after {moment:?}: {volumes:#?}");
    let instances = workspace.instances();
    assert_eq!(instances.len(), 1, "after {moment:?}: {instances:#?}");
    let state = workspace.state();
    for volume in &volumes {
        let known =
            state["resources"].as_object().unwrap().values().any(|resource| resource["id"] == volume["id"]);
        assert!(known, "{} is an orphan, after {moment:?}", volume["id"]);
        assert_eq!(volume["attachment"]["instance"], instances[0]["id"], "after {moment:?}");
    }
    workspace.assert_holds("instance.web.volume.root", &workspace.path().join("web.raw"));
    workspace.assert_holds("instance.web.volume.data", &workspace.path().join("data.raw"));
    let plan = workspace.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, 0, "after {moment:?}: {}", plan.both());
}

#[test]
fn killed_at_fifty_moments_and_applied_again() {
    let whole = whole_run();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= 50 {
                        return;
                    }
                    let moment = whole.mul_f64((index as f64 + 0.5) / 50.0);
                    let workspace = workspace();
                    killed_after(&workspace, moment);
                    let again = workspace.apply();
                    assert_eq!(again.code, 0, "after {moment:?}: {}", again.both());
                    assert_one_of_everything(&workspace, moment);
                }
            });
        }
    });
}

#[test]
fn killed_again_and_again_it_still_arrives() {
    let whole = whole_run();
    let workspace = workspace();
    for step in 1..=12u32 {
        killed_after(&workspace, whole.mul_f64(f64::from(step) / 12.0));
    }
    workspace.apply().success();
    assert_one_of_everything(&workspace, whole);
}

#[test]
fn a_killed_destroy_is_finished() {
    let whole = whole_run();
    for step in 1..=8u32 {
        let workspace = workspace();
        workspace.apply().success();
        let mut child = workspace
            .command(&["destroy", "--auto-approve"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64(f64::from(step) / 10.0));
        child.kill().unwrap();
        child.wait().unwrap();
        workspace.run(&["destroy", "--auto-approve"]).success();
        assert_eq!((workspace.volumes().len(), workspace.instances().len()), (0, 0));
    }
}

#[test]
fn a_killed_destroy_is_taken_back_by_apply() {
    let whole = whole_run();
    for step in 1..=10u32 {
        let workspace = workspace();
        workspace.apply().success();
        let mut child = workspace
            .command(&["destroy", "--auto-approve"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let moment = whole.mul_f64(f64::from(step) / 14.0);
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let again = workspace.apply();
        assert_eq!(again.code, 0, "destroy was cut off after {moment:?}: {}", again.both());
        assert_one_of_everything(&workspace, moment);
    }
}
