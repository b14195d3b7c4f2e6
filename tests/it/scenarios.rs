//! Stories: a configuration, commands, what a user sees and what the cloud then holds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use crate::support::Workspace;
use crate::support::workspace::text;

const ONE: &str = r#"
instance "web" {
  image         = "web.raw"
  instance_type = "m6i.large"
  private_ip    = "10.20.1.15"
  state         = "stopped"
  guest { drivers = "none" }
  tags = { Name = "web" }
}

output "web_ip" { value = instance.web.private_ip }
output "web_volume" { value = instance.web.volume.root.id }
"#;

fn instance(name: &str, more: &str) -> String {
    format!(
        "instance \"{name}\" {{\n  image = \"{name}.raw\"\n  instance_type = \"m6i.large\"\n  state = \"stopped\"\n  guest {{ drivers = \"none\" }}\n{more}\n}}\n"
    )
}

fn one() -> Workspace {
    let workspace = Workspace::new(ONE);
    workspace.raw_image("web.raw", 9, 1);
    workspace
}

#[test]
fn a_machine_is_restored_and_then_there_is_nothing_to_do() {
    let workspace = one();
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("Plan: 1 to restore, 1 volume to create"), "{}", plan.stdout);
    assert!(!workspace.path().join("replant.state.json").exists(), "a plan leaves no state");

    let applied = workspace.apply().success();
    assert!(applied.stdout.contains("Apply complete!"), "{}", applied.stdout);
    workspace.assert_holds("instance.web.volume.root", &workspace.path().join("web.raw"));
    assert_eq!(workspace.volumes().len(), 1, "the stub's own root is gone");
    assert_eq!(workspace.instances().len(), 1);
    assert!(!workspace.path().join("replant.state.journal").exists());
    assert_eq!(workspace.run(&["output", "web_ip"]).success().stdout, "\"10.20.1.15\"\n");

    let again = workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    assert!(again.stdout.contains("No changes."), "{}", again.stdout);
    let serial = workspace.state()["serial"].clone();
    workspace.apply().success();
    assert_eq!(workspace.state()["serial"], serial, "a run that changes nothing leaves the serial");

    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (0, 0));
}

#[test]
fn a_saved_plan_runs_once_and_only_on_what_it_was_made_from() {
    let workspace = one();
    workspace.run(&["plan", "--out", "it.plan"]).success();
    let mode = fs::metadata(workspace.path().join("it.plan")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stale = |workspace: &Workspace, why: &str| {
        let refused = workspace.run(&["apply", "it.plan"]).code(1);
        assert!(refused.stderr.contains("plan::stale") && refused.stderr.contains(why), "{}", refused.both());
        assert!(workspace.instances().is_empty(), "nothing was done");
    };

    workspace.configure(&ONE.replace("10.20.1.15", "10.20.1.16"));
    stale(&workspace, "the configuration");
    workspace.configure(ONE);
    let image = workspace.path().join("web.raw");
    let times = fs::metadata(&image).unwrap().modified().unwrap();
    workspace.raw_image("web.raw", 9, 2);
    stale(&workspace, "web.raw");
    workspace.raw_image("web.raw", 9, 1);
    fs::File::options().write(true).open(&image).unwrap().set_modified(times).unwrap();

    workspace.run(&["apply", "it.plan"]).success();
    let refused = workspace.run(&["apply", "it.plan"]).code(1);
    assert!(
        refused.stderr.contains("plan::stale") && refused.stderr.contains("the state"),
        "{}",
        refused.both()
    );
}

#[test]
fn a_damaged_plan_file_is_refused_at_every_byte() {
    let workspace = one();
    workspace.run(&["plan", "--out", "it.plan"]).success();
    let path = workspace.path().join("it.plan");
    let whole = fs::read(&path).unwrap();
    for index in (0..whole.len()).step_by(whole.len() / 23) {
        let mut damaged = whole.clone();
        damaged[index] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        let refused = workspace.run(&["show", "it.plan"]).code(1);
        assert!(refused.stderr.contains("error[plan::"), "byte {index}: {}", refused.both());
        fs::write(&path, &whole[..index]).unwrap();
        workspace.run(&["show", "it.plan"]).code(1);
    }
    fs::write(&path, &whole).unwrap();
    workspace.run(&["show", "it.plan"]).success();
}

#[test]
fn before_the_first_start_a_changed_image_is_written_again() {
    let workspace = one();
    workspace.apply().success();
    let image = workspace.raw_image("web.raw", 9, 7);
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("the image is not the one that was written"), "{}", plan.stdout);
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &image);
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (1, 1));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}

#[test]
fn what_is_protected_is_not_destroyed_even_when_its_block_is_gone() {
    let workspace = one();
    let protected = ONE.replace("tags =", "lifecycle { prevent_destroy = true }\n  tags =");
    workspace.configure(&protected);
    workspace.apply().success();
    for command in [&["destroy", "--auto-approve"][..], &["plan", "--replace", "instance.web"]] {
        let refused = workspace.run(command).code(1);
        assert!(refused.stderr.contains("plan::prevent_destroy"), "{}", refused.both());
    }
    workspace.configure("locals {}\n");
    let refused = workspace.run(&["plan"]).code(1);
    assert!(refused.stderr.contains("plan::prevent_destroy"), "{}", refused.both());
    assert_eq!(workspace.volumes().len(), 1);

    workspace.configure(&protected.replace("prevent_destroy = true", "prevent_destroy = false"));
    workspace.apply().success();
    workspace.run(&["destroy", "--auto-approve"]).success();
    assert!(workspace.volumes().is_empty());
}

#[test]
fn one_instance_that_fails_does_not_stop_the_others() {
    let workspace = Workspace::new(
        &(instance("a", "")
            + &instance("b", "").replace("b.raw", "b.vmdk")
            + &instance("c", "  depends_on = [instance.b]")),
    );
    for name in ["a", "b", "c"] {
        workspace.raw_image(&format!("{name}.raw"), 6, 3);
    }
    let good = workspace.path().join("good.vmdk");
    let status = std::process::Command::new("qemu-img")
        .args(["convert", "-O", "vmdk", "-o", "subformat=streamOptimized"])
        .args([workspace.path().join("b.raw"), good.clone()])
        .status()
        .unwrap();
    assert!(status.success());
    // Grains in the middle are no deflate streams any more; the metadata is whole.
    let mut damaged = fs::read(&good).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 200_000].fill(0xff);
    fs::write(workspace.path().join("b.vmdk"), &damaged).unwrap();

    let applied = workspace.apply().code(1);
    let state = workspace.state();
    assert!(applied.stdout.contains("Apply incomplete"), "{}", applied.both());
    assert!(applied.stdout.contains("instance.b.write.root failed"), "c says why: {}", applied.both());
    assert_eq!(text(&state["resources"]["instance.a"], "phase"), "swapped");
    workspace.assert_holds("instance.a.volume.root", &workspace.path().join("a.raw"));
    assert_eq!(workspace.volumes_in_slots(), 0, "{:#?}", workspace.volumes());

    fs::copy(&good, workspace.path().join("b.vmdk")).unwrap();
    workspace.apply().success();
    for name in ["a", "b", "c"] {
        workspace.assert_holds(
            &format!("instance.{name}.volume.root"),
            &workspace.path().join(format!("{name}.raw")),
        );
    }
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (3, 3));
}

#[test]
fn more_volumes_than_slots_run_in_waves() {
    let mut configuration =
        "access_node \"dr\" {\n  instance_id = \"self\"\n  max_attachments = 2\n}\n".to_owned();
    for name in ["a", "b", "c", "d", "e"] {
        configuration +=
            &instance(name, "  disk \"root\" {}\n  disk \"data\" {\n    image = \"data.raw\"\n  }");
    }
    let workspace = Workspace::new(&configuration);
    for name in ["a", "b", "c", "d", "e", "data"] {
        workspace.raw_image(&format!("{name}.raw"), 3, name.len() as u64);
    }
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("10 volumes in 5 waves"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (10, 5));
    for name in ["a", "b", "c", "d", "e"] {
        workspace.assert_holds(&format!("instance.{name}.volume.data"), &workspace.path().join("data.raw"));
    }
}

#[test]
fn a_database_is_up_before_its_application_and_gives_it_values() {
    let workspace =
        Workspace::new(&(instance("db", "") + &instance("app", "  tags = { database = instance.db.id }")));
    workspace.raw_image("db.raw", 3, 1);
    workspace.raw_image("app.raw", 3, 2);
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("(known after apply)"), "{}", plan.stdout);
    let applied = workspace.run(&["apply", "--auto-approve", "--json"]).success();
    let position =
        |what: &str| applied.stdout.find(what).unwrap_or_else(|| panic!("{what} in {}", applied.stdout));
    assert!(
        position(r#""event":"node_finished","address":"instance.db","#)
            < position(r#""event":"node_started","address":"instance.app.volume.root""#)
    );
    let state = workspace.state();
    assert_eq!(
        state["resources"]["instance.app"]["tags"]["database"],
        state["resources"]["instance.db"]["id"]
    );
    let again = workspace.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(again.code, 0, "{}", again.both());

    let destroyed = workspace.run(&["destroy", "--auto-approve", "--json"]).success();
    let position = |what: &str| destroyed.stdout.find(what).unwrap();
    assert!(
        position(r#""event":"node_finished","address":"instance.app","#)
            < position(r#""event":"node_started","address":"instance.db","#)
    );
}

#[test]
fn a_standby_has_volumes_and_no_instance_and_becomes_one() {
    let workspace = one();
    workspace
        .configure(&ONE.replace("\"stopped\"", "\"standby\"").replace("private_ip    = \"10.20.1.15\"", ""));
    let workspace_outputs = workspace.run(&["apply", "--auto-approve"]);
    assert_eq!(workspace_outputs.code, 0, "{}", workspace_outputs.both());
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (1, 0));
    let image = workspace.path().join("web.raw");
    workspace.assert_holds("instance.web.volume.root", &image);
    // A newer backup: only the block that differs is written.
    let mut bytes = fs::read(&image).unwrap();
    bytes[5 << 20] ^= 1;
    fs::write(&image, &bytes).unwrap();
    let synced = workspace.run(&["apply", "--auto-approve", "--json", "--verify"]).success();
    let written = synced.stdout.rsplit_once("\"bytes_written\":").unwrap().1.split(',').next().unwrap();
    assert!((1..=1 << 20).contains(&written.parse::<u64>().unwrap()), "{}", synced.both());
    workspace.assert_holds("instance.web.volume.root", &image);
    workspace.configure(ONE);
    workspace.apply().success();
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (1, 1));
    workspace.assert_holds("instance.web.volume.root", &workspace.path().join("web.raw"));
}

#[test]
fn secrets_stay_out_of_everything_that_is_kept_or_said() {
    let secret = "hunter2-Zu4aeph9";
    let workspace = Workspace::new(&format!(
        "variable \"password\" {{\n  type = string\n  sensitive = true\n}}\n{}output \"password\" {{\n  value = var.password\n  sensitive = true\n}}\n",
        instance("web", "  user_data = \"password=${var.password}\"")
    ));
    workspace.raw_image("web.raw", 3, 1);
    let variable = format!("password={secret}");
    let mut said = workspace.run(&["plan", "--var", &variable, "--out", "it.plan"]).success().both();
    said += &workspace.run(&["plan", "--var", &variable, "--json"]).success().both();
    said += &workspace.run(&["apply", "--var", &variable, "--auto-approve", "--json"]).success().both();
    said += &workspace.run(&["show"]).success().both();
    said += &workspace.run(&["output"]).success().both();
    assert!(!said.contains(secret), "{said}");
    assert!(said.contains("(sensitive value)"), "{said}");
    for name in ["replant.state.json", "replant.state.json.backup", "it.plan"] {
        if let Ok(bytes) = fs::read(workspace.path().join(name)) {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{name} holds the secret");
        }
    }
}

#[test]
fn a_secret_in_a_tag_is_refused() {
    let workspace = Workspace::new(&format!(
        "variable \"password\" {{\n  type = string\n  sensitive = true\n  default = \"x\"\n}}\n{}",
        instance("web", "  tags = { hint = var.password }")
    ));
    workspace.raw_image("web.raw", 3, 1);
    for command in ["validate", "plan"] {
        let refused = workspace.run(&[command]).code(1);
        assert!(refused.stderr.contains("plan::sensitive_attribute"), "{}", refused.both());
        assert!(refused.stderr.contains("main.replant.hcl:"), "{}", refused.both());
    }
}

#[test]
fn what_was_deleted_outside_is_seen_and_made_again() {
    let workspace = one();
    workspace.apply().success();
    let id = workspace.state()["resources"]["instance.web"]["id"].as_str().unwrap().to_owned();
    let record = workspace.path().join(format!(".replant/cloud/instances/{id}.json"));
    let mut instance: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    instance["phase"] = "terminated".into();
    fs::write(&record, serde_json::to_vec(&instance).unwrap()).unwrap();
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("it was deleted outside Replant"), "{}", plan.stdout);
}

#[test]
fn a_second_run_is_told_who_holds_the_lock() {
    let workspace = Workspace::new(&instance("web", ""));
    workspace.raw_image("web.raw", 40, 1);
    let mut first = workspace
        .command(&["apply", "--auto-approve", "--bandwidth-limit", "2"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !workspace.path().join("replant.state.journal").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = workspace.apply().code(1);
    assert!(refused.stderr.contains(&first.id().to_string()), "{}", refused.both());
    workspace.run(&["plan"]).success();
    first.kill().unwrap();
    first.wait().unwrap();
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &workspace.path().join("web.raw"));
}

#[test]
fn an_interrupt_lets_running_steps_finish_and_a_second_one_stops_at_once() {
    for interrupts in [1, 2] {
        let workspace = Workspace::new(&instance("web", ""));
        workspace.raw_image("web.raw", 30, 1);
        let limit = if interrupts == 1 { "20" } else { "1" };
        let child = workspace
            .command(&["apply", "--auto-approve", "--json", "--bandwidth-limit", limit])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        let journal = workspace.path().join("replant.state.journal");
        while !fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"operation\":\"write\"")) {
            std::thread::sleep(Duration::from_millis(10));
        }
        for _ in 0..interrupts {
            std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(130), "{said}");
        let written = said.contains(r#""event":"node_finished","address":"instance.web.write.root""#);
        assert_eq!(written, interrupts == 1, "{said}");
        workspace.apply().success();
        workspace.assert_holds("instance.web.volume.root", &workspace.path().join("web.raw"));
        assert_eq!((workspace.volumes().len(), workspace.instances().len()), (1, 1));
    }
}

#[test]
fn verification_and_targets_and_replacement() {
    let workspace = Workspace::new(&(instance("a", "") + &instance("b", "")));
    workspace.raw_image("a.raw", 3, 1);
    workspace.raw_image("b.raw", 3, 2);
    workspace.run(&["apply", "--auto-approve", "--verify", "--target", "instance.a"]).success();
    let state = workspace.state();
    assert_eq!(state["resources"]["instance.a.volume.root"]["write"]["verified"], true);
    assert!(state["resources"]["instance.b"].is_null());
    workspace.apply().success();

    let before = workspace.state()["resources"]["instance.a.volume.root"]["id"].clone();
    let kept = workspace.state()["resources"]["instance.b.volume.root"]["id"].clone();
    let plan = workspace.run(&["plan", "--replace", "instance.a"]).success();
    assert!(plan.stdout.contains("--replace asks for it"), "{}", plan.stdout);
    workspace.run(&["apply", "--auto-approve", "--replace", "instance.a"]).success();
    let state = workspace.state();
    assert_ne!(state["resources"]["instance.a.volume.root"]["id"], before);
    assert_eq!(state["resources"]["instance.b.volume.root"]["id"], kept);
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (2, 2));
    let unknown = workspace.run(&["plan", "--target", "instance.aa"]).code(1);
    assert!(unknown.stderr.contains("plan::unknown_address"), "{}", unknown.both());
}

#[test]
fn a_real_guest_is_prepared_and_grows_through_plan_and_apply() {
    let guest = crate::support::guests::guest("uefi-xfs");
    let workspace = Workspace::new(&format!(
        "instance \"web\" {{\n  image = \"{}\"\n  instance_type = \"m6i.large\"\n  state = \"stopped\"\n  disk \"root\" {{\n    size = 6\n    grow = true\n  }}\n}}\n",
        guest.vmdk().display()
    ));
    let plan = workspace.run(&["plan"]).success();
    for shown in [
        "boot_mode     = \"uefi\"",
        "move the backup partition table",
        "grow its xfs into it",
        "+++ b/etc/fstab",
    ] {
        assert!(plan.stdout.contains(shown), "{shown} in {}", plan.stdout);
    }
    workspace.run(&["apply", "--auto-approve", "--verify"]).success();
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);

    // Other people's programs: the table reaches the disk's end, the filesystem the partition's.
    let volume = workspace.volume_file("instance.web.volume.root");
    let tool = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).arg(&volume).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(tool("sgdisk", &["-v"]).contains("No problems found"));
    let second = tool("sgdisk", &["-i", "2"]);
    let number = |label: &str| -> u64 {
        let line = second.lines().find(|line| line.starts_with(label)).unwrap();
        line[label.len()..].split_whitespace().next().unwrap().parse().unwrap()
    };
    let (first, sectors) = (number("First sector:"), number("Partition size:"));
    assert!((first + sectors) * 512 > (6 << 30) - (2 << 20), "{second}");
    let root = workspace.path().join("root.xfs");
    let (skip, count) = (format!("skip={}", first * 512), format!("count={}", sectors * 512));
    let from = format!("if={}", volume.display());
    let copied = std::process::Command::new("dd")
        .args([
            &from,
            &format!("of={}", root.display()),
            "bs=1M",
            "iflag=skip_bytes,count_bytes",
            "conv=sparse",
        ])
        .args([&skip, &count])
        .output()
        .unwrap();
    assert!(copied.status.success());
    fs::File::options().write(true).open(&root).unwrap().set_len(sectors * 512).unwrap();
    let checked = std::process::Command::new("xfs_repair").args(["-n", "-f"]).arg(&root).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let grown = String::from_utf8_lossy(
        &std::process::Command::new("xfs_db")
            .args(["-f", "-r", "-c", "sb 0", "-c", "p dblocks"])
            .arg(&root)
            .output()
            .unwrap()
            .stdout,
    )
    .into_owned();
    let blocks: u64 = grown.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(blocks * 4096 > (5 << 30), "{grown}");
}

/// A volume's record in the cloud: IOPS and MiB/s.
fn performance(workspace: &Workspace, address: &str) -> (u64, u64) {
    let id = workspace.state()["resources"][address]["id"].clone();
    let volumes = workspace.volumes();
    let volume = volumes.iter().find(|volume| volume["id"] == id).unwrap();
    (volume["iops"].as_u64().unwrap(), volume["throughput"].as_u64().unwrap())
}

#[test]
fn a_volume_is_quicker_while_it_is_written() {
    let disks = "  disk \"root\" {\n    throughput = 250\n    restore_throughput = 1000\n    restore_iops = 6000\n  }\n  disk \"data\" {\n    size = 1\n    restore_iops = 6000\n  }";
    let workspace = Workspace::new(&instance("web", disks));
    workspace.raw_image("web.raw", 9, 1);
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("+ restore_throughput    = 750"), "{}", plan.stdout);
    // As far as a volume of one GiB goes.
    assert!(plan.stdout.contains("raised for the write and lowered afterwards"), "{}", plan.stdout);

    let applied = workspace.apply().success();
    assert!(applied.stdout.contains("its performance lowered"), "{}", applied.stdout);
    assert_eq!(performance(&workspace, "instance.web.volume.root"), (3000, 250));
    assert_eq!(performance(&workspace, "instance.web.volume.data"), (3000, 125), "nothing is written to it");
    assert!(workspace.state()["resources"]["instance.web.volume.root"].get("raised").is_none());
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}

#[test]
fn a_volume_that_a_crash_left_raised_is_lowered_by_the_next_apply() {
    let disks = "  disk \"root\" { restore_throughput = 500 }";
    let workspace = Workspace::new(&instance("web", disks));
    workspace.raw_image("web.raw", 9, 1);
    workspace.apply().success();
    // As after a crash between the write and the change: raised in the cloud, and in the state.
    let id = text(&workspace.state()["resources"]["instance.web.volume.root"], "id").to_owned();
    let record = workspace.path().join(".replant/cloud/volumes").join(format!("{id}.json"));
    let raised = fs::read_to_string(&record).unwrap().replace("\"throughput\":125", "\"throughput\":500");
    let raised = raised.replace("\"throughput\": 125", "\"throughput\": 500");
    fs::write(&record, raised).unwrap();
    let path = workspace.path().join("replant.state.json");
    let mut state = workspace.state();
    state["resources"]["instance.web.volume.root"]["raised"] = true.into();
    fs::write(&path, serde_json::to_vec_pretty(&state).unwrap()).unwrap();
    assert_eq!(performance(&workspace, "instance.web.volume.root"), (3000, 500));

    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("its performance is not lowered again"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!(performance(&workspace, "instance.web.volume.root"), (3000, 125));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}
