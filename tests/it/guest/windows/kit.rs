//! Hives from `.reg` text by hivexregedit, hives made dirty as Windows leaves them, and disks with
//! NTFS by ntfs-3g's own programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub use super::large::sum;

/// Runs a program to its successful end.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A hive with a root key and nothing else, after the specification of the format.
fn empty() -> Vec<u8> {
    let mut hive = vec![0; 8192];
    put(&mut hive, 0, b"regf");
    for (at, value) in [(4, 1_u32), (8, 1), (20, 1), (24, 5), (32, 1), (36, 0x20), (40, 4096), (44, 1)] {
        put(&mut hive, at, &value.to_le_bytes());
    }
    put(&mut hive, 4096, b"hbin");
    put(&mut hive, 4096 + 8, &4096_u32.to_le_bytes());
    // The root key: a cell of 88 bytes.
    let key = 4096 + 0x20;
    put(&mut hive, key, &(-88_i32).to_le_bytes());
    put(&mut hive, key + 4, b"nk");
    put(&mut hive, key + 6, &0x2c_u16.to_le_bytes());
    for at in [28, 32, 40, 48] {
        put(&mut hive, key + 4 + at, &u32::MAX.to_le_bytes());
    }
    put(&mut hive, key + 4 + 44, &0x78_u32.to_le_bytes());
    put(&mut hive, key + 4 + 72, &4_u16.to_le_bytes());
    put(&mut hive, key + 4 + 76, b"root");
    // Its security: the owner and group are the system's, which may do everything.
    let security = 4096 + 0x78;
    let sid = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    let mut descriptor = vec![1, 0, 4, 0x80];
    for offset in [48_u32, 60, 0, 20] {
        descriptor.extend(offset.to_le_bytes());
    }
    descriptor.extend([2, 0, 28, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0x3f, 0, 0x0f, 0]);
    descriptor.extend(sid);
    descriptor.extend(sid);
    descriptor.extend(sid);
    let length = (4 + 20 + descriptor.len()).next_multiple_of(8);
    put(&mut hive, security, &(-(length as i32)).to_le_bytes());
    put(&mut hive, security + 4, b"sk");
    for at in [4, 8] {
        put(&mut hive, security + 4 + at, &0x78_u32.to_le_bytes());
    }
    put(&mut hive, security + 4 + 12, &1_u32.to_le_bytes());
    put(&mut hive, security + 4 + 16, &(descriptor.len() as u32).to_le_bytes());
    put(&mut hive, security + 4 + 20, &descriptor);
    let rest = security + length;
    let free = 8192 - rest;
    put(&mut hive, rest, &(free as i32).to_le_bytes());
    sum(&mut hive);
    hive
}

/// hivexregedit wants every key's parent named before it.
fn with_parents(name: &str, text: &str) -> String {
    let root = format!("HKEY_LOCAL_MACHINE\\{name}");
    let mut known = std::collections::BTreeSet::from([root]);
    let mut whole = String::new();
    for line in text.lines() {
        if let Some(key) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let key = key.trim_start_matches('-');
            for (end, _) in key.match_indices('\\').filter(|(end, _)| *end > "HKEY_LOCAL_MACHINE".len()) {
                if known.insert(key[..end].to_owned()) {
                    whole.push_str(&format!("[{}]\n\n", &key[..end]));
                }
            }
            known.insert(key.to_owned());
        }
        whole.push_str(line);
        whole.push('\n');
    }
    whole
}

/// A hive from the text of a `.reg` file whose keys stand below `HKEY_LOCAL_MACHINE\NAME`.
pub fn hive(name: &str, text: &str) -> Vec<u8> {
    merged(&empty(), name, text)
}

/// A hive with what `.reg` text adds to it.
pub fn merged(hive: &[u8], name: &str, text: &str) -> Vec<u8> {
    let base = hive;
    let directory = tempfile::tempdir().unwrap();
    let (hive, reg) = (directory.path().join("hive"), directory.path().join("text.reg"));
    fs::write(&hive, base).unwrap();
    fs::write(&reg, format!("Windows Registry Editor Version 5.00\n\n{}", with_parents(name, text))).unwrap();
    run(Command::new("hivexregedit")
        .args(["--merge", "--encoding", "ASCII", "--prefix", &format!("HKEY_LOCAL_MACHINE\\{name}")])
        .args([&hive, &reg]));
    fs::read(&hive).unwrap()
}

/// A package of Windows Installer by msitools, with a version and nothing to install.
pub fn msi(version: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let table = format!("Property\tValue\ns72\tl0\nProperty\tProperty\nProductVersion\t{version}\n");
    fs::write(directory.path().join("Property.idt"), table).unwrap();
    run(Command::new("msibuild").current_dir(directory.path()).args(["x.msi", "-i", "Property.idt"]));
    fs::read(directory.path().join("x.msi")).unwrap()
}

fn marvin(bytes: &[u8]) -> u64 {
    // Marvin32 as .NET's source has it, with the seed of registry logs.
    let (mut low, mut high) = (0x7a4e_55c5_u32, 0x82ef_4d88_u32);
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(4), 0);
    padded.extend([0; 4]);
    for word in padded.chunks(4) {
        low = low.wrapping_add(u32::from_le_bytes(word.try_into().unwrap()));
        high ^= low;
        low = low.rotate_left(20).wrapping_add(high);
        high = high.rotate_left(9) ^ low;
        low = low.rotate_left(27).wrapping_add(high);
        high = high.rotate_left(19);
    }
    u64::from(high) << 32 | u64::from(low)
}

/// A hive that Windows was caught writing: the old one with its header saying so, and its logs.
pub struct Dirty {
    pub hive: Vec<u8>,
    pub logs: [Vec<u8>; 2],
}

fn differing<'n>(old: &[u8], new: &'n [u8], page: usize) -> Vec<(usize, &'n [u8])> {
    let pages = new[4096..].chunks(page).enumerate();
    pages
        .filter(|(index, bytes)| old.get(4096 + index * page..4096 + index * page + page) != Some(*bytes))
        .map(|(index, bytes)| (index * page, bytes))
        .collect()
}

fn entry(sequence: u32, old: &[u8], new: &[u8]) -> Vec<u8> {
    let pages = differing(old, new, 4096);
    let mut references = Vec::new();
    let mut data = Vec::new();
    for (offset, bytes) in &pages {
        references.extend((*offset as u32).to_le_bytes());
        references.extend((bytes.len() as u32).to_le_bytes());
        data.extend_from_slice(bytes);
    }
    let size = (40 + references.len() + data.len()).next_multiple_of(512);
    let mut entry = vec![0; size];
    put(&mut entry, 0, b"HvLE");
    put(&mut entry, 4, &(size as u32).to_le_bytes());
    put(&mut entry, 12, &sequence.to_le_bytes());
    put(&mut entry, 16, &long(new, 40).to_le_bytes());
    put(&mut entry, 20, &(pages.len() as u32).to_le_bytes());
    put(&mut entry, 40, &references);
    put(&mut entry, 40 + references.len(), &data);
    let hash = marvin(&entry[40..]);
    put(&mut entry, 24, &hash.to_le_bytes());
    let hash = marvin(&entry[..32]);
    put(&mut entry, 32, &hash.to_le_bytes());
    entry
}

fn log(of: &[u8], file_type: u32, sequence: u32) -> Vec<u8> {
    let mut log = of[..512].to_vec();
    put(&mut log, 4, &sequence.to_le_bytes());
    put(&mut log, 8, &sequence.to_le_bytes());
    put(&mut log, 28, &file_type.to_le_bytes());
    sum(&mut log);
    log
}

/// The first of `states` caught on its way to the last, in the new format: the steps to the second
/// log's are in the first log, the others in the second.
pub fn entries(states: &[Vec<u8>], in_first: usize) -> Dirty {
    let first = 7_u32;
    let mut hive = states[0].clone();
    put(&mut hive, 4, &(first + 1).to_le_bytes());
    put(&mut hive, 8, &first.to_le_bytes());
    sum(&mut hive);
    let mut logs = [log(&hive, 6, first), log(&hive, 6, first + in_first as u32)];
    for (index, pair) in states.windows(2).enumerate() {
        let which = usize::from(index >= in_first);
        logs[which].extend(entry(first + index as u32, &pair[0], &pair[1]));
    }
    // What is left of older entries stands behind.
    logs[0].extend([0xaa; 512]);
    Dirty { hive, logs }
}

/// `old` caught on its way to `new`, in the old format.
pub fn pages(old: &[u8], new: &[u8]) -> Dirty {
    let mut hive = old.to_vec();
    put(&mut hive, 4, &9_u32.to_le_bytes());
    put(&mut hive, 8, &8_u32.to_le_bytes());
    sum(&mut hive);
    let mut base = hive.clone();
    put(&mut base, 40, &long(new, 40).to_le_bytes());
    let mut first = log(&base, 1, 9);
    let mut bitmap = vec![0; (new.len() - 4096).div_ceil(512 * 8)];
    let mut data = Vec::new();
    // Windows notes whole pages of 4,096 bytes.
    for (offset, bytes) in differing(old, new, 4096) {
        bitmap[offset / 512 / 8] = 0xff;
        data.extend_from_slice(bytes);
    }
    first.extend(b"DIRT");
    first.extend(bitmap);
    first.resize(first.len().next_multiple_of(512), 0);
    first.extend(data);
    Dirty { hive, logs: [first, Vec::new()] }
}

/// Every key and value of a hive as regipy reads it: `key\value` → `[type, data]`.
pub fn regipy(hive: &Path) -> serde_json::Map<String, Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest/windows/read_hive.py");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let text = run(Command::new(python).arg(script).arg(hive));
    match serde_json::from_str(&text).unwrap() {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

/// A disk image with a Windows on it.
pub struct Disk {
    pub directory: tempfile::TempDir,
    pub image: PathBuf,
}

/// Makes a disk from a directory that is to be C: and one that is to be the partition it is started
/// from, with the partition table and firmware of `how`: `bios` or `uefi`.
pub fn disk(how: &str, windows: &Path, system: &Path) -> Disk {
    larger_disk(how, windows, system, 163_840)
}

/// The same with so many sectors for C:.
pub fn larger_disk(how: &str, windows: &Path, system: &Path, sectors: u64) -> Disk {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    run(Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest/windows/make_disk.sh"))
        .arg(how)
        .args([&image, windows, system])
        .arg(sectors.to_string()));
    Disk { directory, image }
}

/// Runs a script with the C: of [`disk`] as `$loop`.
pub fn with_c(disk: &Disk, script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest/windows");
    run(Command::new("bash")
        .args(["-euc", &format!(
            "loop=$(losetup --find --show --offset $((26624 * 512)) --sizelimit $((163840 * 512)) \"$1\"); trap 'losetup -d $loop' EXIT\n{script}"
        )])
        .arg("script")
        .arg(&disk.image)
        .arg(root.join("log_in_use.py")));
}

/// Makes the log of C: say that Windows was running: of version 1.1, or of 2.0. There is nothing in it that
/// could be read.
pub fn log_in_use(disk: &Disk, version: u8) {
    write_log(disk, version, "");
}

/// The same, with a transaction in it that was committed and has not reached the volume: the content
/// of `C:\note.txt`, which is `old`, becomes `new`, of the same length.
pub fn log_waits(disk: &Disk, version: u8, old: &str, new: &str) {
    with_c(
        disk,
        &format!(
            "note=$(mktemp)\nprintf '{old}' >$note\nntfscp $loop $note note.txt >/dev/null 2>&1\nrm $note"
        ),
    );
    let inode = "$(ntfsinfo -F note.txt $loop 2>/dev/null | sed -n 's/^Dumping Inode \\([0-9]*\\).*/\\1/p')";
    write_log(disk, version, &format!("$loop 0 {inode} '{old}' '{new}'"));
}

fn write_log(disk: &Disk, version: u8, more: &str) {
    with_c(
        disk,
        &format!(
            "size=$(ntfsinfo --inode 2 $loop 2>/dev/null | sed -n 's/.*Data Size:[^0-9]*\\([0-9]*\\).*/\\1/p' | head -1)\nlog=$(mktemp)\npython3 \"$2\" \"$size\" \"$log\" {version} {more}\nntfscp --inode $loop \"$log\" 2 >/dev/null 2>&1\nrm \"$log\"\nntfs-3g.probe --readwrite $loop 2>/dev/null && exit 1 || [ $? = {} ]",
            if version == 1 { 15 } else { 14 }
        ),
    );
}

/// Every file of an NTFS as dissect.ntfs reads it, and whether the volume is marked to be checked;
/// `span`: where it is in the image.
pub fn dissect(
    image: &Path,
    span: Option<(u64, u64)>,
) -> (std::collections::BTreeMap<String, Vec<Value>>, bool) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/python/bin/python"));
    command.arg(root.join("tests/it/guest/windows/read_ntfs.py")).arg(image);
    if let Some((offset, size)) = span {
        command.args([offset.to_string(), size.to_string()]);
    }
    serde_json::from_str(&run(&mut command)).unwrap()
}

/// Where C: of [`disk`] is.
pub const C: (u64, u64) = (26_624 * 512, 163_840 * 512);
