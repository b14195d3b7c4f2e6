//! The user's files on their way through the real sandbox onto real filesystems.

use std::fs;
use std::path::Path;

use replant::guest::report::FindingSeverity;
use replant::model::{GuestFile, IdentityPolicy};

use super::guests::{MIB, bootable, check, cut, disk, filesystem, restore, tool};
use super::{request, run};

fn file(path: &str, content: Vec<u8>) -> GuestFile {
    GuestFile { path: path.to_owned(), content: content.into(), mode: None, owner: None, group: None }
}

/// Bytes that nothing makes shorter, other ones for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Sixteen files of a MiB, as many as there may be, on a filesystem that nothing else needs.
#[test]
fn the_most_that_there_may_be_arrives_on_a_filesystem_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let tree = bootable(root, "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 /srv/data ext4 defaults 0 2\n");
    fs::create_dir_all(tree.join("srv/data")).unwrap();
    fs::write(tree.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::create_dir_all(tree.join("usr/lib/systemd")).unwrap();
    fs::write(tree.join("usr/lib/systemd/systemd"), "").unwrap();
    let empty = root.join("empty");
    fs::create_dir(&empty).unwrap();
    let (first, second, image) = (root.join("first"), root.join("second"), root.join("image"));
    filesystem("ext4", &first, 40, &tree);
    filesystem("ext4", &second, 40, &empty);
    let script = format!("label: gpt\nstart=2048, size={0}\nstart={1}, size={0}\n", 40 * 2048, 41 * 2048);
    disk(&image, 82, &script, &[(MIB, &first), (41 * MIB, &second)]);

    let mut request = request(&[&image]);
    let changes = &mut request.inputs.changes;
    changes.identity = IdentityPolicy::New;
    changes.files = (0..16).map(|seed| file(&format!("/srv/data/{seed}"), noise(seed, 1 << 20))).collect();
    changes.files[15] = GuestFile {
        mode: Some(0o600),
        owner: Some("1000".to_owned()),
        ..file("/srv/data/deep/15", noise(15, (1 << 20) - 1))
    };
    let outcome = run(&request);
    let blocking =
        outcome.report.findings.iter().filter(|finding| finding.severity == FindingSeverity::Blocks);
    assert_eq!(blocking.collect::<Vec<_>>(), Vec::<&_>::new());
    let placed = outcome.report.recipe.edits.iter().filter(|edit| edit.path.starts_with("/srv/data/"));
    assert_eq!(placed.count(), 17, "sixteen files, and one's owner");

    let volume = root.join("volume");
    restore(&image, &outcome.overlays[0], &volume);
    cut(&volume, MIB, 40 * MIB, &first);
    cut(&volume, 41 * MIB, 40 * MIB, &second);
    check("ext4", &first);
    check("ext4", &second);
    let content = |filesystem: &Path, path: &str| {
        let to = root.join("content");
        let _before = fs::remove_file(&to);
        tool("debugfs", &["-R", &format!("dump {path} {}", to.display()), filesystem.to_str().unwrap()]);
        fs::read(to).unwrap()
    };
    for seed in 0..15 {
        assert!(content(&second, &format!("/{seed}")) == noise(seed, 1 << 20), "{seed}");
    }
    assert!(content(&second, "/deep/15") == noise(15, (1 << 20) - 1));
    let access = tool("debugfs", &["-R", "stat /deep/15", second.to_str().unwrap()]);
    assert!(access.contains("Mode:  0600") && access.contains("User:  1000"), "{access}");
    assert!(content(&first, "/etc/machine-id").is_empty());
}
