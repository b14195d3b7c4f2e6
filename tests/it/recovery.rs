//! Stories of lost states, leftovers, and what existed before: `state rebuild`, `sweep`, `import`.

use std::fs;

use serde_json::Value;

use crate::support::Workspace;
use crate::support::booting::{LOGIN, Machines, bootable, configuration, started};
use crate::support::workspace::text;

const STOPPED: &str = r#"
instance "web" {
  image         = "web.raw"
  instance_type = "m6i.large"
  private_ip    = "10.20.1.15"
  state         = "stopped"
  guest { drivers = "none" }
  disk "root" {}
  disk "data" { size = 1 }
  tags = { Name = "web" }
}
"#;

fn stopped() -> Workspace {
    let workspace = Workspace::new(STOPPED);
    workspace.raw_image("web.raw", 3, 1);
    workspace.apply().success();
    workspace
}

fn lose_the_state(workspace: &Workspace) {
    for name in ["replant.state.json", "replant.state.json.backup", "replant.state.journal"] {
        let _ = fs::remove_file(workspace.path().join(name));
    }
}

/// What is in a state but what only the run that wrote it could know.
fn comparable(state: &Value) -> Value {
    let mut resources = state["resources"].clone();
    for resource in resources.as_object_mut().unwrap().values_mut() {
        let members = resource.as_object_mut().unwrap();
        members.remove("write");
        members.remove("drivers");
        // Of an empty volume, only the run that made it knows that nothing was written.
        members.remove("written");
    }
    resources
}

#[test]
fn a_lost_state_is_rebuilt_and_then_there_is_nothing_to_do() {
    let guarded = started("  disk \"root\" {}\n  disk \"data\" { size = 1 }\n  tags = { Name = \"web\" }");
    let workspace = &guarded.0;
    let before = workspace.state();
    lose_the_state(workspace);
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("1 to restore"), "{}", plan.stdout);

    workspace.run(&["state", "rebuild"]).code(1);
    assert!(!workspace.path().join("replant.state.json").exists(), "nobody said yes");
    let rebuilt = workspace.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(rebuilt.stdout.contains("+ instance.web.volume.data = vol-"), "{}", rebuilt.stdout);
    let after = workspace.state();
    assert_eq!(after["lineage"], before["lineage"]);
    assert_eq!(comparable(&after), comparable(&before));
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    assert!(plan.stdout.contains("No changes."), "{}", plan.stdout);
    let again = workspace.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(again.stdout.contains("The state knows all"), "{}", again.stdout);

    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (0, 0));
}

/// The danger of an old state: it would write a backup over what a guest has written since.
#[test]
fn an_old_state_learns_that_its_guest_has_run() {
    let guarded = Machines(Workspace::new(&configuration("  state = \"stopped\"")));
    let workspace = &guarded.0;
    bootable(workspace, "web.raw", LOGIN);
    workspace.apply().success();
    let old = fs::read(workspace.path().join("replant.state.json")).unwrap();
    workspace.configure(&configuration(""));
    workspace.apply().success();
    let newest = workspace.state();
    fs::write(workspace.path().join("replant.state.json"), old).unwrap();
    let _ = fs::remove_file(workspace.path().join("replant.state.journal"));
    assert_eq!(workspace.state()["resources"]["instance.web.volume.root"]["started"], false);

    let rebuilt = workspace.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(rebuilt.stdout.contains("~ instance.web.volume.root = vol-"), "{}", rebuilt.stdout);
    let state = workspace.state();
    for address in ["instance.web", "instance.web.volume.root"] {
        assert_eq!(state["resources"][address]["id"], newest["resources"][address]["id"]);
    }
    assert_eq!(state["resources"]["instance.web.volume.root"]["started"], true);
    assert_eq!(state["resources"]["instance.web"]["phase"], "started");
    bootable(workspace, "web.raw", "\r\nnewer login: ");
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("it is not written again"), "{}", plan.stdout);
}

#[test]
fn which_workspace_is_asked_where_it_is_not_clear() {
    let first = stopped();
    let cloud = first.path().join(".replant/cloud");
    let same = format!("provider \"local\" {{\n  directory = \"{}\"\n}}\n{STOPPED}", cloud.display());
    let second = Workspace::new(&same.replace("10.20.1.15", "10.20.1.16"));
    second.raw_image("web.raw", 3, 2);
    second.apply().success();
    let lineage = text(&second.state(), "lineage").to_owned();
    lose_the_state(&second);
    let asked = second.run(&["state", "rebuild", "--auto-approve"]).code(1);
    assert!(asked.stderr.contains("rebuild::which") && asked.stderr.contains(&lineage), "{}", asked.stderr);
    second.run(&["state", "rebuild", "--auto-approve", "--lineage", &lineage]).success();
    assert_eq!(second.state()["resources"]["instance.web"]["private_ip"], "10.20.1.16");
    // What no guest ever ran from is written anew, since nobody knows what is on it.
    let plan = second.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("its content is not written"), "{}", plan.stdout);
    let other =
        second.run(&["state", "rebuild", "--lineage", "00000000-0000-4000-8000-000000000000"]).code(1);
    assert!(other.stderr.contains("state::has_lineage"), "{}", other.stderr);
}

#[test]
fn leftovers_that_never_ran_are_swept_and_nothing_else() {
    let workspace = stopped();
    let clean = workspace.run(&["sweep"]).success();
    assert!(clean.stdout.contains("Nothing but what the state knows"), "{}", clean.stdout);
    workspace.run(&["state", "rm", "instance.web"]).success();
    let listed = workspace.run(&["sweep"]).success();
    assert!(listed.stdout.contains("3 resources in no state"), "{}", listed.stdout);
    assert!(listed.stdout.contains("made for instance.web.volume.data, 1 GiB"), "{}", listed.stdout);
    let json: Value = serde_json::from_str(&workspace.run(&["sweep", "--json"]).success().stdout).unwrap();
    assert_eq!((json["version"].as_u64(), json["strays"].as_array().map(Vec::len)), (Some(1), Some(3)));
    let asked = workspace.run(&["sweep", "--remove"]).code(1);
    assert!(asked.stderr.contains("apply::not_approved"), "{}", asked.stderr);
    assert_eq!(workspace.volumes().len(), 2);
    workspace.run(&["sweep", "--remove", "--auto-approve"]).success();
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (0, 0));
}

#[test]
fn what_a_guest_ran_from_is_never_swept() {
    let guarded = started("  disk \"root\" { final_snapshot = true }");
    let workspace = &guarded.0;
    workspace.run(&["state", "rm", "instance.web"]).success();
    let listed = workspace.run(&["sweep"]).success();
    assert!(listed.stdout.contains("a restored guest has run in it"), "{}", listed.stdout);
    assert!(listed.stdout.contains("a guest has run from it"), "{}", listed.stdout);
    assert!(!listed.stdout.contains("replant sweep --remove"), "{}", listed.stdout);
    workspace.run(&["sweep", "--remove", "--auto-approve"]).success();
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (1, 1));

    workspace.run(&["state", "rebuild", "--auto-approve"]).success();
    workspace.run(&["destroy", "--auto-approve"]).success();
    let listed = workspace.run(&["sweep"]).success();
    assert!(listed.stdout.contains("it keeps the data of a volume that was destroyed"), "{}", listed.stdout);
}

#[test]
fn a_volume_that_was_let_go_belongs_to_nobody() {
    let kept = "disk \"data\" {\n    size = 1\n    delete_on_termination = false\n  }";
    let workspace = Workspace::new(&STOPPED.replace("disk \"data\" { size = 1 }", kept));
    workspace.raw_image("web.raw", 3, 1);
    workspace.apply().success();
    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(workspace.volumes().len(), 1);
    let listed = workspace.run(&["sweep"]).success();
    assert!(listed.stdout.contains("Nothing but what the state knows"), "{}", listed.stdout);
}

#[test]
fn an_instance_is_imported_with_its_volumes_and_then_there_is_nothing_to_do() {
    let guarded = started("  disk \"root\" {}\n  disk \"data\" { size = 1 }");
    let workspace = &guarded.0;
    let before = workspace.state();
    let id = text(&before["resources"]["instance.web"], "id").to_owned();
    let known = workspace.run(&["import", "instance.web", &id]).code(1);
    assert!(known.stderr.contains("import::known"), "{}", known.stderr);
    workspace.run(&["state", "rm", "instance.web"]).success();

    let missing = workspace.run(&["import", "instance.web", "i-00000000000000000"]).code(1);
    assert!(missing.stderr.contains("import::not_found"), "{}", missing.stderr);
    let unknown = workspace.run(&["import", "instance.db", &id]).code(1);
    assert!(unknown.stderr.contains("import::not_configured"), "{}", unknown.stderr);
    let wrong = workspace.run(&["import", "instance.web", &id, "--disk", "logs=vol-0"]).code(1);
    assert!(wrong.stderr.contains("import::no_such_disk"), "{}", wrong.stderr);
    let imported = workspace.run(&["import", "instance.web", &id]).success();
    assert!(imported.stdout.contains("instance.web.volume.data is vol-"), "{}", imported.stdout);
    assert_eq!(comparable(&workspace.state()), comparable(&before));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}

#[test]
fn a_volume_of_another_workspace_is_taken_over_only_when_that_is_said() {
    let first = stopped();
    let volume = text(&first.state()["resources"]["instance.web.volume.data"], "id").to_owned();
    let cloud = first.path().join(".replant/cloud");
    let second = Workspace::new(&format!(
        "provider \"local\" {{\n  directory = \"{}\"\n}}\n{}",
        cloud.display(),
        STOPPED.replace("\"stopped\"", "\"standby\"")
    ));
    second.raw_image("web.raw", 3, 2);
    let address = "instance.web.volume.data";
    let refused = second.run(&["import", address, &volume]).code(1);
    assert!(refused.stderr.contains("import::other_workspace"), "{}", refused.stderr);
    let step = second.run(&["import", "instance.web.write.data", &volume]).code(1);
    assert!(step.stderr.contains("import::no_resource"), "{}", step.stderr);
    first.run(&["state", "rm", "instance.web"]).success();
    second.run(&["import", address, &volume, "--take-over"]).success();
    let state = second.state();
    assert_eq!(
        (text(&state["resources"][address], "id"), &state["resources"][address]["started"]),
        (volume.as_str(), &Value::Bool(true))
    );
}
