//! Guests of a boot sector of ours: a boot takes a second or two and still goes through QEMU's
//! firmware and its NVMe disk.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::Workspace;

/// A disk whose boot sector writes a text to the first serial port and halts.
pub fn bootable(workspace: &Workspace, name: &str, says: &str) -> PathBuf {
    let mut sector = vec![
        0xFA, // cli: the firmware's own serial console keeps quiet
        0xBE, 0x12, 0x7C, // mov si, text
        0xAC, // next: lodsb
        0x84, 0xC0, // test al, al
        0x74, 0x06, // jz halt
        0xBA, 0xF8, 0x03, // mov dx, COM1
        0xEE, // out dx, al
        0xEB, 0xF5, // jmp next
        0xF4, // halt: hlt
        0xEB, 0xFD, // jmp halt
    ];
    sector.extend_from_slice(says.as_bytes());
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xAA]);
    let path = workspace.path().join(name);
    let mut file = File::create(&path).unwrap();
    file.write_all(&sector).unwrap();
    file.write_all(&vec![0x5A; 1 << 20]).unwrap();
    file.set_len(4 << 20).unwrap();
    path
}

pub const LOGIN: &str = "\r\nguest login: ";

pub fn configuration(more: &str) -> String {
    format!(
        "provider \"local\" {{\n  accelerator = \"tcg\"\n  memory = 128\n  boot_timeout = 60\n}}\n\
         instance \"web\" {{\n  image = \"web.raw\"\n  instance_type = \"m6i.large\"\n  guest {{ drivers = \"none\" }}\n{more}\n}}\n"
    )
}

/// QEMU processes of a workspace's cloud.
pub fn machines(workspace: &Workspace) -> usize {
    let path = workspace.path().to_string_lossy().into_owned();
    let output = Command::new("pgrep").args(["-f", &format!("qemu-system.*{path}")]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().count()
}

/// Removes whatever runs when a test ends, however it ends.
pub struct Machines(pub Workspace);

impl Drop for Machines {
    fn drop(&mut self) {
        let path = self.0.path().to_string_lossy().into_owned();
        let _ = Command::new("pkill").args(["-9", "-f", &format!("qemu-system.*{path}")]).status();
    }
}

pub fn started(more: &str) -> Machines {
    let workspace = Machines(Workspace::new(&configuration(more)));
    bootable(&workspace.0, "web.raw", LOGIN);
    let applied = workspace.0.apply().success();
    assert!(applied.stdout.contains("guest login:"), "{}", applied.stdout);
    workspace
}
