use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn guest() -> (tempfile::TempDir, Tree) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(directory.path().join("secret"), "host").unwrap();
    let tree = Tree::open(&root).unwrap();
    (directory, tree)
}

#[test]
fn links_resolve_inside_the_guest() {
    let (directory, tree) = guest();
    let root = directory.path().join("root");
    fs::write(root.join("etc/passwd"), "guest").unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", root.join("climbing")).unwrap();
    symlink("../secret", root.join("leaving")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    assert_eq!(tree.read("/absolute", 100).unwrap(), b"guest");
    assert_eq!(tree.read("/climbing", 100).unwrap(), b"guest");
    assert!(matches!(tree.read("/leaving", 100), Err(TreeError::Look { .. })));
    assert_eq!(tree.metadata("/leaving").unwrap(), None);
    assert_eq!(tree.metadata("/loop").unwrap(), None);
    assert_eq!(tree.read_link("/leaving").unwrap().unwrap(), "../secret");
    assert_eq!(tree.metadata("/../../secret").unwrap(), None);
    assert!(matches!(tree.write("/etc/..", b"", 0o644), Err(TreeError::NotAFile { .. })));
    // Writing through a link that leaves the root makes a file inside it at most.
    let _ = tree.write("/leaving", b"x", 0o644);
    assert_eq!(fs::read(directory.path().join("secret")).unwrap(), b"host");
}

#[test]
fn a_fifo_a_directory_and_a_long_file_are_refused() {
    let (directory, tree) = guest();
    let root = directory.path().join("root");
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0)
        .unwrap();
    fs::write(root.join("long"), vec![b'x'; 100]).unwrap();
    assert!(matches!(tree.read("/fifo", 10), Err(TreeError::NotAFile { .. })));
    assert!(matches!(tree.read("/etc", 10), Err(TreeError::NotAFile { .. })));
    assert!(matches!(tree.read("/long", 99), Err(TreeError::TooLarge { length: 100, .. })));
    assert_eq!(tree.read_at("/long", 98, 10).unwrap(), b"xx");
    assert_eq!(tree.read_if_there("/nothing", 1).unwrap(), None);
    assert!(matches!(tree.read("etc", 1), Err(TreeError::BadPath { .. })));
}

#[test]
fn names_that_cannot_be_shown_are_counted() {
    let (directory, tree) = guest();
    fs::write(directory.path().join("root/etc/two\nlines"), "").unwrap();
    fs::write(directory.path().join("root/etc/good"), "").unwrap();
    let listing = tree.list("/etc").unwrap();
    assert_eq!(listing.entries, [Entry { name: "good".to_owned() }]);
    assert_eq!(listing.skipped, 1);
    assert_eq!(tree.list("/nowhere").unwrap(), Listing::default());
}

#[test]
fn a_write_keeps_the_inode_owner_mode_and_attributes() {
    let (directory, tree) = guest();
    let path = directory.path().join("root/etc/fstab");
    fs::write(&path, "old and longer").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
    let file = File::open(&path).unwrap();
    fsetxattr(&file, "user.mark", b"1", XattrFlags::empty()).unwrap();
    let before = fs::metadata(&path).unwrap();
    tree.write("/etc/fstab", b"new", 0o644).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.ino(), before.mode(), before.uid()), (after.ino(), after.mode(), after.uid()));
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let mut value = [0_u8; 8];
    assert_eq!(fgetxattr(File::open(&path).unwrap(), "user.mark", &mut value[..]), Ok(1));
}

#[test]
fn a_new_file_takes_the_label_of_its_neighbour() {
    let (directory, tree) = guest();
    let neighbour = directory.path().join("root/etc/neighbour");
    fs::write(&neighbour, "").unwrap();
    let label = b"system_u:object_r:etc_t:s0\0";
    let file = File::open(&neighbour).unwrap();
    fsetxattr(&file, SELINUX, label, XattrFlags::empty()).unwrap();
    let etc = File::open(directory.path().join("root/etc")).unwrap();
    fsetxattr(&etc, SELINUX, b"system_u:object_r:etc_dir_t:s0\0", XattrFlags::empty()).unwrap();
    tree.write("/etc/new", b"x", 0o640).unwrap();
    assert_eq!(tree.selinux_label("/etc/new").unwrap(), label);
    let made = fs::metadata(directory.path().join("root/etc/new")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid()), (0o640, 0));
    // A directory that has to be made takes its parent's, its files the directory's.
    tree.write("/etc/a/b/new", b"x", 0o644).unwrap();
    assert_eq!(tree.selinux_label("/etc/a/b/new").unwrap(), b"system_u:object_r:etc_dir_t:s0\0");
}

#[test]
fn append_insert_rename_remove() {
    let (directory, tree) = guest();
    fs::write(directory.path().join("root/etc/x"), "abcdef").unwrap();
    tree.append("/etc/x", b"gh").unwrap();
    tree.insert("/etc/x", 2, b"--", 100).unwrap();
    assert_eq!(tree.read("/etc/x", 100).unwrap(), b"ab--cdefgh");
    assert!(matches!(tree.insert("/etc/x", 0, b"--", 5), Err(TreeError::TooLarge { .. })));
    tree.rename("/etc/x", "/etc/.x.replant-old").unwrap();
    assert!(tree.is_file("/etc/.x.replant-old") && !tree.exists("/etc/x"));
    symlink("/etc/.x.replant-old", directory.path().join("root/etc/link")).unwrap();
    tree.remove("/etc/link").unwrap();
    assert!(tree.exists("/etc/.x.replant-old"));
    let space = tree.space("/etc/not-there").unwrap();
    assert!(space.free > 0 && space.block >= 512 && !space.read_only);
}

/// A file is rewritten in place: its other names, its attributes and its access list stay.
#[test]
fn a_rewritten_file_keeps_what_hangs_on_it() {
    let (directory, tree) = guest();
    let path = directory.path().join("root/etc/fstab");
    fs::write(&path, "old").unwrap();
    fs::hard_link(&path, directory.path().join("root/etc/other")).unwrap();
    let set = |name: &str, value: &[u8]| rustix::fs::setxattr(&path, name, value, XattrFlags::empty());
    // POSIX.1e: version 2; owner rw, user 1000 r, group r, mask r, others none.
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let entries =
        [entry(1, 6, none), entry(2, 4, 1000), entry(4, 4, none), entry(16, 4, none), entry(32, 0, none)];
    let list = [2_u32.to_le_bytes().to_vec(), entries.concat()].concat();
    set("system.posix_acl_access", &list).unwrap();
    // As many as the filesystem takes: tmpfs and XFS take thousands, ext4 a block full.
    let mut kept = 0;
    while kept < 2000 && set(&format!("user.bomb-{kept}"), &[b'x'; 64]).is_ok() {
        kept += 1;
    }
    assert!(kept > 10);
    tree.write("/etc/fstab", b"new", 0o600).unwrap();
    assert_eq!(fs::read(directory.path().join("root/etc/other")).unwrap(), b"new");
    assert_eq!(tree.metadata("/etc/fstab").unwrap().unwrap().names, 2);
    let get = |name: &str| {
        let mut value = vec![0; 4096];
        let length = rustix::fs::getxattr(&path, name, value.as_mut_slice()).unwrap();
        value.truncate(length);
        value
    };
    for index in 0..kept {
        assert_eq!(get(&format!("user.bomb-{index}")), [b'x'; 64]);
    }
    assert_eq!(get("system.posix_acl_access"), list);
    // A label that is longer than any of SELinux's is none to copy.
    let long = directory.path().join("root/etc/long");
    fs::write(&long, "").unwrap();
    rustix::fs::setxattr(&long, SELINUX, &[b'y'; 2000], XattrFlags::empty()).unwrap();
    assert_eq!(tree.selinux_label("/etc/long"), None);
}

#[test]
fn of_a_directory_without_end_a_part_is_seen() {
    let (directory, tree) = guest();
    let many = directory.path().join("root/many");
    fs::create_dir(&many).unwrap();
    for index in 0..DIRECTORY_MAX + 100 {
        fs::write(many.join(index.to_string()), "").unwrap();
    }
    let listing = tree.list("/many").unwrap();
    assert_eq!((listing.entries.len(), listing.skipped), (DIRECTORY_MAX, 100));
    assert_eq!(tree.list("/many").unwrap(), listing);
    assert!(tree.list("/etc").unwrap().entries.is_empty());
    assert_eq!(tree.listed_in_part(), ["/many"]);
}
