//! A Windows guest in a plan, and on its volume.

use std::process::Command;

use super::kit::{regipy, run};
use super::trees::{CARD, guest, make};
use crate::support::Workspace;

fn configuration(launch: &str) -> String {
    format!(
        "provider \"local\" {{}}\n\naccess_node \"dr\" {{ instance_id = \"self\" }}\n\ninstance \"app\" {{\n  image         = \"disk.raw\"\n  instance_type = \"m6i.large\"\n  state         = \"stopped\"\n  guest {{ network = \"keep\" }}\n{launch}}}\n"
    )
}

#[test]
fn the_plan_shows_the_registry_and_the_volume_has_it() {
    let disk = make("uefi", &guest("2022"));
    let workspace = Workspace::new(&configuration("  launch { method = \"image\" }\n"));
    std::fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    // RegisterImage makes no Windows images.
    let refused = workspace.run(&["plan"]);
    assert_eq!(refused.code, 1, "{}", refused.both());
    assert!(refused.stderr.contains("plan::launch_method"), "{}", refused.both());
    workspace.configure(&configuration(""));
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 0, "{}", planned.both());
    for shown in [
        "Windows Server 2022 Standard",
        "+\"RealTimeIsUniversal\"=dword:00000001",
        "-\"SanPolicy\"=dword:00000003",
        "\"EnableDHCP\"=dword:00000001",
        "10.0.0.15",
    ] {
        assert!(planned.stdout.contains(shown), "{shown}: {}", planned.both());
    }
    let applied = workspace.apply();
    assert_eq!(applied.code, 0, "{}", applied.both());
    let instance = workspace.instances().remove(0);
    assert_eq!(instance["request"]["platform"], "windows");
    assert_eq!(instance["request"]["private_ip"], "10.0.0.15");
    let directory = tempfile::tempdir().unwrap();
    run(Command::new("bash")
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest/windows/read_disk.sh"))
        .arg("uefi")
        .args([workspace.volume_file("instance.app.volume.root").as_path(), directory.path()]));
    let hive = regipy(&directory.path().join("windows/WINDOWS/System32/config/SYSTEM"));
    let card = format!("ControlSet001\\Services\\Tcpip\\Parameters\\Interfaces\\{CARD}");
    assert_eq!(hive[&format!("{card}\\EnableDHCP")][1], 1);
    assert!(!hive.contains_key(&format!("{card}\\IPAddress")));
    let again = workspace.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(again.code, 0, "{}", again.both());
}
