//! Disks of 2 TiB (or of the most that QEMU makes) of every format: planned with, and all their
//! metadata read, in little memory.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::fixture::{run, text};
use crate::support::Workspace;

/// Formats, options and sizes. `preallocation=metadata` says of all of the disk that it is data. A VHD ends at 2,040 GiB, a qcow2 image of clusters of 512 bytes at 128 GiB.
const KINDS: [(&str, &str, &str); 13] = [
    ("raw", "", "2T"),
    ("vmdk", "subformat=monolithicSparse", "2T"),
    ("vmdk", "subformat=streamOptimized", "2T"),
    ("vmdk", "subformat=monolithicFlat", "2T"),
    ("vmdk", "subformat=twoGbMaxExtentSparse", "2T"),
    ("vmdk", "subformat=twoGbMaxExtentFlat", "2T"),
    ("qcow2", "cluster_size=64k", "2T"),
    ("qcow2", "cluster_size=512", "128G"),
    ("qcow2", "cluster_size=2M,preallocation=metadata", "2T"),
    ("vpc", "subformat=dynamic", "2040G"),
    ("vpc", "subformat=fixed,force_size=on", "2040G"),
    ("vhdx", "subformat=dynamic", "2T"),
    ("vhdx", "subformat=dynamic,block_size=1M", "2T"),
];

/// Most memory that planning may take.
const MOST_KIB: u64 = 256 << 10;

/// Runs a command to its end: whether it succeeded, the most memory it had, and how long it took.
fn measured(mut command: Command) -> (bool, u64, Duration) {
    let started = Instant::now();
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            return (status.success(), peak, started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn planning_with_a_huge_image_of_any_format_takes_little_memory() {
    for (format, options, size) in KINDS {
        let name = if format == "raw" { "huge.raw" } else { "huge" };
        let workspace = Workspace::new(&format!(
            "instance \"web\" {{\n  image = \"{name}\"\n  instance_type = \"m6i.large\"\n  state = \"standby\"\n  guest {{ drivers = \"none\" }}\n}}\n"
        ));
        let path = workspace.path().join(name);
        let mut arguments = vec!["create", "-q", "-f", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        run("qemu-img", &[&arguments[..], &[text(&path), size]].concat());
        // As many open files as a process may have where nobody raised it.
        let plan = workspace.command(&["plan"]);
        let mut limited = Command::new("prlimit");
        limited.arg("--nofile=1024:8192").arg(plan.get_program()).args(plan.get_args());
        limited.current_dir(workspace.path()).env("NO_COLOR", "1");
        let (succeeded, peak, took) = measured(limited);
        assert!(succeeded, "{format} {options}");
        assert!(peak > 0 && peak < MOST_KIB, "{format} {options}: {peak} KiB");
        // How long is for the bench: here others work, too, and nothing is optimised.
        println!("{format} {options} of {size}: {} MiB, {took:?}", peak >> 10);
    }
}
