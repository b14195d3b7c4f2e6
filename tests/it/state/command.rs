//! `replant state` and `replant output`, as a user runs them.

use std::fs;
use std::path::Path;

use replant::state::{Lock, Paths, Store};

use super::sample::{open, populate};
use crate::support::replant;

/// A finished state: two volumes, an instance, outputs.
fn finished(directory: &Path) -> Paths {
    let paths = populate(directory);
    let open = open(directory);
    for intent in open.store.pending() {
        open.store.fail(intent.id, "no", vec![]).unwrap();
    }
    open.store.commit().unwrap();
    paths
}

#[test]
fn list_and_show() {
    let directory = tempfile::tempdir().unwrap();
    populate(directory.path());
    let run = |arguments: &[&str]| replant(directory.path(), arguments);
    insta::assert_snapshot!("list", run(&["state", "list"]).success().stdout);
    assert_eq!(
        run(&["state", "list", "instance.web.volume.data"]).success().stdout,
        "instance.web.volume.data\n"
    );
    insta::assert_snapshot!("show_instance", run(&["state", "show", "instance.web"]).success().stdout);
    insta::assert_snapshot!(
        "show_volume",
        run(&["state", "show", "instance.web.volume.root"]).success().stdout
    );
    insta::assert_snapshot!("show_unknown", run(&["state", "show", "instance.wbe"]).code(1).both());
    let json = run(&["state", "show", "--json", "instance.web"]).success().stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["instance_type"], "m6i.large");
    let pulled: replant::state::State =
        serde_json::from_str(&run(&["state", "pull"]).success().stdout).unwrap();
    assert_eq!(pulled, Store::read(&Paths::in_directory(directory.path())).unwrap());
    assert_eq!(run(&["state", "list", "--rehearse"]).success().stdout, "");
}

#[test]
fn moving_and_forgetting() {
    let directory = tempfile::tempdir().unwrap();
    let paths = finished(directory.path());
    let run = |arguments: &[&str]| replant(directory.path(), arguments);
    insta::assert_snapshot!(
        "mv",
        run(&["state", "mv", "instance.web", "instance.shop[\"eu\"]"]).success().stdout
    );
    run(&["state", "mv", "instance.shop[\"eu\"].volume.data", "instance.shop[\"eu\"].volume.files"])
        .success();
    insta::assert_snapshot!("mv_list", run(&["state", "list"]).success().stdout);
    insta::assert_snapshot!(
        "mv_wrong",
        run(&["state", "mv", "instance.shop[\"eu\"]", "instance.x.volume.y"]).code(1).both()
    );
    assert_eq!(Store::read(&paths).unwrap().serial, 4);
    insta::assert_snapshot!("rm", run(&["state", "rm", "instance.shop[\"eu\"]"]).success().stdout);
    assert_eq!(run(&["state", "list"]).success().stdout, "");
}

#[test]
fn changes_wait_for_an_unfinished_run_and_for_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let run = |arguments: &[&str]| replant(directory.path(), arguments);
    insta::assert_snapshot!("unfinished", run(&["state", "rm", "instance.web"]).code(1).both());
    let _lock = Lock::acquire(&paths, "apply").unwrap();
    let refused = run(&["state", "rm", "instance.web"]).code(1).stderr;
    assert!(refused.contains("state::locked"), "{refused}");
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    run(&["state", "list"]).success();
}

#[test]
fn outputs() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| replant(directory.path(), arguments);
    assert!(run(&["output"]).code(1).stderr.contains("output::none"));
    finished(directory.path());
    assert_eq!(run(&["output"]).success().stdout, "secret = <sensitive>\nweb_ip = \"10.20.1.15\"\n");
    assert_eq!(run(&["output", "web_ip"]).success().stdout, "\"10.20.1.15\"\n");
    assert_eq!(run(&["output", "--raw", "web_ip"]).success().stdout, "10.20.1.15");
    assert_eq!(run(&["output", "--json", "web_ip"]).success().stdout, "\"10.20.1.15\"\n");
    let all: serde_json::Value = serde_json::from_str(&run(&["output", "--json"]).success().stdout).unwrap();
    assert_eq!(all["secret"], serde_json::json!({ "value": null, "sensitive": true }));
    insta::assert_snapshot!("output_sensitive", run(&["output", "secret"]).code(1).both());
    assert!(run(&["output", "web_pi"]).code(1).stderr.contains("did you mean `web_ip`?"));
}

#[test]
fn completions_and_manual() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = replant(directory.path(), ["completions", shell]).success().stdout;
        assert!(script.contains("replant") && script.contains("output"), "{shell}");
    }
    let script = directory.path().join("replant.bash");
    fs::write(&script, replant(directory.path(), ["completions", "bash"]).success().stdout).unwrap();
    let checked = std::process::Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(checked.success());
    assert!(replant(directory.path(), ["man"]).success().stdout.contains(".TH replant 1"));
    let pages = directory.path().join("pages");
    fs::create_dir(&pages).unwrap();
    replant(directory.path(), ["man", pages.to_str().unwrap()]).success();
    assert!(pages.join("replant-state-list.1").exists());
    assert!(replant(directory.path(), ["man", "/nonexistent"]).code(1).stderr.contains("cli::cannot_write"));
}
