//! Stories of instances that run: a boot sector of ours is the guest, so that a boot takes a
//! second or two and still goes through QEMU's firmware and its NVMe disk.

use std::fs;
use std::process::Command;

use crate::support::Workspace;
use crate::support::booting::{LOGIN, Machines, bootable, configuration, machines, started};
use crate::support::workspace::text;

#[test]
fn after_its_first_start_a_changed_image_is_a_note_and_its_replacement_keeps_a_snapshot() {
    let guarded = started("");
    let workspace = &guarded.0;
    assert_eq!(machines(workspace), 1);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    let before = workspace.state();

    bootable(workspace, "web.raw", "\r\nnewer login: ");
    let noted = workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    assert!(noted.stdout.contains("it is not written again"), "{}", noted.stdout);
    assert_eq!(workspace.state(), before);

    workspace.configure(&configuration("  lifecycle { replace_on_image_change = true }"));
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("is lost; a final"), "{}", plan.stdout);
    let applied = workspace.apply().success();
    assert!(applied.stdout.contains("newer login:"), "{}", applied.stdout);
    let after = workspace.state();
    assert_ne!(after["resources"]["instance.web"]["id"], before["resources"]["instance.web"]["id"]);
    let snapshots = fs::read_dir(workspace.path().join(".replant/cloud/snapshots")).unwrap();
    let records = snapshots.filter(|entry| {
        entry
            .as_ref()
            .is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
    });
    assert_eq!(records.count(), 1);
    assert_eq!(machines(workspace), 1);
    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!((machines(workspace), workspace.volumes().len(), workspace.instances().len()), (0, 0, 0));
}

#[test]
fn a_type_changes_by_stop_and_start_and_a_state_by_itself() {
    let guarded = started("  disk \"root\" {}\n  disk \"data\" { size = 1 }");
    let workspace = &guarded.0;
    let before = workspace.state();
    let more = "  disk \"root\" {}\n  disk \"data\" { size = 1 }";
    workspace.configure(&configuration(more).replace("m6i.large", "m6i.xlarge"));
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("stopped for this change"), "{}", plan.stdout);
    workspace.apply().success();
    let after = workspace.state();
    assert_eq!(after["resources"]["instance.web"]["id"], before["resources"]["instance.web"]["id"]);
    assert_eq!(text(&after["resources"]["instance.web"], "instance_type"), "m6i.xlarge");
    assert_eq!(machines(workspace), 1);

    let stopped = configuration(&format!("{more}\n  state = \"stopped\"")).replace("m6i.large", "m6i.xlarge");
    workspace.configure(&stopped);
    workspace.apply().success();
    assert_eq!(machines(workspace), 0);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    workspace.configure(&stopped.replace("stopped", "standby"));
    let refused = workspace.run(&["plan"]).code(1);
    assert!(refused.stderr.contains("plan::started_standby"), "{}", refused.both());

    // A subnet cannot change in place; the volumes and what is on them go over to the new instance.
    workspace.configure(&stopped.replace("state = \"stopped\"", "subnet_id = \"subnet-2\""));
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("# forces replacement"), "{}", plan.stdout);
    assert!(plan.stdout.contains("what is on its volumes stays"), "{}", plan.stdout);
    workspace.apply().success();
    let moved = workspace.state();
    assert_ne!(moved["resources"]["instance.web"]["id"], after["resources"]["instance.web"]["id"]);
    assert_eq!(
        moved["resources"]["instance.web.volume.root"]["id"],
        after["resources"]["instance.web.volume.root"]["id"]
    );
    assert_eq!(machines(workspace), 1);

    // A disk that leaves the configuration leaves the machine, which runs again afterwards.
    workspace.configure(
        &configuration("  disk \"root\" {}\n  subnet_id = \"subnet-2\"").replace("m6i.large", "m6i.xlarge"),
    );
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("is lost"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!((machines(workspace), workspace.volumes().len(), workspace.instances().len()), (1, 1, 1));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!((machines(workspace), workspace.volumes().len(), workspace.instances().len()), (0, 0, 0));
}

#[test]
fn a_guest_that_does_not_come_up_is_shown_with_its_console_and_restored_anew() {
    let guarded = Machines(Workspace::new(&configuration("")));
    let workspace = &guarded.0;
    bootable(
        workspace,
        "web.raw",
        "\r\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n",
    );
    let applied = workspace.apply().code(1);
    assert!(applied.stdout.contains("apply::boot_failed"), "{}", applied.both());
    assert!(applied.stdout.contains("Unable to mount root fs"), "{}", applied.both());
    let state = workspace.state();
    assert_eq!(state["resources"]["instance.web"]["tainted"], true);
    assert_eq!(workspace.volumes().len(), 1, "everything is left in place");

    let image = bootable(workspace, "web.raw", LOGIN);
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("its first start failed"), "{}", plan.stdout);
    workspace.apply().success();
    let after = workspace.state();
    assert_eq!(after["resources"]["instance.web"]["tainted"], false);
    assert_eq!(
        after["resources"]["instance.web.volume.root"]["id"],
        state["resources"]["instance.web.volume.root"]["id"]
    );
    workspace.assert_holds("instance.web.volume.root", &image);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(machines(workspace), 0);
}

#[test]
fn an_instance_that_was_stopped_outside_is_started_again() {
    let guarded = started("  launch { console_pattern = \"guest log[a-z]+\" }");
    let workspace = &guarded.0;
    let _ = Command::new("pkill")
        .args(["-9", "-f", &format!("qemu-system.*{}", workspace.path().to_string_lossy())])
        .status();
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("changed outside Replant"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!(machines(workspace), 1);
    workspace.run(&["destroy", "--auto-approve"]).success();
}

#[test]
fn what_somebody_else_started_is_neither_stopped_nor_overwritten() {
    let guarded = Machines(Workspace::new(&configuration("  state = \"stopped\"")));
    let workspace = &guarded.0;
    bootable(workspace, "web.raw", LOGIN);
    workspace.apply().success();
    let state = workspace.state();
    let id = state["resources"]["instance.web"]["id"].as_str().unwrap().to_owned();
    start_outside(workspace, &id);
    assert_eq!(machines(workspace), 1);

    // The nightly backup replaces the image; what the guest wrote since is newer.
    bootable(workspace, "web.raw", "\r\nnewer login: ");
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("changed outside Replant"), "{}", plan.stdout);
    assert!(plan.stdout.contains("it is not written again"), "{}", plan.stdout);
    workspace.configure(&configuration(""));
    workspace.apply().success();
    assert_eq!(machines(workspace), 1);
    let adopted = workspace.state();
    assert_eq!(adopted["resources"]["instance.web"]["id"], state["resources"]["instance.web"]["id"]);
    assert_eq!(adopted["resources"]["instance.web.volume.root"]["started"], true);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}

/// As somebody at EC2's console would.
fn start_outside(workspace: &Workspace, id: &str) {
    use replant::model::{AccessNodeSpec, LocalProviderSpec};
    use replant::provider::{InstanceId, Provider, local::LocalProvider};

    let spec = LocalProviderSpec {
        directory: workspace.path().join(".replant/cloud"),
        memory: 128,
        accelerator: "tcg".to_owned(),
        ..LocalProviderSpec::default()
    };
    let node =
        AccessNodeSpec { name: "local".to_owned(), instance_id: "self".to_owned(), max_attachments: None };
    let provider = LocalProvider::open(&spec, &node, workspace.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(provider.start_instance(&InstanceId(id.to_owned()))).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
}

#[test]
fn volumes_that_were_kept_are_not_rewritten_when_their_new_instance_does_not_come_up() {
    let guarded = started("");
    let workspace = &guarded.0;
    let before = workspace.state();
    // Nothing will ever match: the new instance around the old volumes counts as not up.
    let hopeless =
        "  subnet_id = \"subnet-2\"\n  launch {\n    console_pattern = \"never\"\n    boot_timeout = 5\n  }";
    workspace.configure(&configuration(hopeless));
    let applied = workspace.apply().code(1);
    assert!(applied.stdout.contains("apply::boot_failed"), "{}", applied.both());
    let state = workspace.state();
    let volume = "instance.web.volume.root";
    assert_eq!(state["resources"][volume]["id"], before["resources"][volume]["id"]);
    assert_eq!(state["resources"]["instance.web"]["tainted"], false);
    let plan = workspace.run(&["plan"]).success();
    assert!(!plan.stdout.contains("# Data to write"), "{}", plan.stdout);
}

/// Changes a record of the cloud, as somebody else would with its calls.
fn meddle(workspace: &Workspace, kind: &str, id: &str, change: impl Fn(&mut serde_json::Value)) {
    let path = workspace.path().join(format!(".replant/cloud/{kind}/{id}.json"));
    let mut record = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(&path, record.to_string()).unwrap();
}

#[test]
fn what_somebody_takes_off_is_put_back_and_what_he_protects_is_left() {
    let guarded = started("  disk \"root\" {}\n  disk \"data\" { size = 1 }");
    let workspace = &guarded.0;
    let id = |address: &str| text(&workspace.state()["resources"][address], "id").to_owned();
    let (web, data) = (id("instance.web"), id("instance.web.volume.data"));
    let place = || {
        let volume = workspace.volumes().into_iter().find(|volume| volume["id"] == data.as_str()).unwrap();
        let held = &volume["attachment"];
        (held["instance"].clone(), held["device"].clone(), held["delete_on_termination"].clone())
    };
    let before = place();
    meddle(workspace, "volumes", &data, |volume| volume["attachment"] = serde_json::Value::Null);
    // QEMU's disks stay as they are while it runs.
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    for part in ["volume data is detached", "stopped for this change"] {
        assert!(plan.stdout.contains(part), "{part}: {}", plan.stdout);
    }
    workspace.apply().success();
    assert_eq!((place(), machines(workspace)), (before, 1));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);

    meddle(workspace, "volumes", &data, |volume| {
        volume["attachment"]["delete_on_termination"] = false.into();
    });
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("delete_on_termination"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!(place().2, true);

    let protect = |is: bool| {
        meddle(workspace, "instances", &web, |instance| instance["termination_protection"] = is.into());
    };
    protect(true);
    let refused = workspace.run(&["destroy", "--auto-approve"]).code(1);
    assert!(refused.both().contains("plan::termination_protection"), "{}", refused.both());
    assert_eq!((machines(workspace), place().0), (1, web.as_str().into()));
    protect(false);
    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!((machines(workspace), workspace.volumes().len(), workspace.instances().len()), (0, 0, 0));
}
