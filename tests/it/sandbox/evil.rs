//! Hostile guests on real filesystems, in the real sandbox, by the real commands: a finding or an
//! error in bounded time, nothing of the host in what is shown, no escape sequence on the terminal.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use replant::guest::linux::initramfs::newc::Writer;
use replant::guest::report::{EditKind, Report};
use replant::ui::inspection::{Inspection, Verdict};

use super::guests::{MIB, bootable, check, cut, disk, filesystem, restore, tool};
use super::machine::in_machine;
use super::{request, run};
use crate::support::replant;

const FSTAB: &str = "/dev/sda1 / ext4 defaults 0 1\n";

fn image(directory: &Path, mib: u64) -> PathBuf {
    let at = |name: &str| directory.join(name);
    filesystem("ext4", &at("fs"), mib, &at("tree"));
    from_filesystem(directory, mib)
}

fn from_filesystem(directory: &Path, mib: u64) -> PathBuf {
    let at = |name: &str| directory.join(name);
    let table = format!("label: dos\nstart=2048, size={}\n", mib * 2048);
    disk(&at("guest.raw"), mib + 2, &table, &[(MIB, &at("fs"))]);
    at("guest.raw")
}

/// Inspects by the command, on a terminal's behalf and for machines; gives the report.
#[track_caller]
fn inspected(directory: &Path) -> Report {
    let started = Instant::now();
    let text = replant(directory, ["inspect", "guest.raw"]);
    assert!(started.elapsed() < Duration::from_secs(100), "{:?}", started.elapsed());
    assert!(!text.both().contains('\u{1b}') && !text.both().contains('\u{7}'), "{:?}", text.both());
    assert!(!text.both().contains("root:x:0"), "{}", text.both());
    let json = replant(directory, ["inspect", "guest.raw", "--json"]);
    let inspection: Inspection =
        serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error} {}", json.both()));
    assert_eq!(json.code, if inspection.verdict == Verdict::Blocked { 3 } else { 0 }, "{}", json.both());
    inspection.report
}

fn has(report: &Report, code: &str) -> bool {
    report.findings.iter().any(|finding| finding.code == code)
}

#[test]
fn files_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let root = bootable(directory.path(), FSTAB);
    let evil = |name: &[u8]| root.join(std::ffi::OsStr::from_bytes(name));
    let node = |path: &str, kind: &str| {
        let path = root.join(path);
        let _absent = fs::remove_file(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let path = path.to_str().unwrap();
        match kind {
            "p" => tool("mknod", &[path, "p"]),
            _ => tool("mknod", &[path, "c", "1", "5"]),
        };
    };
    node("etc/fstab", "p");
    node("etc/network/interfaces", "c");
    node("etc/crypttab", "p");
    node("etc/netplan/a.yaml", "p");
    node("boot/zero", "c");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("etc/netplan/b.yaml")).unwrap();
    symlink("/proc/1/environ", root.join("etc/hostname")).unwrap();
    symlink("../../../../../../../../etc/passwd", root.join("etc/shadow")).unwrap();
    symlink("loop", root.join("etc/loop")).unwrap();
    symlink("/etc/loop/x", root.join("etc/machine-id")).unwrap();
    fs::create_dir_all(root.join("etc/default")).unwrap();
    symlink("/dev/zero", root.join("etc/default/grub")).unwrap();
    fs::remove_file(root.join("boot/initrd.img-6.1.0-1-amd64")).unwrap();
    symlink("zero", root.join("boot/initrd.img-6.1.0-1-amd64")).unwrap();
    for name in
        [&b"etc/netplan/\x1b[31mred.yaml"[..], b"etc/netplan/two\nlines.yaml", b"etc/netplan/\xff\xfe.yaml"]
    {
        fs::write(evil(name), "network: {version: 2}\n").unwrap();
    }
    fs::write(
        root.join("etc/os-release"),
        "ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"\u{1b}]0;owned\u{7}\u{1b}[2J Debian\"\n",
    )
    .unwrap();
    File::create(root.join("etc/passwd")).unwrap().set_len(1 << 30).unwrap();
    image(directory.path(), 60);
    let report = inspected(directory.path());
    assert!(report.recipe.edits.iter().all(|edit| edit.path != "/etc/fstab"), "{:?}", report.recipe);
    assert!(!report.findings.is_empty());
    let prepared = replant(directory.path(), ["prepare", "guest.raw", "--diff"]);
    assert!(
        !prepared.both().contains('\u{1b}') && !prepared.both().contains("root:x:0"),
        "{}",
        prepared.both()
    );
}

/// Archives that unpack to more than anybody has, and such as promise it.
#[test]
fn archives_that_explode() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = bootable(directory.path(), FSTAB);
    let path = root.join("boot/initrd.img-6.1.0-1-amd64");
    let header = |body: u64, name: &str| {
        let mut text = "070701".to_owned();
        for field in [1, 0o100_644, 0, 0, 1, 0, body, 0, 0, 0, 0, name.len() as u64 + 1, 0] {
            text.push_str(&format!("{field:08x}"));
        }
        let mut bytes = text.into_bytes();
        bytes.extend(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4).max(bytes.len() + 1).next_multiple_of(4), 0);
        bytes
    };
    fs::write(at("header"), header(0xffff_ffff, "zeros")).unwrap();
    let bomb = |pack: &str| {
        crate::guest::fixtures::shell(&format!(
            "cd {} && (cat header; head -c 1200M /dev/zero) | {pack} > bomb",
            directory.path().display()
        ));
        fs::read(at("bomb")).unwrap()
    };
    let mut many = Vec::new();
    for index in 0..120_000 {
        many.extend(header(0, &format!("f{index}")));
    }
    let mut absurd = header(0xffff_fffe, "x");
    absurd.extend(b"short");
    for (what, content) in [
        ("zstd", bomb("zstd -q -1")),
        ("gzip in gzip", bomb("gzip -1 | gzip -1")),
        ("members", many),
        ("a size beyond the end", absurd),
        ("a name of 4 GiB", [&b"070701"[..], &b"f".repeat(104)].concat()),
        ("garbage", b"\x1f\x8b\x08".repeat(1000)),
    ] {
        fs::write(&path, content).unwrap();
        image(directory.path(), 60);
        let report = inspected(directory.path());
        assert!(has(&report, "guest::initramfs_unreadable"), "{what}: {:?}", report.findings);
        assert!(report.recipe.edits.iter().all(|edit| !edit.path.contains("initrd")), "{what}");
    }
}

/// More of everything than there is a use for: entries, kernels, menus in menus, cycles.
#[test]
fn lists_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let root = bootable(directory.path(), FSTAB);
    let entries = root.join("boot/loader/entries");
    fs::create_dir_all(&entries).unwrap();
    let mut menu = "submenu 'x' {\n".repeat(10_000);
    for index in 0..10_000 {
        menu.push_str(&format!(
            "menuentry '{index}' {{\nlinux /vmlinuz-6.1.{index}-amd64 root=/dev/sda1\ninitrd /initrd.img-6.1.{index}-amd64\n}}\n"
        ));
    }
    menu.push_str(&fs::read_to_string(root.join("boot/grub/grub.cfg")).unwrap());
    fs::write(root.join("boot/grub/grub.cfg"), menu).unwrap();
    let modules = root.join("lib/modules/6.1.0-1-amd64/modules.dep");
    let cycle: String = (0..2000)
        .map(|index| format!("kernel/m{index}.ko: kernel/m{}.ko kernel/nvme.ko\n", (index + 1) % 2000))
        .collect();
    fs::write(
        &modules,
        format!(
            "kernel/nvme.ko: kernel/nvme-core.ko kernel/m0.ko\nkernel/nvme-core.ko: kernel/nvme.ko\n{cycle}"
        ),
    )
    .unwrap();
    let line = b"/dev/sda1 /mnt ext4 defaults 0 1\n".repeat(1 << 15);
    let mut fstab = File::create(root.join("etc/fstab")).unwrap();
    (0..100).for_each(|_| fstab.write_all(&line).unwrap());
    let fs = directory.path().join("fs");
    File::create(&fs).unwrap().set_len(250 * MIB).unwrap();
    let tree = directory.path().join("tree");
    tool("mkfs.ext4", &["-q", "-N", "90000", "-d", tree.to_str().unwrap(), fs.to_str().unwrap()]);
    // mkfs would take minutes for a directory of 70,000 names; the kernel takes seconds.
    let made = "mount -t ext4 /dev/ubda $m; cd $m/boot/loader/entries; seq -f %.0f.conf 70000 | xargs touch; cd /; umount $m";
    in_machine(&[&fs], made);
    from_filesystem(directory.path(), 250);
    let report = inspected(directory.path());
    assert!(has(&report, "guest::fstab_too_long"), "{:?}", report.findings);
    assert!(report.facts.unwrap().kernels.len() <= 16);
}

/// `chattr +i` and `+a` are what administrators do: edited all the same, and locked afterwards.
#[test]
fn locked_files_are_edited_and_locked_again() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    bootable(directory.path(), FSTAB);
    filesystem("ext4", &at("fs"), 60, &at("tree"));
    let debugfs =
        |command: &str, file: &str| tool("debugfs", &["-w", "-R", command, at(file).to_str().unwrap()]);
    // 0x80000: the file has extents; 0x10: immutable; 0x20: only to be appended to.
    debugfs("set_inode_field /etc/fstab flags 0x80010", "fs");
    debugfs("set_inode_field /boot/initrd.img-6.1.0-1-amd64 flags 0x80020", "fs");
    debugfs("set_inode_field /etc flags 0x80010", "fs");
    let image = from_filesystem(directory.path(), 60);
    let outcome = run(&request(&[&image]));
    let edited: Vec<&str> = outcome.report.recipe.edits.iter().map(|edit| edit.path.as_str()).collect();
    assert!(
        edited.contains(&"/etc/fstab") && edited.contains(&"/boot/initrd.img-6.1.0-1-amd64"),
        "{edited:?}"
    );
    restore(&image, &outcome.overlays[0], &at("volume"));
    cut(&at("volume"), MIB, 60 * MIB, &at("fs"));
    check("ext4", &at("fs"));
    assert!(debugfs("cat /etc/fstab", "fs").contains("UUID="));
    assert!(debugfs("stat /etc/fstab", "fs").contains("Flags: 0x80010"));
    assert!(debugfs("stat /boot/initrd.img-6.1.0-1-amd64", "fs").contains("Flags: 0x80020"));
    assert!(debugfs("stat /etc", "fs").contains("Flags: 0x80010"));
}

/// No space, no inodes: said before anything counts, and nothing is written.
#[test]
fn a_full_filesystem_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = bootable(directory.path(), FSTAB);
    let mut random = File::create(root.join("var/log")).unwrap();
    for _ in 0..64 {
        let mut block = vec![0; 1 << 20];
        getrandom::fill(&mut block).unwrap();
        random.write_all(&block).unwrap();
    }
    // No room for as much as one more block.
    let mut left = 64 * MIB;
    loop {
        File::create(at("fs")).unwrap().set_len(70 * MIB).unwrap();
        File::options().write(true).open(root.join("var/log")).unwrap().set_len(left).unwrap();
        let (file, tree) = (at("fs"), at("tree"));
        let made = std::process::Command::new("mkfs.ext4")
            .args(["-q", "-m", "0", "-d", tree.to_str().unwrap(), file.to_str().unwrap()])
            .output()
            .unwrap();
        if made.status.success() {
            break;
        }
        left -= 256 << 10;
    }
    from_filesystem(directory.path(), 70);
    let report = inspected(directory.path());
    assert!(has(&report, "guest::boot_full"), "{:?}", report.findings);

    fs::remove_file(root.join("var/log")).unwrap();
    fs::create_dir_all(root.join("etc/initramfs-tools")).unwrap();
    let count = tool("find", &[at("tree").to_str().unwrap()]).lines().count() + 11;
    File::create(at("fs")).unwrap().set_len(60 * MIB).unwrap();
    let inodes = (count.div_ceil(16) * 16).to_string();
    tool("mkfs.ext4", &["-q", "-N", &inodes, "-d", at("tree").to_str().unwrap(), at("fs").to_str().unwrap()]);
    let free: usize = tool("dumpe2fs", &["-h", at("fs").to_str().unwrap()])
        .lines()
        .find_map(|line| line.strip_prefix("Free inodes:")?.trim().parse().ok())
        .unwrap();
    let script: String = (0..free).map(|index| format!("mkdir /full{index}\n")).collect();
    fs::write(at("script"), script).unwrap();
    tool("debugfs", &["-w", "-f", at("script").to_str().unwrap(), at("fs").to_str().unwrap()]);
    let image = from_filesystem(directory.path(), 60);
    let outcome = run(&request(&[&image]));
    assert!(has(&outcome.report, "disk::cannot_edit"), "{:?}", outcome.report.findings);
    assert!(outcome.report.recipe.edits.is_empty() && outcome.overlays[0].blocks.is_empty());
}

/// A file whose blocks cannot be read.
#[test]
fn an_unreadable_file_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    bootable(directory.path(), FSTAB);
    filesystem("ext4", &at("fs"), 60, &at("tree"));
    let debugfs = |command: &str| tool("debugfs", &["-w", "-R", command, at("fs").to_str().unwrap()]);
    // An extent that lies behind the filesystem's end.
    debugfs("set_inode_field /boot/grub/grub.cfg block[5] 0x7fffffff");
    from_filesystem(directory.path(), 60);
    let report = inspected(directory.path());
    let blocked = report
        .findings
        .iter()
        .any(|finding| finding.severity == replant::guest::report::FindingSeverity::Blocks);
    assert!(blocked, "{:?}", report.findings);
}

/// Labels, owners and modes: what is edited keeps its own, what is new gets its neighbour's.
#[test]
fn labels_and_owners_on_ext4_and_xfs() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for kind in ["ext4", "xfs"] {
        let fstab = format!("/dev/sda1 / {kind} defaults 0 1\n");
        let root = bootable(directory.path(), &fstab);
        fs::create_dir_all(root.join("usr/lib/dracut")).unwrap();
        fs::create_dir_all(root.join("etc/dracut.conf.d")).unwrap();
        fs::create_dir_all(root.join("etc/selinux")).unwrap();
        fs::write(root.join("etc/selinux/config"), "SELINUX=enforcing\n").unwrap();
        let mib = if kind == "xfs" { 400 } else { 60 };
        filesystem(kind, &at("fs"), mib, &root);
        in_machine(
            &[&at("fs")],
            &format!(
                "mount -t {kind} /dev/ubda $m; label() {{ setfattr -n security.selinux -v \"system_u:object_r:$1:s0\" $2; }}\n\
                 find $m | while read f; do label usr_t $f; done; label etc_t $m/etc; label fstab_t $m/etc/fstab\n\
                 label dracut_t $m/etc/dracut.conf.d; label boot_t $m/boot/initrd.img-6.1.0-1-amd64\n\
                 chown 12:34 $m/etc/fstab; chmod 640 $m/etc/fstab; setfattr -n user.mark -v kept $m/etc/fstab; umount $m"
            ),
        );
        let image = from_filesystem(directory.path(), mib);
        let outcome = run(&request(&[&image]));
        let edits = &outcome.report.recipe.edits;
        assert!(edits.iter().any(|edit| matches!(edit.kind, EditKind::AppendFile { .. })), "{edits:?}");
        restore(&image, &outcome.overlays[0], &at("volume"));
        cut(&at("volume"), MIB, mib * MIB, &at("fs"));
        check(kind, &at("fs"));
        let shown = in_machine(
            &[&at("fs")],
            &format!(
                "mount -t {kind} -o ro,norecovery /dev/ubda $m 2>/dev/null || mount -t {kind} /dev/ubda $m; cd $m\n\
                 for f in etc/fstab boot/initrd.img-6.1.0-1-amd64 etc/dracut.conf.d/replant.conf; do\n\
                 echo $f $(stat -c '%u:%g %a' $f) $(getfattr --only-values -n security.selinux $f | tr -d '\\0'); done\n\
                 getfattr --only-values -n user.mark etc/fstab; cd /; umount $m"
            ),
        );
        for line in [
            "etc/fstab 12:34 640 system_u:object_r:fstab_t:s0",
            "boot/initrd.img-6.1.0-1-amd64 0:0 644 system_u:object_r:boot_t:s0",
            "etc/dracut.conf.d/replant.conf 0:0 644 system_u:object_r:dracut_t:s0",
            "kept",
        ] {
            assert!(shown.contains(line), "{kind}: {line}: {shown}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}

/// The undo of an extended initramfs, appended to or inserted into, gives back its bytes.
#[test]
fn cutting_the_addition_out_gives_the_old_archive() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = bootable(directory.path(), FSTAB);
    let path = root.join("boot/initrd.img-6.1.0-1-amd64");
    let name = "/boot/initrd.img-6.1.0-1-amd64";
    for lz4 in [false, true] {
        let mut writer = Writer::new();
        writer.directory("conf");
        writer.directory("conf/conf.d");
        writer.file("conf/initramfs.conf", 0o644, b"MODULES=dep\n");
        let mut old = writer.finish();
        if lz4 {
            fs::write(at("plain"), &old).unwrap();
            old = std::process::Command::new("lz4")
                .args(["-l", "-c"])
                .arg(at("plain"))
                .output()
                .unwrap()
                .stdout;
            // An older kernel's modules, so that nothing may stand behind the lz4 stream.
            let modules = root.join("lib/modules");
            fs::rename(modules.join("6.1.0-1-amd64"), modules.join("5.4.0-1-amd64")).unwrap();
            let menu = fs::read_to_string(root.join("boot/grub/grub.cfg")).unwrap();
            fs::write(root.join("boot/grub/grub.cfg"), menu.replace("vmlinuz-6.1.0", "vmlinuz-5.4.0"))
                .unwrap();
            fs::rename(root.join("boot/vmlinuz-6.1.0-1-amd64"), root.join("boot/vmlinuz-5.4.0-1-amd64"))
                .unwrap();
        }
        fs::write(&path, &old).unwrap();
        let image = image(directory.path(), 60);
        let outcome = run(&request(&[&image]));
        let edit = outcome.report.recipe.edits.iter().find(|edit| edit.path == name).unwrap();
        restore(&image, &outcome.overlays[0], &at("volume"));
        cut(&at("volume"), MIB, 60 * MIB, &at("fs"));
        tool("debugfs", &["-R", &format!("dump {name} {}", at("new").display()), at("fs").to_str().unwrap()]);
        let mut new = fs::read(at("new")).unwrap();
        match edit.kind {
            EditKind::AppendFile { old_length, new_length, .. } => {
                assert!(!lz4 && new.len() as u64 == new_length);
                new.truncate(usize::try_from(old_length).unwrap());
            }
            EditKind::InsertFile { offset, length, .. } => {
                assert!(lz4);
                let offset = usize::try_from(offset).unwrap();
                new.drain(offset..offset + usize::try_from(length).unwrap());
            }
            ref other => panic!("{other:?}"),
        }
        assert_eq!(new, old);
    }
}
