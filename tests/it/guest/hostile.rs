//! Hostile guests: a finding or an error, never a panic, nothing outside the root touched.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use replant::guest::disk::boot_code::BootCode;
use replant::guest::linux::initramfs::unpack::{UnpackError, unpack};
use replant::guest::prepare;
use replant::guest::report::{FindingSeverity, GiveUp, Job, PROTOCOL, RecipeInputs, Report};
use replant::guest::tree::Tree;
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};

use super::fixtures::shell;

fn run(root: &Path) -> Report {
    let inputs = RecipeInputs {
        hypervisor: Hypervisor::Nitro,
        network: NetworkPolicy::Keep,
        changes: GuestChanges::default(),
        give_up: GiveUp::default(),
    };
    let job = Job { protocol: PROTOCOL, disks: Vec::new(), prepare: true, inputs, parcel: None };
    prepare::run(&Tree::open(root).unwrap(), &[], BootCode::Unknown, &job).unwrap()
}

fn has(report: &Report, code: &str, severity: FindingSeverity) -> bool {
    report.findings.iter().any(|finding| finding.code == code && finding.severity == severity)
}

fn guest() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    for path in ["etc/network", "boot/grub", "lib/modules/6.1.0-1-amd64", "bin", "usr/lib/dracut"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    fs::write(root.join("boot/vmlinuz-6.1.0-1-amd64"), "kernel").unwrap();
    fs::write(
        root.join("boot/grub/grub.cfg"),
        "menuentry 'x' {\nlinux /boot/vmlinuz-6.1.0-1-amd64 root=/dev/sda1 ro\ninitrd /boot/initrd.img-6.1.0-1-amd64\n}\n",
    )
    .unwrap();
    fs::write(
        root.join("lib/modules/6.1.0-1-amd64/modules.dep"),
        "kernel/nvme.ko: kernel/nvme-core.ko\nkernel/nvme-core.ko: kernel/nvme.ko\nkernel/ena.ko:\n",
    )
    .unwrap();
    directory
}

#[test]
fn nothing_at_all_is_an_unknown_system() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("README"), "").unwrap();
    let report = run(directory.path());
    assert!(report.facts.is_none() && report.recipe.edits.is_empty());
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!((finding.code.as_str(), finding.severity), ("guest::unknown_system", FindingSeverity::Blocks));
    assert!(finding.evidence[0].contains("/etc/os-release") && finding.evidence[1].contains("README"));
}

#[test]
fn links_that_leave_the_root_lead_nowhere() {
    let directory = guest();
    let root = directory.path().join("root");
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for (index, name) in ["fstab", "interfaces", "grub"].into_iter().enumerate() {
        fs::write(outside.join(name), "/dev/sda1 / ext4 defaults 0 1\nauto eth9\niface eth9 inet static\n")
            .unwrap();
        let link = ["etc/fstab", "etc/network/interfaces", "etc/default"][index];
        symlink(if index == 2 { outside.clone() } else { outside.join(name) }, root.join(link)).unwrap();
    }
    symlink("../../../../../../../../../../etc/passwd", root.join("etc/crypttab")).unwrap();
    symlink("/proc/self/root/etc/passwd", root.join("etc/hostname")).unwrap();
    symlink(&outside, root.join("etc/udev")).unwrap();
    let before: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let report = run(&root);
    assert_eq!(report.facts.unwrap().hostname, None);
    let after: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before, after);
    for name in ["fstab", "interfaces", "grub"] {
        assert!(fs::read_to_string(outside.join(name)).unwrap().starts_with("/dev/sda1"));
    }
}

#[test]
fn a_fstab_of_100_megabytes_is_a_finding() {
    let directory = guest();
    let root = directory.path().join("root");
    let line = b"/dev/sda1 /mnt ext4 defaults 0 1\n".repeat(1 << 15);
    let mut file = File::create(root.join("etc/fstab")).unwrap();
    for _ in 0..100 {
        file.write_all(&line).unwrap();
    }
    assert!(has(&run(&root), "guest::fstab_too_long", FindingSeverity::Blocks));
    assert!(fs::metadata(root.join("etc/fstab")).unwrap().len() > 100 << 20);
}

#[test]
fn odd_files_in_the_way() {
    let directory = guest();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("etc/fstab")).unwrap();
    fs::create_dir_all(root.join("etc/netplan")).unwrap();
    fs::write(root.join("etc/netplan/a.yaml"), "network: {version: 2, ethernets: [*x, !!binary]}\n").unwrap();
    fs::write(root.join("etc/netplan/b.yaml"), vec![0xff; 5000]).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"etc/netplan/c\nd.yaml")), "x").unwrap();
    fs::create_dir_all(root.join("etc/NetworkManager/system-connections/dir")).unwrap();
    fs::create_dir_all(root.join("etc/systemd/system/x.wants")).unwrap();
    symlink("/x", root.join("etc/systemd/system/x.wants/NetworkManager.service")).unwrap();
    fs::write(root.join("etc/shadow"), ":::\n\0\nroot\nroot:x\n").unwrap();
    fs::write(
        root.join("etc/network/interfaces"),
        "iface\niface eth0\nauto\n  address\niface eth0 inet static\n address $(reboot)\n",
    )
    .unwrap();
    fs::write(root.join("boot/initrd.img-6.1.0-1-amd64"), "").unwrap();
    let report = run(&root);
    assert!(has(&report, "guest::netplan_unreadable", FindingSeverity::Warns), "{:?}", report.findings);
    assert!(has(&report, "guest::initramfs_empty", FindingSeverity::Blocks));
    assert!(has(&report, "guest::root_unmatched", FindingSeverity::Blocks));
    let text = serde_json::to_string(&report.findings).unwrap();
    assert!(!text.contains("\\n\\n"), "{text}");
}

#[test]
fn a_menu_with_evil_titles_and_thousands_of_entries() {
    let directory = guest();
    let root = directory.path().join("root");
    let mut menu = "submenu x {\n".repeat(1000);
    for index in 0..20_000 {
        menu.push_str(&format!(
            "menuentry '\u{1b}[2J{index}' {{\nlinux /../../etc/passwd$x root=/dev/sda1\n}}\n"
        ));
    }
    fs::write(root.join("boot/grub/grub.cfg"), menu).unwrap();
    let report = run(&root);
    assert!(report.facts.unwrap().kernels.len() <= 16);
    assert!(report.findings.iter().all(|finding| !format!("{finding:?}").contains('\u{1b}')));
}

#[test]
fn garbage_for_an_initramfs_is_a_finding() {
    let directory = guest();
    let root = directory.path().join("root");
    let path = root.join("boot/initrd.img-6.1.0-1-amd64");
    let mut cpio = b"070701".to_vec();
    cpio.extend(b"f".repeat(104));
    let gzip = shell("printf 'not an archive' | gzip | base64 -w0");
    let gzip = base64(&gzip);
    for content in [
        b"garbage".to_vec(),
        cpio,
        gzip,
        b"07070100".to_vec(),
        vec![0x1f, 0x8b, 8, 0],
        vec![0xfd, b'7', b'z', b'X', b'Z', 0, 1],
    ] {
        fs::write(&path, &content).unwrap();
        let report = run(&root);
        assert!(
            has(&report, "guest::initramfs_unreadable", FindingSeverity::Blocks),
            "{content:?} {:?}",
            report.findings
        );
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text.trim()).unwrap()
}

#[test]
fn a_bomb_is_not_unpacked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bomb");
    // One member of more than 1 GiB of zeros, some 100 kB packed.
    shell(&format!(
        "cd {} && truncate -s 1100M zeros && echo zeros | cpio -o --quiet -H newc | zstd -1 -q > bomb && rm zeros",
        directory.path().display()
    ));
    let error = unpack(File::open(&path).unwrap(), &|_| true).unwrap_err();
    assert!(matches!(error, UnpackError::TooLarge { .. }), "{error}");
}

#[test]
fn a_full_boot_partition_is_a_finding() {
    let directory = guest();
    let root = directory.path().join("root");
    shell(&format!(
        "cd {root} && echo nvme > lib/modules/6.1.0-1-amd64/kernel-nvme && mkdir -p lib/modules/6.1.0-1-amd64/kernel && \
         for m in nvme nvme-core ena; do head -c 400000 /dev/urandom > lib/modules/6.1.0-1-amd64/kernel/$m.ko; done && \
         mkdir .i && cd .i && mkdir -p conf/conf.d && find . | cpio -o --quiet -H newc > ../i && cd .. && rm -r .i",
        root = root.display()
    ));
    // A file system of its own for /boot, nearly full.
    shell(&format!(
        "cd {root} && mv boot boot.old && mkdir boot && mount -t tmpfs -o size=1100k none boot && \
         cp -r boot.old/. boot/ && cp i boot/initrd.img-6.1.0-1-amd64",
        root = root.display()
    ));
    let report = run(&root);
    shell(&format!("umount {}/boot", root.display()));
    assert!(has(&report, "guest::boot_full", FindingSeverity::Blocks), "{:?}", report.findings);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    /// Flipped bytes in a real archive never panic and never loop.
    #[test]
    fn a_damaged_archive_never_panics(position in 0_usize..2000, value: u8, cut in 0_usize..2000) {
        let mut writer = replant::guest::linux::initramfs::newc::Writer::new();
        writer.directory("conf");
        writer.file("conf/a", 0o644, &[7; 300]);
        writer.file("lib/modules/6/modules.dep", 0o644, b"kernel/a.ko: kernel/b.ko\n");
        let mut bytes = writer.finish();
        bytes.truncate(cut.max(1).min(bytes.len()));
        let place = position % bytes.len();
        bytes[place] = value;
        let _ = unpack(bytes.as_slice(), &|_| true);
    }

    #[test]
    fn text_of_any_kind_is_parsed(text in "\\PC{0,200}") {
        use replant::guest::linux::boot::config::{self, Dialect};
        let _ = replant::guest::linux::fstab::parse(text.as_bytes());
        let _ = config::entries(&text, Dialect::Grub2);
        proptest::prop_assert_eq!(config::edit(&text, Dialect::Grub2, &|_, arguments| Some(arguments.to_owned())), text.clone());
        let _ = replant::guest::mask::text("/etc/x", &text);
        let _ = replant::guest::linux::boot::bls::parse("x", &text);
    }
}
