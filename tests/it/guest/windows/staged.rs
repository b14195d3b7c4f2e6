//! What is put into NTFS volumes: by Replant through ntfs-3g, read back by dissect.ntfs and ntfsprogs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use replant::guest::report::{EditKind, FileChange};
use replant::guest::tree::Tree;
use replant::guest::windows::files::Files;
use replant::guest::windows::firstboot::{directory_descriptor, file_descriptor};
use replant::guest::windows::stage::{Access, Outcome, StageError, Staged, StagedContent, stage};

use super::kit::{dissect, run};

/// Mounted as the sandbox mounts it.
const OPTIONS: &str = "rw,big_writes,windows_names,norecover,noatime,streams_interface=none,no_detach";

/// A file system in a file.
struct Volume {
    directory: tempfile::TempDir,
    image: PathBuf,
}

/// A mounted one; dropped, it is unmounted.
struct Mounted {
    at: PathBuf,
    program: Child,
}

impl Volume {
    fn new(mebibytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("ntfs.img");
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        run(Command::new("mkntfs").args(["-Q", "-F", "-q"]).arg(&image));
        fs::create_dir(directory.path().join("at")).unwrap();
        Self { directory, image }
    }

    fn mount(&self) -> Mounted {
        let at = self.directory.path().join("at");
        let mut program = Command::new("ntfs-3g")
            .args(["-o", OPTIONS])
            .args([&self.image, &at])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !run(Command::new("cat").arg("/proc/self/mounts")).contains(at.to_str().unwrap()) {
            assert!(program.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
        Mounted { at, program }
    }

    /// Every file as dissect.ntfs reads it, once ntfsfix finds nothing to mend.
    fn read(&self) -> BTreeMap<String, Vec<serde_json::Value>> {
        let fixed = run(Command::new("ntfsfix").arg("--no-action").arg(&self.image));
        assert!(fixed.contains("processed successfully"), "{fixed}");
        run(Command::new("ntfsinfo").arg("--mft").arg(&self.image));
        dissect(&self.image, None).0
    }
}

impl Mounted {
    fn stage(&self, staged: &[Staged], write: bool) -> Result<Outcome, StageError> {
        stage(&Files::new(Tree::open(&self.at).unwrap(), "C:"), staged, write)
    }

    fn secure(&self, path: &str, descriptor: &[u8]) {
        let hex: String = descriptor.iter().map(|byte| format!("{byte:02x}")).collect();
        run(Command::new("setfattr")
            .args(["-h", "-n", "system.ntfs_acl", "-v", &format!("0x{hex}")])
            .arg(self.at.join(path)));
    }

    fn unmount(self) {
        drop(self);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.at));
        self.program.wait().unwrap();
    }
}

/// SIDs, self-relative.
fn sid(authority: u8, parts: &[u32]) -> Vec<u8> {
    let mut sid = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, authority];
    sid.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    sid
}

/// A descriptor of owner, group and entries (flags, mask, SID), as Windows lays it out.
fn descriptor(owner: &[u8], entries: &[(u8, u32, Vec<u8>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (flags, mask, sid) in entries {
        list.extend([0, *flags]);
        list.extend(((8 + sid.len()) as u16).to_le_bytes());
        list.extend(mask.to_le_bytes());
        list.extend(sid);
    }
    let size = 8 + list.len();
    let mut all = vec![1, 0, 4, 0x84];
    for offset in [20 + size, 20 + size + owner.len(), 0, 20] {
        all.extend((offset as u32).to_le_bytes());
    }
    all.extend([2, 0]);
    all.extend((size as u16).to_le_bytes());
    all.extend((entries.len() as u16).to_le_bytes());
    all.extend([0, 0]);
    all.extend(list);
    all.extend(owner);
    all.extend(owner);
    all
}

fn installer() -> Vec<u8> {
    sid(5, &[80, 956_008_885, 3_418_522_649, 1_831_038_044, 1_853_292_631, 2_271_478_464])
}

/// A driver's descriptor as Windows installs it, and `C:\`'s.
fn driver() -> Vec<u8> {
    let system = sid(5, &[18]);
    descriptor(
        &installer(),
        &[(0, 0x1f_01ff, installer()), (0, 0x12_00a9, system), (0, 0x12_00a9, sid(5, &[32, 545]))],
    )
}

fn root() -> Vec<u8> {
    descriptor(
        &installer(),
        &[
            (3, 0x1f_01ff, sid(5, &[18])),
            (3, 0x1f_01ff, sid(5, &[32, 544])),
            (3, 0x12_00a9, sid(5, &[32, 545])),
            (0x0b, 0x1000_0000, sid(3, &[0])),
        ],
    )
}

fn file(path: &str, content: &[u8], access: Access) -> Staged {
    Staged::File {
        path: path.to_owned(),
        content: StagedContent::Bytes(content.to_vec()),
        access,
        purpose: "a test's file",
    }
}

fn private(path: &str) -> Staged {
    let access = Access::Descriptor(directory_descriptor());
    Staged::Directory { path: path.to_owned(), access, purpose: "the first boot's files" }
}

/// A volume as Windows leaves one, as far as it matters.
fn windows(mebibytes: u64) -> Volume {
    let volume = Volume::new(mebibytes);
    let mounted = volume.mount();
    let drivers = mounted.at.join("Windows/System32/drivers");
    fs::create_dir_all(&drivers).unwrap();
    mounted.secure("", &root());
    for name in ["atapi.sys", "ntfs.SYS", "disk.sys"] {
        fs::write(drivers.join(name), format!("MZ {name}")).unwrap();
        mounted.secure(&format!("Windows/System32/drivers/{name}"), &driver());
    }
    // Somebody's tool was less careful.
    fs::write(drivers.join("aaa.sys"), "MZ").unwrap();
    fs::write(drivers.join("amazon.SYS"), "an old one\n").unwrap();
    mounted.secure("Windows/System32/drivers/amazon.SYS", &file_descriptor());
    mounted.unmount();
    volume
}

fn everything() -> Vec<Staged> {
    let program: Vec<u8> = (0..300_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    vec![
        private("/Replant"),
        file("/Replant/firstboot.exe", &program, Access::Descriptor(file_descriptor())),
        file("/windows/SYSTEM32/Drivers/AWSNVMe.sys", b"MZ\0 nvme", Access::LikeSibling),
        file("/Windows/System32/drivers/Amazon.sys", b"a new one\n", Access::LikeSibling),
        file("/Windows/System32/drivers/disk.sys", b"MZ disk.sys", Access::LikeSibling),
        file("/Replant/drivers/ena/ena.inf", b"[Version]\r\npassword=secret\r\n", Access::LikeSibling),
        file("/Tools/x.txt", "für mich\n".as_bytes(), Access::LikeSibling),
        file("/Tools/empty", b"", Access::LikeSibling),
        // Wanted twice, for the same.
        private("/replant"),
        file("/TOOLS/X.txt", "für mich\n".as_bytes(), Access::LikeSibling),
    ]
}

#[test]
fn others_read_what_is_staged_with_its_access() {
    let volume = windows(48);
    let before = volume.read();
    let mounted = volume.mount();
    let planned = mounted.stage(&everything(), false).unwrap();
    let lines: Vec<String> = (planned.edits.iter())
        .map(|edit| format!("{} {}\n", edit.path, edit.purpose))
        .chain(planned.diffs.iter().map(|diff| format!("{} {:?}\n", diff.path, diff.change)))
        .collect();
    insta::assert_snapshot!("staged", lines.concat());
    mounted.unmount();
    assert_eq!(volume.read(), before, "looking changes nothing");
    let mounted = volume.mount();
    assert_eq!(mounted.stage(&everything(), true).unwrap(), planned);
    assert_eq!(mounted.stage(&everything(), true).unwrap(), Outcome::default());
    mounted.unmount();
    let mounted = volume.mount();
    assert_eq!(mounted.stage(&everything(), false).unwrap(), Outcome::default());
    // Another's listing of one of them.
    let audit = Command::new("ntfssecaudit")
        .arg("-v")
        .arg(mounted.at.join("Replant/firstboot.exe"))
        .output()
        .unwrap();
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(audit.contains("S-1-5-18") && !audit.contains("S-1-1-0"), "{audit}");
    mounted.unmount();

    let after = volume.read();
    let new: Vec<&String> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert_eq!(
        new,
        [
            "/Replant",
            "/Replant/drivers",
            "/Replant/drivers/ena",
            "/Replant/drivers/ena/ena.inf",
            "/Replant/firstboot.exe",
            "/Tools",
            "/Tools/empty",
            "/Tools/x.txt",
            "/Windows/System32/drivers/AWSNVMe.sys",
        ]
    );
    let changed: Vec<&String> =
        before.iter().filter(|(path, was)| after[*path] != **was).map(|(path, _)| path).collect();
    assert_eq!(changed, ["/Windows/System32/drivers/amazon.SYS"]);
    let entries = |path: &str| serde_json::to_string(&after[path][2..]).unwrap();
    let system_and_administrators = |flags: &str| {
        format!(
            "[\"S-1-5-32-544\",\"S-1-5-18\",[\"0 {flags} 1f01ff S-1-5-18\",\"0 {flags} 1f01ff S-1-5-32-544\"]]"
        )
    };
    assert_eq!(entries("/Replant"), system_and_administrators("03"));
    assert_eq!(entries("/Replant/firstboot.exe"), system_and_administrators("00"));
    assert_eq!(entries("/Replant/drivers/ena"), system_and_administrators("13"));
    assert_eq!(entries("/Replant/drivers/ena/ena.inf"), system_and_administrators("10"));
    // As most drivers beside it have it.
    assert_eq!(
        entries("/Windows/System32/drivers/AWSNVMe.sys"),
        entries("/Windows/System32/drivers/atapi.sys")
    );
    // What was replaced keeps its own.
    assert_eq!(entries("/Windows/System32/drivers/amazon.SYS"), system_and_administrators("00"));
    assert_eq!(
        entries("/Tools/x.txt"),
        "[\"S-1-5-32-544\",\"S-1-5-18\",[\"0 10 1f01ff S-1-5-18\",\"0 10 1f01ff S-1-5-32-544\",\"0 10 1200a9 S-1-5-32-545\",\"0 10 1f01ff S-1-5-32-544\"]]"
    );
    let digest = |path: &str| after[path][1].as_str().unwrap().to_owned();
    let sha256 = |bytes: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x"), bytes).unwrap();
        run(Command::new("sha256sum").arg(directory.path().join("x")))[..64].to_owned()
    };
    for staged in everything() {
        let Staged::File { path, content: StagedContent::Bytes(bytes), .. } = staged else { continue };
        let there = after.keys().find(|there| there.to_lowercase() == path.to_lowercase()).unwrap();
        assert_eq!(digest(there), sha256(&bytes), "{there}");
    }
}

#[test]
fn an_access_that_is_another_is_set() {
    let volume = windows(48);
    let mounted = volume.mount();
    fs::create_dir(mounted.at.join("replant")).unwrap();
    fs::write(mounted.at.join("replant/x"), "x").unwrap();
    let wanted = [private("/Replant"), file("/Replant/x", b"x", Access::Descriptor(file_descriptor()))];
    let outcome = mounted.stage(&wanted, true).unwrap();
    assert!(
        outcome.edits.iter().all(|edit| matches!(edit.kind, EditKind::SetSecurity { before: Some(_), .. })),
        "{outcome:?}"
    );
    assert_eq!(
        outcome.edits.iter().map(|edit| edit.path.as_str()).collect::<Vec<_>>(),
        ["C:\\replant", "C:\\replant\\x"]
    );
    let FileChange::Binary { lines, .. } = &outcome.diffs[1].change else { panic!() };
    assert_eq!(lines[1], "access is O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)");
    assert!(lines[0].contains("(A;OICI;FA;;;WD)"), "{lines:?}");
    assert_eq!(mounted.stage(&wanted, true).unwrap(), Outcome::default());
    mounted.unmount();
    let after = volume.read();
    assert_eq!(after["/replant/x"][4].as_array().unwrap().len(), 2);
}

#[test]
fn another_name_of_a_replaced_file_keeps_what_it_is() {
    let volume = windows(48);
    let mounted = volume.mount();
    fs::create_dir(mounted.at.join("WinSxS")).unwrap();
    let (here, there) =
        (mounted.at.join("Windows/System32/drivers/disk.sys"), mounted.at.join("WinSxS/disk.sys"));
    fs::hard_link(&here, &there).unwrap();
    mounted.stage(&[file("/Windows/System32/drivers/disk.sys", b"new", Access::LikeSibling)], true).unwrap();
    assert_eq!(
        (fs::read(&here).unwrap(), fs::read(&there).unwrap()),
        (b"new".to_vec(), b"MZ disk.sys".to_vec())
    );
    mounted.unmount();
    let after = volume.read();
    assert_eq!(after["/Windows/System32/drivers/disk.sys"][2..], after["/WinSxS/disk.sys"][2..]);
}

#[test]
fn what_is_in_the_way_is_refused_and_nothing_is_written() {
    let volume = windows(48);
    let mounted = volume.mount();
    // A junction out of the volume, as Windows makes one; a link as Interix makes one.
    fs::create_dir(mounted.at.join("Junction")).unwrap();
    let target: Vec<u8> =
        "\\??\\D:\\Elsewhere\0D:\\Elsewhere\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut reparse = 0xa000_0003_u32.to_le_bytes().to_vec();
    reparse.extend((target.len() as u16 + 8).to_le_bytes());
    for number in [0_u16, 0, 32, 34, 24] {
        reparse.extend(number.to_le_bytes());
    }
    reparse.extend(target);
    let hex: String = reparse.iter().map(|byte| format!("{byte:02x}")).collect();
    run(Command::new("setfattr")
        .args(["-h", "-n", "system.ntfs_reparse_data", "-v", &format!("0x{hex}")])
        .arg(mounted.at.join("Junction")));
    symlink("/etc", mounted.at.join("Link")).unwrap();
    let refused = |path: &str| {
        let wanted = [private("/Replant"), file(path, b"x", Access::LikeSibling)];
        let error = mounted.stage(&wanted, true).unwrap_err();
        assert!(!mounted.at.join("Replant").exists(), "{path}");
        error
    };
    for path in [
        "/junction/x",
        "/Link/passwd",
        "/Junction",
        "/link",
        "/Windows",
        "/windows/system32/drivers/disk.sys/x",
        "/Replant/x/../y",
    ] {
        let error = refused(path);
        let finding = error.finding();
        assert_eq!(finding.code, "guest::windows_file_not_placed", "{path}: {error}");
    }
    assert!(!Path::new("/etc/passwd/x").exists());
    for path in ["/a:b", "/nul", "/Windows/x.", "relative", "/con.txt"] {
        assert!(matches!(refused(path), StageError::Name { .. }), "{path}");
    }
    // As directory and as file, and two files in one place.
    let twice = [file("/a", b"1", Access::LikeSibling), file("/A", b"2", Access::LikeSibling)];
    assert!(matches!(mounted.stage(&twice, true), Err(StageError::Twice { .. })));
    let both = [file("/a", b"1", Access::LikeSibling), file("/A/b", b"2", Access::LikeSibling)];
    assert!(matches!(mounted.stage(&both, true), Err(StageError::Obstacle { .. })));
    let both = [file("/a/b", b"1", Access::LikeSibling), file("/A", b"2", Access::LikeSibling)];
    assert!(matches!(mounted.stage(&both, true), Err(StageError::Obstacle { .. })));
    mounted.unmount();
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let volume = windows(16);
    let mounted = volume.mount();
    let large = file("/large", &vec![7; 15 << 20], Access::LikeSibling);
    let error = mounted.stage(&[private("/Replant"), large], true).unwrap_err();
    assert!(
        matches!(error, StageError::Full { needed, free } if needed > 15 << 20 && free < 15 << 20),
        "{error}"
    );
    assert_eq!(error.finding().code, "guest::filesystem_full");
    assert!(!mounted.at.join("Replant").exists());
    mounted.unmount();
}
