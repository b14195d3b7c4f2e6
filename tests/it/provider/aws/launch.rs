//! Launches by image, what is kept of a start, updates and final snapshots with provider "aws".

use std::fs;

use serde_json::{Value, json};

use super::story::{Listed, Restore, instance, witness};

const BY_IMAGE: &str = "  launch { method = \"image\" }\n  user_data = \"#!/bin/sh\\n\"\n  disk \"root\" {\n    iops       = 4000\n    throughput = 300\n    size       = 8\n  }\n  disk \"data\" {\n    image = \"data.raw\"\n    type  = \"gp2\"\n    size  = 2\n    delete_on_termination = false\n    encrypted = true\n  }\n";

fn by_image(more: &str) -> String {
    instance("web", &format!("{BY_IMAGE}{more}"))
        .replace("  image = \"web.raw\"\n", "")
        .replace("disk \"root\" {", "disk \"root\" {\n    image      = \"web.raw\"")
}

/// How many snapshots with tags, and images, boto3 lists.
fn copies(restore: &Restore) -> (usize, usize) {
    let images = witness(&restore.cloud.key);
    (restore.listed().snapshots.len(), images["images"].as_array().unwrap().len())
}

fn actions(restore: &Restore, from: usize) -> Vec<String> {
    let calls = restore.cloud.calls().split_off(from);
    let named = calls.iter().map(|call| call["action"].as_str().unwrap().to_owned());
    named.filter(|action| !action.starts_with("Describe") && !action.starts_with("Get")).collect()
}

#[test]
fn a_machine_is_launched_from_its_image_and_destroyed_without_a_trace() {
    let restore = Restore::new(json!({ "delay": 0.1, "hide": 1 }), "", &by_image(""));
    let root = restore.workspace.raw_image("web.raw", 9, 1);
    let data = restore.workspace.raw_image("data.raw", 5, 2);
    let applied = restore.apply().success();
    assert!(applied.stdout.contains("status checks passed"), "{}", applied.both());
    let Listed { volumes, instances, .. } = restore.listed();
    assert_eq!((volumes.len(), instances.len(), copies(&restore)), (2, 1, (2, 1)), "{volumes:#?}");
    restore.assert_holds("instance.web.volume.root", &root);
    restore.assert_holds("instance.web.volume.data", &data);
    restore.assert_no_slot_is_taken();
    let web = &instances[0];
    assert_eq!(
        (&web["State"]["Name"], &web["MetadataOptions"]["HttpTokens"]),
        (&json!("running"), &json!("required"))
    );
    let by_device = |name: &str| {
        let id = restore.volume(&format!("instance.web.volume.{name}"));
        volumes.iter().find(|volume| volume["VolumeId"] == id.as_str()).unwrap().clone()
    };
    let shape = |volume: &Value| {
        let attachment = &volume["Attachments"][0];
        json!([
            volume["Size"],
            volume["VolumeType"],
            volume["Iops"],
            volume["Throughput"],
            volume["Encrypted"],
            attachment["Device"],
            attachment["DeleteOnTermination"]
        ])
    };
    assert_eq!(shape(&by_device("root")), json!([8, "gp3", 4000, 300, false, "/dev/xvda", true]));
    assert_eq!(shape(&by_device("data")), json!([2, "gp2", 100, null, true, "/dev/sdf", false]));
    let registered = &restore.cloud.parameters("RegisterImage")[0];
    for (name, value) in [
        ("EnaSupport", "true"),
        ("BootMode", "legacy-bios"),
        ("Architecture", "x86_64"),
        ("VirtualizationType", "hvm"),
        ("RootDeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("BlockDeviceMapping.2.Ebs.DeleteOnTermination", "false"),
    ] {
        assert_eq!(registered[name], value, "{name}: {registered:#}");
    }
    let run = &restore.cloud.parameters("RunInstances");
    assert_eq!((run.len(), &run[0]["UserData"]), (1, &json!("IyEvYmluL3NoCg==")));
    for resource in volumes.iter().chain(&instances) {
        assert!(resource["Tags"].to_string().contains("replant:launched"), "{resource:#}");
    }
    assert!(by_device("data")["Tags"].to_string().contains("instance.web.volume.data"));
    restore.run(&["plan", "--detailed-exitcode"]).code(0);

    let kept = restore.volume("instance.web.volume.data");
    let image = restore.volume("instance.web.image");
    restore.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(restore.cloud.parameters("DeregisterImage")[0]["ImageId"], image.as_str());
    let Listed { volumes, instances, .. } = restore.listed();
    let ids: Vec<&Value> = volumes.iter().map(|volume| &volume["VolumeId"]).collect();
    assert_eq!((ids, instances.len(), copies(&restore)), (vec![&json!(kept)], 0, (0, 0)));
}

#[test]
fn lost_replies_make_no_second_image_and_no_second_snapshot() {
    for seed in [1, 4] {
        let restore = Restore::new(json!({ "delay": 0.05 }), "", &by_image(""));
        restore.workspace.raw_image("web.raw", 4, 1);
        restore.workspace.raw_image("data.raw", 4, 2);
        restore
            .cloud
            .set(&json!({ "faults": { "seed": seed, "throttled": 30, "unavailable": 20, "lost": 80 } }));
        let mut applied = restore.apply();
        for _ in 0..3 {
            if applied.code != 0 {
                applied = restore.apply();
            }
        }
        assert_eq!(applied.code, 0, "seed {seed}: {}", applied.both());
        restore.cloud.set(&json!({ "faults": {} }));
        let Listed { volumes, instances, .. } = restore.listed();
        assert_eq!((volumes.len(), instances.len(), copies(&restore)), (2, 1, (2, 1)), "seed {seed}");
        restore.run(&["plan", "--detailed-exitcode"]).code(0);
        restore.run(&["destroy", "--auto-approve"]).success();
        assert_eq!((restore.listed().instances.len(), copies(&restore)), (0, (0, 0)), "seed {seed}");
    }
}

#[test]
fn an_image_that_ec2_bills_as_another_platform_is_not_launched() {
    let restore = Restore::new(
        json!({ "delay": 0.05, "platform_details": "Red Hat Enterprise Linux" }),
        "",
        &by_image(""),
    );
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.workspace.raw_image("data.raw", 4, 2);
    restore.cloud.set(&json!({ "platform_details": "Red Hat Enterprise Linux" }));
    let refused = restore.apply().code(1);
    assert!(refused.stdout.contains("apply::image_platform"), "{}", refused.both());
    assert!(restore.cloud.parameters("RunInstances").is_empty());
    restore.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(copies(&restore), (0, 0));
}

#[test]
fn console_and_screen_are_kept_and_a_failed_start_is_restored_anew() {
    let restore = Restore::new(json!({ "delay": 0.1 }), "", &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.cloud.set(&json!({
        "impaired": ["*"],
        "console": "Begin: Waiting for root file system ...\r\nALERT!  /dev/sda1 does not exist.  Dropping to a shell!\r\n",
    }));
    let failed = restore.apply().code(1);
    let said: String = failed.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["apply::boot_failed", "the initramfs found no root disk", "names the root by its UUID"] {
        assert!(said.contains(part), "{part}: {}", failed.both());
    }
    let state = restore.workspace.state();
    let first = state["resources"]["instance.web"]["id"].as_str().unwrap().to_owned();
    let kept = restore.workspace.path().join(".replant/evidence").join(&first);
    assert!(fs::read_to_string(kept.join("console.txt")).unwrap().contains("ALERT!"));
    assert_eq!(fs::read(kept.join("screen.jpg")).unwrap(), [0xFF, 0xD8, 0xFF, 0xD9]);
    for name in ["console.txt", "screen.jpg"] {
        assert!(failed.stdout.contains(&format!("{first}/{name}")), "{}", failed.both());
    }
    let asked = &restore.cloud.parameters("GetConsoleScreenshot")[0];
    assert_eq!((&asked["InstanceId"], &asked["WakeUp"]), (&json!(first), &json!("true")));
    let Listed { volumes, instances, .. } = restore.listed();
    assert_eq!((volumes.len(), instances.len()), (1, 1), "everything is left in place");
    let plan = restore.run(&["plan"]).success();
    assert!(plan.stdout.contains("its first start failed"), "{}", plan.stdout);

    // Without a screenshot it is restored all the same.
    restore.cloud.set(&json!({ "impaired": [], "screenshot": false }));
    restore.cloud.set(&json!({ "impaired": [first] }));
    restore.apply().success();
    let second = restore.workspace.state()["resources"]["instance.web"]["id"].as_str().unwrap().to_owned();
    assert_ne!(second, first);
    let kept = restore.workspace.path().join(".replant/evidence").join(&second);
    assert!(kept.join("console.txt").exists() && !kept.join("screen.jpg").exists());
    assert_eq!(restore.listed().instances.len(), 1);
}

/// Of Nitro instances EC2 checks the volumes too, and a start counts only when it reaches them.
#[test]
fn volumes_that_are_not_reached_are_a_failed_start() {
    let body = instance("web", "  launch { boot_timeout = 2 }\n  disk \"data\" { size = 1 }\n");
    let restore = Restore::new(json!({ "delay": 0.1, "ebs_impaired": ["*"] }), "", &body);
    restore.workspace.raw_image("web.raw", 4, 1);
    let failed = restore.apply().code(1);
    let said: String = failed.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in
        ["apply::boot_failed", "attached EBS status check is impaired", "aws ec2 describe-volume-status"]
    {
        assert!(said.contains(part), "{part}: {}", failed.both());
    }
    assert_eq!(restore.listed().instances.len(), 1, "everything is left in place");
    // Reached again, it is what it should be.
    restore.cloud.set(&json!({ "ebs_impaired": [] }));
    let applied = restore.apply().success();
    assert!(applied.stdout.contains("system, instance and attached EBS status checks"), "{}", applied.both());
    restore.destroy().success();
    // A Xen instance has no such check.
    let xen = body.replace("m6i.large", "m4.large");
    let restore = Restore::new(json!({ "delay": 0.1, "ebs_impaired": ["*"] }), "", &xen);
    restore.workspace.raw_image("web.raw", 4, 1);
    let applied = restore.apply().success();
    assert!(applied.stdout.contains("EC2's system and instance status checks passed"), "{}", applied.both());
}

#[test]
fn a_final_snapshot_is_taken_once_and_stays() {
    let body = instance("web", "  disk \"root\" { final_snapshot = true }\n  disk \"data\" { size = 1 }\n");
    let restore = Restore::new(json!({ "delay": 0.3 }), "", &body);
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.apply().success();
    let volume = restore.volume("instance.web.volume.root");
    // Killed again and again, wherever it is by then.
    for step in 1..=5u64 {
        let mut child = restore
            .command(&["destroy", "--auto-approve"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500 * step));
        let _ = child.kill();
        child.wait().unwrap();
    }
    restore.run(&["destroy", "--auto-approve"]).success();
    let Listed { volumes, instances, .. } = restore.listed();
    let snapshots = restore.listed().snapshots;
    assert_eq!((volumes.len(), instances.len(), snapshots.len()), (0, 0, 1), "{snapshots:#?}");
    assert_eq!(snapshots[0]["VolumeId"], volume.as_str());
    let tags = snapshots[0]["Tags"].to_string();
    assert!(tags.contains("instance.web.volume.root") && tags.contains("\"web\""), "{tags}");
}

#[test]
fn a_replacement_keeps_what_was_written_unless_told_not_to() {
    for (more, snapshots) in [("", 1), (" final_snapshot = false ", 0)] {
        let disk = |size| format!("  disk \"root\" {{{more}}}\n{size}");
        let restore = Restore::new(json!({ "delay": 0.05 }), "", &instance("web", &disk("")));
        restore.workspace.raw_image("web.raw", 4, 1);
        restore.apply().success();
        let replaced = restore.run(&["apply", "--auto-approve", "--replace", "instance.web"]).success();
        assert_eq!(copies(&restore).0, snapshots, "{}", replaced.both());
        assert_eq!(replaced.stdout.contains("kept as snap-"), snapshots == 1, "{}", replaced.both());
    }
}

/// The table of docs/src/updates.md: what is planned, and which calls that makes.
#[test]
fn updates_are_what_the_table_says() {
    let base = |more: &str, disk: &str| {
        instance("web", &format!("{more}\n  disk \"root\" {{\n{disk}\n  }}\n"))
            .replace("  image = \"web.raw\"\n", "")
            .replace("disk \"root\" {", "disk \"root\" {\n    image = \"web.raw\"")
    };
    let restore = Restore::new(json!({ "delay": 0.05 }), "", &base("", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.apply().success();
    let id = || restore.workspace.state()["resources"]["instance.web"]["id"].clone();
    let first = id();
    let steps: [(&str, &str, &[&str]); 6] = [
        ("  termination_protection = true", "", &["ModifyInstanceAttribute"]),
        (
            "  termination_protection = false",
            "    tags = { Role = \"root\" }",
            &["CreateTags", "ModifyInstanceAttribute"],
        ),
        ("", "    tags = { Role = \"root\" }\n    size = 8", &["ModifyVolume"]),
        (
            "",
            "    tags = { Role = \"root\" }\n    size = 8\n    iops = 4000\n    throughput = 200",
            &["ModifyVolume"],
        ),
        ("", "    tags = { Role = \"root\" }\n    size = 8\n    type = \"gp2\"", &["ModifyVolume"]),
        (
            "  user_data = \"#!/bin/sh\\n\"",
            "    tags = { Role = \"root\" }\n    size = 8\n    type = \"gp2\"",
            &["StopInstances", "ModifyInstanceAttribute", "StartInstances"],
        ),
    ];
    for (more, disk, calls) in steps {
        restore.configure("", &base(more, disk));
        let plan = restore.run(&["plan"]).success();
        assert!(
            plan.stdout.contains("to change, 0 to replace, 0 to destroy"),
            "{more}{disk}: {}",
            plan.stdout
        );
        let from = restore.cloud.calls().len();
        restore.apply().success();
        let mut made = actions(&restore, from);
        made.sort();
        let mut wanted: Vec<&str> = calls.to_vec();
        wanted.sort_unstable();
        assert_eq!(made, wanted, "{more}{disk}");
        assert_eq!(id(), first, "{more}{disk}");
        restore.run(&["plan", "--detailed-exitcode"]).code(0);
    }
    let disk = "    tags = { Role = \"root\" }\n    size = 8\n    type = \"gp2\"";
    let user_data = "  user_data = \"#!/bin/sh\\n\"";
    let larger = base(user_data, disk).replace("m6i.large", "m6i.xlarge");
    restore.configure("", &larger);
    let from = restore.cloud.calls().len();
    restore.apply().success();
    assert_eq!(actions(&restore, from), ["StopInstances", "ModifyInstanceAttribute", "StartInstances"]);
    assert_eq!(id(), first);

    // Smaller is refused, and nothing is called.
    restore.configure("", &larger.replace("size = 8", "size = 7"));
    let refused = restore.run(&["plan"]).code(1);
    assert!(refused.stderr.contains("plan::size_down"), "{}", refused.both());
    // By replacement: the volumes and what is on them go over, unless they cannot.
    let address = restore.cloud.address("eu-central-1a", 77);
    restore.cloud.elsewhere("CreateKeyPair", &json!({ "KeyName": "other" }));
    for (change, lost) in
        [(format!("  private_ip = \"{address}\""), false), ("  key_name = \"other\"".to_owned(), false)]
    {
        let before = (id(), restore.volume("instance.web.volume.root"));
        let body = larger.replace("  user_data", &format!("{change}\n  user_data"));
        restore.configure("", &body);
        let plan = restore.run(&["plan"]).success();
        assert!(plan.stdout.contains("# forces replacement"), "{change}: {}", plan.stdout);
        if change.contains("key_name") {
            continue;
        }
        restore.apply().success();
        assert_ne!(id(), before.0, "{change}");
        assert_eq!(restore.volume("instance.web.volume.root") != before.1, lost, "{change}");
    }
    restore.configure("", &larger.replace("size = 8", "size = 8\n    encrypted = true"));
    let plan = restore.run(&["plan"]).success();
    assert!(plan.stdout.contains("# forces replacement"), "{}", plan.stdout);
}
