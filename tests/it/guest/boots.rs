//! Extended archives, unpacked by real kernels: user-mode Linux runs the same `init/initramfs.c`
//! and decompressors as any other. The init reports what it finds, GNU cpio says what it should,
//! and the hint or the index has to load real modules.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use replant::guest::linux::index;
use replant::guest::linux::initramfs::addition::{self, Addition, AdditionError};
use replant::guest::linux::initramfs::archive::Archive;
use replant::guest::linux::initramfs::hint::Generator;
use replant::guest::linux::initramfs::newc::Writer;
use replant::guest::linux::initramfs::unpack::{UnpackError, unpack};
use replant::guest::linux::modules::ModuleSet;
use replant::guest::tree::Tree;

use super::fixtures::{COMPRESSORS, Kernel, package, shell, uml};

/// Drivers that user-mode Linux has as modules, with dependencies of their own.
const DRIVERS: [&str; 2] = ["vfat", "dm-snapshot"];

/// Makes an initramfs's tree: busybox and the real kmod, a module with its index, `lib` a link as in
/// every merged /usr, an init that sources the hint as initramfs-tools does and then reports.
fn tree(kernel: &Kernel, root: &Path) -> PathBuf {
    let tree = root.join("tree");
    shell(&format!(
        r#"mkdir -p {tree} && cd {tree} && mkdir -p bin sbin proc conf/conf.d usr/lib usr/lib64 && ln -s usr/lib lib && ln -s usr/lib64 lib64
        cp /bin/busybox bin/ && for a in sh mount cut tr find sort xargs md5sum poweroff; do ln -s busybox bin/$a; done
        cp "$(readlink -f "$(command -v kmod)")" sbin/kmod && ln -s kmod sbin/modprobe && ln -s kmod sbin/insmod
        for l in $(ldd sbin/kmod | grep -o '/[^ ]*'); do mkdir -p .$(dirname $l); cp -L $l .$l; done
        d=usr/lib/modules/{release}; mkdir -p $d/kernel/fs/fuse
        cp {modules}/kernel/fs/fuse/fuse.ko $d/kernel/fs/fuse/ && cp {modules}/modules.order {modules}/modules.builtin* $d/
        mkdir -p $d/../x && rmdir $d/../x && depmod -b $PWD {release}
        echo same > conf/one && ln conf/one conf/two
        printf '#!/bin/sh\nexport PATH=/bin:/sbin\nmount -t proc proc /proc\nfor f in /conf/conf.d/*; do [ -f $f ] && . $f; done\necho "LOADED $(cut -d" " -f1 /proc/modules | tr "\\n" " ")"\n[ -L /lib ] && echo MERGED\ncd /; find . -xdev -type f -not -path "./proc/*" -not -path "./dev/*" | sort | xargs md5sum\necho COMPLETE\npoweroff -f\n' > init
        chmod 755 init"#,
        tree = tree.display(),
        release = kernel.release,
        modules = kernel.modules().display(),
    ));
    tree
}

/// Boots an archive, gives the console.
pub fn boot(kernel: &Kernel, archive: &Path, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args(["60", kernel.uml.as_deref().unwrap_or("linux.uml"), "mem=256M", "con=null", "con0=null,fd:1"])
        .arg(format!("initrd={}", archive.display()))
        .args(["quiet", "panic=-1"])
        .args(arguments)
        .env("HOME", directory.path())
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}

pub fn read(path: &Path) -> Archive {
    unpack(File::open(path).unwrap(), &addition::keep).unwrap()
}

fn addition(kernel: &Kernel, before: &Archive) -> Addition {
    let tree = Tree::open(&kernel.root).unwrap();
    let modules = ModuleSet::load(&tree, &kernel.release).unwrap();
    addition::make(&tree, before, &modules, &DRIVERS, &[]).unwrap()
}

/// Puts our segment into an archive and checks the result with the strict reader.
pub fn extend(kernel: &Kernel, path: &Path) -> Addition {
    let before = read(path);
    let addition = addition(kernel, &before);
    let mut bytes = fs::read(path).unwrap();
    let offset = usize::try_from(addition.offset).unwrap();
    bytes.splice(offset..offset, addition.bytes.iter().copied());
    fs::write(path, bytes).unwrap();
    addition.check(&before, &read(path)).unwrap();
    addition
}

/// What GNU cpio makes of a tree and our segment: `md5  ./path` lines.
fn expected(tree: &Path, addition: &Addition) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let start = addition.bytes.iter().position(|byte| *byte != 0).unwrap();
    fs::write(directory.path().join("ours"), &addition.bytes[start..]).unwrap();
    let sums = shell(&format!(
        "cd {} && cp -a {} t && cd t && cpio -idu --quiet -H newc < ../ours && find . -type f | LC_ALL=C sort | xargs md5sum",
        directory.path().display(),
        tree.display(),
    ));
    sums.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_boots(kernel: &Kernel, path: &Path, expected: &[String], what: &str) {
    let console = boot(kernel, path, &[]);
    assert!(console.contains("COMPLETE") && console.contains("MERGED"), "{what}: {console}");
    let loaded = console.lines().find(|line| line.contains("LOADED")).unwrap();
    for module in ["vfat", "fat", "dm_snapshot", "dm_bufio", "dm_mod"] {
        assert!(loaded.split(' ').any(|name| name == module), "{what}: {loaded}");
    }
    let mut sums: Vec<&str> = console.lines().filter(|line| line.contains("  ./")).collect();
    sums.sort_by_key(|line| line.split("  ").nth(1).map(str::as_bytes));
    assert_eq!(sums, expected, "{what}");
}

/// A plain archive of a tree.
fn packed(tree: &Path, to: &Path, format: &str) {
    shell(&format!(
        "cd {} && find . | LC_ALL=C sort | cpio -o --quiet -H {format} > {}",
        tree.display(),
        to.display()
    ));
}

/// Early microcode as dracut and iucode-tool lay it out, `count` archives of it.
const EARLY: &str = "mkdir -p e/kernel/x86/microcode && echo x > e/kernel/x86/microcode/AuthenticAMD.bin && \
    echo 1 > e/early_cpio && (cd e && find . | cpio -o --quiet -H newc > ../early)";

#[test]
fn every_compression_boots() {
    let kernel = uml();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let tree = tree(kernel, root);
    packed(&tree, &root.join("plain"), "newc");
    shell(&format!("cd {} && {EARLY}", root.display()));
    for (name, compressor) in COMPRESSORS {
        let path = root.join(name);
        shell(&format!("cd {} && {compressor} < plain > {name}", root.display()));
        let before = read(&path);
        let addition = extend(kernel, &path);
        assert!(addition.appends(&before));
        assert_boots(kernel, &path, &expected(&tree, &addition), name);
    }
}

#[test]
fn every_compression_boots_behind_early_microcode() {
    let kernel = uml();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let tree = tree(kernel, root);
    packed(&tree, &root.join("plain"), "newc");
    shell(&format!("cd {} && {EARLY}", root.display()));
    for (index, (name, compressor)) in COMPRESSORS.into_iter().enumerate() {
        let path = root.join(name);
        // One early archive, or two of them.
        let early = if index % 2 == 0 { "early" } else { "early early" };
        shell(&format!("cd {} && (cat {early}; {compressor} < plain) > {name}", root.display()));
        let before = read(&path);
        assert!(before.segments[0].early && !before.segments.last().unwrap().early);
        let addition = extend(kernel, &path);
        assert!(!addition.members.contains_key("early_cpio"));
        let all = expected(&tree, &addition);
        let console = boot(kernel, &path, &[]);
        assert!(console.contains("COMPLETE") && console.contains("dm_snapshot"), "{name}: {console}");
        for line in &all {
            assert!(console.contains(line), "{name}: {line} is not in {console}");
        }
    }
}

/// The layouts of generators that cannot be run here, by their own rules: dracut 004 (EL6) sources
/// `/pre-udev/*.sh`; dracut 033 to 105 `/lib/dracut/hooks/pre-udev`, which later is a link; dracut 110
/// has three directories; SUSE's mkinitrd a fixed list of scripts.
#[test]
fn every_layout_loads_the_drivers() {
    let kernel = uml();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let tree = tree(kernel, root);
    shell(&format!("cd {} && rm -r conf/conf.d", tree.display()));
    let hooks = |sourced: &str| format!("for f in {sourced}; do [ -f $f ] && . $f; done");
    let layouts = [
        (
            Generator::DracutOld,
            "mkdir -p initqueue pre-udev; echo : > usr/lib/dracut-lib.sh",
            hooks("/pre-udev/*.sh"),
        ),
        (Generator::DracutOld, "mkdir initqueue", hooks("/pre-udev/*.sh")),
        (
            Generator::Dracut,
            "mkdir -p usr/lib/dracut/hooks/pre-udev",
            hooks("/lib/dracut/hooks/pre-udev/*.sh"),
        ),
        (
            Generator::Dracut,
            "mkdir -p var/lib/dracut/hooks/pre-udev usr/lib/dracut; ln -s ../../../var/lib/dracut/hooks usr/lib/dracut/hooks",
            hooks("/var/lib/dracut/hooks/pre-udev/*.sh"),
        ),
        (
            Generator::Dracut,
            "mkdir -p var/lib/dracut/hooks; echo : > usr/lib/dracut-lib.sh",
            hooks("/var/lib/dracut/hooks/pre-udev/*.sh"),
        ),
        (
            Generator::Mkinitrd,
            "mkdir boot config; echo : > boot/03-start.sh; echo : > boot/05-udev.sh; \
             for s in 03-start 05-udev; do printf '[ \"$debug\" ] && echo running %s.sh\nsource boot/%s.sh\n[ \"$modules\" ] && load_modules\n' $s $s; done > run_all.sh",
            "cd /; source ./run_all.sh".to_owned(),
        ),
        (
            Generator::Mkinitrd,
            "mkdir boot; echo : > boot/05-udev.sh; echo 'source boot/05-udev.sh' > run_all.sh",
            hooks("/boot/*"),
        ),
    ];
    for (generator, made, sourced) in layouts {
        let script = fs::read_to_string(tree.join("init")).unwrap();
        let script = script.replace("for f in /conf/conf.d/*; do [ -f $f ] && . $f; done", &sourced);
        fs::write(root.join("init"), script).unwrap();
        shell(&format!(
            "cd {} && rm -rf layout && cp -a tree layout && cd layout && cp ../init init && chmod 755 init && {made}",
            root.display()
        ));
        let path = root.join("archive");
        shell(&format!(
            "cd {}/layout && find . | cpio -o --quiet -H newc | gzip -1 > ../archive",
            root.display()
        ));
        assert_eq!(Generator::of(&read(&path)), generator, "{made}");
        let addition = extend(kernel, &path);
        assert_boots(kernel, &path, &expected(&root.join("layout"), &addition), made);
    }
}

/// Archives as they are found in the field, none of them what a generator makes today.
#[test]
fn odd_archives_boot() {
    let kernel = uml();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let tree = tree(kernel, root);
    fs::write(tree.join("conf/absolute"), "x").unwrap();
    let mut absolute = Writer::new();
    absolute.file("/conf/absolute", 0o644, b"x");
    fs::write(root.join("absolute"), absolute.finish()).unwrap();
    packed(&tree, &root.join("plain"), "newc");
    packed(&tree, &root.join("crc"), "crc");
    let odd = [
        ("checksums", "gzip -1 < crc"),
        ("zero padding behind", "gzip -1 < plain; head -c 65537 /dev/zero"),
        ("unaligned end", "zstd -q -1 < plain; head -c 3 /dev/zero"),
        (
            "no trailer",
            "o=$(grep -abo 'TRAILER!!!' plain | tail -1 | cut -d: -f1); head -c $((o - 110)) plain | gzip -1",
        ),
        (
            "names without dot, sorted backwards but directories first",
            "(cd tree; (find * -type d; find * -not -type d | sort -r) | cpio -o --quiet -H newc) | xz -0 --check=crc32",
        ),
        (
            "absolute names",
            "((cd tree; find . | grep -v conf/absolute | LC_ALL=C sort | cpio -o --quiet -H newc); cat absolute) | gzip -1",
        ),
        (
            "two compressed archives, the second over the first",
            "(mkdir -p first/conf; echo old > first/conf/one; cd first; find . | cpio -o --quiet -H newc) | gzip -1; zstd -q -1 < plain",
        ),
        (
            "two archives in one stream, zeros between",
            "((mkdir -p first/conf; echo old > first/conf/one; cd first; find . | cpio -o --quiet -H newc); head -c 1024 /dev/zero; cat plain) | gzip -1",
        ),
        (
            "plain behind compressed",
            "gzip -1 < plain; head -c 4096 /dev/zero | head -c $((4 - $(gzip -1 < plain | wc -c) % 4)); (mkdir -p first/conf; cd first; echo conf | cpio -o --quiet -H newc)",
        ),
    ];
    for (what, script) in odd {
        let path = root.join("odd");
        shell(&format!("cd {} && rm -rf first && ({script}) > odd", root.display()));
        let before = read(&path);
        assert_eq!(before.get("conf/two"), before.get("conf/one"), "{what}: hard links");
        let addition = extend(kernel, &path);
        assert_boots(kernel, &path, &expected(&tree, &addition), what);
    }
}

/// Each of the four mistakes that made a boot fail: the kernel does what was measured, and the
/// reader says so before anybody has to boot.
#[test]
fn the_four_traps() {
    let kernel = uml();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let tree = tree(kernel, root);
    packed(&tree, &root.join("plain"), "newc");
    let compressed = |compressor: &str| {
        shell(&format!("cd {} && {compressor} < plain > archive", root.display()));
        (fs::read(root.join("archive")).unwrap(), read(&root.join("archive")))
    };
    let wrong = root.join("wrong");
    let write = |parts: &[&[u8]]| fs::write(&wrong, parts.concat()).unwrap();

    // 1. A segment at no multiple of four is ignored.
    let (old, before) = compressed("gzip -n -1");
    let addition = addition(kernel, &before);
    let start = addition.bytes.iter().position(|byte| *byte != 0).unwrap();
    write(&[&old, &vec![0; start + 1], &addition.bytes[start..]]);
    let refused = unpack(File::open(&wrong).unwrap(), &addition::keep);
    assert!(matches!(refused, Err(UnpackError::BadMagic { .. })), "{refused:?}");
    let console = boot(kernel, &wrong, &[]);
    assert!(console.contains("COMPLETE") && !console.contains("dm_snapshot"), "{console}");

    // Directly behind an lz4 stream, a segment would be read as its next block.
    let (old, before) = compressed("lz4 -l -1");
    let padding = old.len().next_multiple_of(4) - old.len();
    write(&[&old, &vec![0; padding], &addition.bytes[start..]]);
    let after = unpack(File::open(&wrong).unwrap(), &addition::keep);
    assert!(after.is_err() || addition.check(&before, &after.unwrap()).is_err());

    // 2. A directory `lib` takes the place of the link `lib`, and with it the libraries.
    let (old, before) = compressed("gzip -n -1");
    let mut evil = Writer::new();
    evil.directory("lib");
    let good = &addition.bytes[start..];
    let padding = vec![0; old.len().next_multiple_of(4) - old.len() + 4];
    write(&[&old, &padding, &evil.finish(), good]);
    let after = read(&wrong);
    let failed = addition.check(&before, &after);
    assert!(matches!(&failed, Err(AdditionError::Missing { path }) if path == "lib"), "{failed:?}");
    let console = boot(kernel, &wrong, &[]);
    assert!(console.contains("COMPLETE") && !console.contains("MERGED"), "{console}");

    // 3. Names of packed modules in the index of an archive with unpacked ones: nothing is found.
    // 4. Nor by the text index alone. (kmod is judge: modprobe would print what it loads.)
    fs::write(root.join("ours"), good).unwrap();
    let modprobe = |edit: &str| {
        shell(&format!(
            "cd {root} && rm -rf t && cp -a tree t && cd t && cpio -idu --quiet -H newc < ../ours && \
             cd usr/lib/modules/{release} && {edit} && modprobe -S {release} -d {root}/t -n -v -R vfat 2>&1 || true; \
             modprobe -S {release} -d {root}/t -n -v vfat 2>&1 || true",
            root = root.display(),
            release = kernel.release,
        ))
    };
    let loads = |text: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix("insmod "))
            .all(|file| Path::new(file.trim()).is_file())
            && text.contains("insmod ")
    };
    assert!(loads(&modprobe("true")), "{}", modprobe("true"));
    let packed_names = index::dependencies("kernel/fs/fat/vfat.ko.xz: kernel/fs/fat/fat.ko.xz\n").unwrap();
    fs::write(root.join("packed.bin"), packed_names).unwrap();
    let text = modprobe(&format!("cp {}/packed.bin modules.dep.bin", root.display()));
    assert!(!loads(&text), "{text}");
    let text = modprobe("rm modules.dep.bin");
    assert!(!loads(&text), "{text}");
}

/// Kernel 5.10, the last whose lz4 decoder wants to be at the file's end.
#[test]
#[ignore = "make test-matrix"]
fn before_5_11_lz4_is_inserted_before() {
    let kernel = package("bullseye", "user-mode-linux");
    let release = shell(&format!("ls {}/usr/lib/uml/modules", kernel.display())).trim().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    shell(&format!(
        "mkdir -p {root}/guest/lib && cp -r {}/usr/lib/uml/modules {root}/guest/lib/modules",
        kernel.display(),
        root = root.display()
    ));
    let kernel = Kernel {
        release,
        root: root.join("guest"),
        uml: Some(kernel.join("usr/bin/linux.uml").display().to_string()),
    };
    let tree = tree(&kernel, root);
    packed(&tree, &root.join("plain"), "newc");
    shell(&format!("cd {} && {EARLY} && (cat early; lz4 -l -1 < plain) > lz4", root.display()));
    let path = root.join("lz4");
    let before = read(&path);
    // Appended, as it would be to any other, it is not seen.
    let mut bytes = fs::read(&path).unwrap();
    let modern = Kernel { release: kernel.release.clone(), root: kernel.root.clone(), uml: None };
    let own = addition(&modern, &before);
    assert!(!own.appends(&before));
    let start = own.bytes.iter().position(|byte| *byte != 0).unwrap();
    bytes.resize(bytes.len().next_multiple_of(4) + 4, 0);
    bytes.extend(&own.bytes[start..]);
    fs::write(root.join("appended"), bytes).unwrap();
    let console = boot(&kernel, &root.join("appended"), &[]);
    assert!(!console.contains("replant/lib/modules"), "{console}");
    // Inserted, it is, and the hint loads from its own directory.
    let addition = extend(&kernel, &path);
    assert_eq!(addition.offset, before.segments[1].offset);
    let console = boot(&kernel, &path, &[]);
    assert!(console.contains("COMPLETE") && console.contains("replant/lib/modules"), "{console}");
    let loaded = console.lines().find(|line| line.contains("LOADED")).unwrap();
    assert!(loaded.contains("vfat") && loaded.contains("dm_snapshot"), "{loaded}");
}
