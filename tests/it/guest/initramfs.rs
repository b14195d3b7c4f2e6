//! Archives made by mkinitramfs and dracut with every compression, extended, and then read by
//! other people's programs: cpio, lsinitramfs, modprobe.

use std::fs::{self, File};
use std::path::Path;

use replant::guest::linux::index;
use replant::guest::linux::initramfs::addition::{self, holds};
use replant::guest::linux::initramfs::archive::Archive;
use replant::guest::linux::initramfs::compression::Compression;
use replant::guest::linux::initramfs::hint::Generator;
use replant::guest::linux::initramfs::unpack::{unpack, unpack_behind};
use replant::guest::linux::modules::ModuleSet;
use replant::guest::tree::Tree;
use replant::model::Digest;

use super::fixtures::{COMPRESSORS, Kernel, dracut, kernel, mkinitramfs, shell};

const WITHOUT: [&str; 6] = ["ext4", "ahci", "sd_mod", "vmw_pvscsi", "mptspi", "virtio_blk"];
const DRIVERS: [&str; 2] = ["nvme", "xen-blkfront"];

fn read(path: &Path) -> Archive {
    unpack(File::open(path).unwrap(), &addition::keep).unwrap_or_else(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        panic!("{}: {error} {source:?}", path.display())
    })
}

/// Extends an archive and checks the result with modprobe on the unpacked tree.
fn extend_and_check(kernel: &Kernel, path: &Path) {
    let tree = Tree::open(&kernel.root).unwrap();
    let modules = ModuleSet::load(&tree, &kernel.release).unwrap();
    let before = read(path);
    assert!(!holds(&before, "nvme"));
    let addition = addition::make(&tree, &before, &modules, &DRIVERS, &[]).unwrap();
    assert!(addition.appends(&before));
    let mut bytes = fs::read(path).unwrap();
    bytes.extend(&addition.bytes);
    fs::write(path, &bytes).unwrap();
    let after = read(path);
    addition.check(&before, &after).unwrap();
    assert!(holds(&after, "nvme") && holds(&after, "xen-blkfront"));
    let resolved = resolve_by_modprobe(path, before.length, &kernel.release);
    for module in ["nvme-core.ko", "nvme.ko", "xen-blkfront.ko", "crc-t10dif.ko"] {
        assert!(resolved.contains(module), "{resolved}");
    }
}

/// Unpacks the archive with lsinitramfs's own helper and cpio, asks the real modprobe.
fn resolve_by_modprobe(path: &Path, old_length: u64, release: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let start = old_length.next_multiple_of(4) + 4;
    shell(&format!(
        "cd {root} && head -c {old_length} {path} > old && \
         (unmkinitramfs old out 2>&1 || (rm -rf out; mkdir out; cd out; cpio -idu --quiet -H newc < ../old)) && rm old && \
         if [ -d out/main ]; then mv out/main tree; else mv out tree; fi && cd tree && \
         tail -c +{from} {path} | cpio -idu --quiet -H newc 2>&1",
        root = root.display(),
        path = path.display(),
        from = start + 1,
    ));
    shell(&format!(
        "cd {root}/tree && for m in nvme xen-blkfront; do modprobe -S {release} -d $PWD -n -v $m; done; \
         modprobe -S {release} -d $PWD -n -v -R pci:v00001D0Fd00008061sv00001D0Fsd00008061bc01sc08i02; \
         modprobe -S {release} -d $PWD -n -v ext4",
        root = root.display(),
    ))
}

#[test]
fn the_index_is_depmods_byte_for_byte() {
    let kernel = kernel();
    let read = |name: &str| fs::read(kernel.modules().join(name)).unwrap();
    let dependencies = String::from_utf8(read("modules.dep")).unwrap();
    assert_eq!(index::dependencies(&dependencies).unwrap(), read("modules.dep.bin"));
    let aliases = String::from_utf8(read("modules.alias")).unwrap();
    assert_eq!(index::aliases(&aliases, &dependencies).unwrap(), read("modules.alias.bin"));
}

/// The index that an archive ends up with is what depmod makes of the modules in it, byte for byte,
/// however they are packed.
#[test]
fn the_merged_index_is_depmods_byte_for_byte() {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    // depmod reads gzip only where it was built with zlib; Debian's is not.
    for (ending, packer) in [(".ko", "cat"), (".ko.xz", "xz -0 --check=crc32"), (".ko.zst", "zstd -q -1")] {
        shell(&format!(
            r#"cd {root} && rm -rf guest t old ours && mkdir -p guest/lib/modules/{release} t && cd {modules}
            for f in $(cut -d: -f1 modules.dep | grep -E '/(nvme|nvme-core|xen-blkfront|sd_mod|ext4|ahci|virtio_blk|mptspi|ena)\.ko') ; do
                echo $f; grep "^$f:" modules.dep | cut -d: -f2 | tr ' ' '
'; done | grep . | sort -u > {root}/needed
            g={root}/guest/lib/modules/{release}; cp modules.order modules.builtin modules.builtin.modinfo $g/
            for f in $(cat {root}/needed); do mkdir -p $g/$(dirname $f); {packer} < $f > $g/${{f%.ko}}{ending}; done
            depmod -b {root}/guest {release}
            cd $g && mkdir -p {root}/t/lib/modules/{release} && cp modules.order modules.builtin modules.builtin.modinfo {root}/t/lib/modules/{release}/
            grep -v -E 'nvme|xen-blkfront|ena.ko' {root}/needed | while read f; do
                mkdir -p {root}/t/lib/modules/{release}/$(dirname $f); cp ${{f%.ko}}{ending} {root}/t/lib/modules/{release}/$(dirname $f)/; done
            depmod -b {root}/t {release}; cd {root}/t && mkdir -p conf/conf.d && find . | cpio -o --quiet -H newc | gzip -1 > {root}/old"#,
            root = root.display(),
            release = kernel.release,
            modules = kernel.modules().display(),
        ));
        let before = read(&root.join("old"));
        let tree = Tree::open(&root.join("guest")).unwrap();
        let modules = ModuleSet::load(&tree, &kernel.release).unwrap();
        let addition = addition::make(&tree, &before, &modules, &DRIVERS, &[]).unwrap();
        fs::write(
            root.join("ours"),
            &addition.bytes[addition.bytes.iter().position(|byte| *byte != 0).unwrap()..],
        )
        .unwrap();
        let own = format!("t/lib/modules/{}", kernel.release);
        shell(&format!(
            "cd {}/t && cpio -idu --quiet -H newc < ../ours && cp -a ../{own} ../merged",
            root.display()
        ));
        shell(&format!("cd {} && depmod -b t {}", root.display(), kernel.release));
        for name in
            ["modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin", "modules.softdep"]
        {
            let (merged, depmods) = (root.join("merged").join(name), root.join(&own).join(name));
            let same = fs::read(&merged).unwrap() == fs::read(&depmods).unwrap();
            let shown =
                || shell(&format!("diff {} {} | head -20 || true", merged.display(), depmods.display()));
            assert!(same, "{ending} {name}: {}", shown());
        }
        // A module keeps its bytes, and with them the signature at its end.
        let nvme = shell(&format!("cd {}/merged && find . -name 'nvme{ending}'", root.display()));
        let nvme = fs::read(root.join("merged").join(nvme.trim())).unwrap();
        let original =
            shell(&format!("cd {} && find lib/modules -name 'nvme{ending}'", root.join("guest").display()));
        assert_eq!(nvme, fs::read(root.join("guest").join(original.trim())).unwrap());
        shell(&format!("rm -rf {}/merged", root.display()));
    }
}

/// Vendors' modules of the directories that depmod searches before the kernel's own, by Debian's
/// order and by Red Hat's, where `weak-updates` links to another kernel's: what depmod prefers is
/// what is put in, at its own path, and modprobe loads that.
#[test]
fn the_module_that_depmod_prefers_is_put_in() {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (place, search) in [
        ("updates/dkms/nvme.ko", "search updates built-in"),
        ("extra/nvme/nvme.ko", "search updates extra built-in weak-updates"),
        ("weak-updates/nvme/nvme.ko", "search weak-updates built-in"),
        ("kernel/drivers/nvme/host/nvme.ko", "search built-in extra updates"),
    ] {
        shell(&format!(
            r#"cd {root} && rm -rf guest t image needed && mkdir -p guest/lib/modules/{release} guest/etc/depmod.d t && cd {modules}
            for f in $(cut -d: -f1 modules.dep | grep -E '/(nvme|nvme-core|xen-blkfront|sd_mod|ext4|ena)\.ko') ; do
                echo $f; grep "^$f:" modules.dep | cut -d: -f2 | tr ' ' '\n'; done | grep . | sort -u > {root}/needed
            g={root}/guest/lib/modules/{release}; cp modules.order modules.builtin modules.builtin.modinfo $g/
            cp --parents $(cat {root}/needed) $g/
            cd $g; own=kernel/drivers/nvme/host/nvme.ko
            for other in updates/dkms/nvme.ko extra/nvme/nvme.ko; do
                mkdir -p $(dirname $other); {{ cat $own; echo vendor; }} > $other; done
            mkdir -p ../6.0.0-1/extra/nvme weak-updates/nvme; {{ cat $own; echo weak; }} > ../6.0.0-1/extra/nvme/nvme.ko
            ln -s ../../../6.0.0-1/extra/nvme/nvme.ko weak-updates/nvme/nvme.ko
            case '{place}' in weak*) rm -r updates extra;; extra*) rm -r updates weak-updates;; updates*) rm -r weak-updates;; esac
            echo '{search}' > {root}/guest/etc/depmod.d/dist.conf
            depmod -C {root}/guest/etc/depmod.d -b {root}/guest {release}
            cd {root}/t && mkdir -p conf/conf.d && find . | cpio -o --quiet -H newc | gzip -1 > {root}/image"#,
            root = root.display(),
            release = kernel.release,
            modules = kernel.modules().display(),
        ));
        let tree = Tree::open(&root.join("guest")).unwrap();
        let modules = ModuleSet::load(&tree, &kernel.release).unwrap();
        assert_eq!(modules.path("nvme"), Some(place));
        assert!(modules.has_file(&tree, "nvme"));
        let before = read(&root.join("image"));
        let addition = addition::make(&tree, &before, &modules, &DRIVERS, &[]).unwrap();
        let member = format!("lib/modules/{}/{place}", kernel.release);
        assert!(addition.members.contains_key(&member), "{place}: {:#?}", addition.members);
        assert_eq!(addition.members.keys().filter(|path| path.ends_with("/nvme.ko")).count(), 1);
        let mut bytes = fs::read(root.join("image")).unwrap();
        bytes.extend(&addition.bytes);
        fs::write(root.join("image"), &bytes).unwrap();
        let tail = (before.length.next_multiple_of(4) + 4 + 1).to_string();
        let resolved = shell(&format!(
            "cd {}/t && tail -c +{tail} ../image | cpio -idu --quiet -H newc && modprobe -S {r} -d $PWD -n -v nvme && \
             cmp lib/modules/{r}/{place} ../guest/lib/modules/{r}/{place}",
            root.display(),
            r = kernel.release,
        ));
        assert!(resolved.contains(&format!("{}/{place}", kernel.release)), "{resolved}");
        // The kernel's own nvme-core is what all of them need.
        assert!(resolved.contains("kernel/drivers/nvme/host/nvme-core.ko"), "{resolved}");
    }
    // Its kernel removed, the link leads nowhere, whatever the index says.
    let directory = root.join(format!("guest/lib/modules/{}", kernel.release));
    fs::create_dir_all(directory.join("weak-updates/gone")).unwrap();
    let to = "/lib/modules/5.0.0/extra/nvme.ko";
    std::os::unix::fs::symlink(to, directory.join("weak-updates/gone/nvme.ko")).unwrap();
    fs::write(directory.join("modules.dep"), "weak-updates/gone/nvme.ko:\n").unwrap();
    let tree = Tree::open(&root.join("guest")).unwrap();
    assert!(!ModuleSet::load(&tree, &kernel.release).unwrap().has_file(&tree, "nvme"));
}

/// What is read on from where an archive ended is what a reading of the whole gives, and what is
/// wrong with an addition is seen.
#[test]
fn reading_on_is_reading_it_all() {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("made");
    mkinitramfs(kernel, "gzip", &WITHOUT, &made);
    let tree = Tree::open(&kernel.root).unwrap();
    let modules = ModuleSet::load(&tree, &kernel.release).unwrap();
    for (name, compressor) in COMPRESSORS {
        let path = directory.path().join(name);
        shell(&format!("zcat {} | {compressor} > {}", made.display(), path.display()));
        let before = read(&path);
        assert_eq!(before.is_closed(), !["lzma", "lz4", "lzo"].contains(&name), "{name}");
        let addition = addition::make(&tree, &before, &modules, &DRIVERS, &[]).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!(before.digest, Digest::of(&bytes));
        bytes.extend(&addition.bytes);
        if before.is_closed() {
            let whole = unpack(bytes.as_slice(), &|_| false).unwrap();
            let behind = unpack_behind(&before, addition.bytes.as_slice()).unwrap();
            assert_eq!((&behind.members, &behind.segments), (&whole.members, &whole.segments), "{name}");
            assert_eq!(behind.length, whole.length);
            // One byte less of padding, and the kernel would stop there.
            unpack_behind(&before, &addition.bytes[1..]).unwrap_err();
            unpack_behind(&before, &addition.bytes[..addition.bytes.len() / 2]).unwrap_err();
        }
    }
}

#[test]
fn every_compression_of_a_real_initramfs() {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("made");
    mkinitramfs(kernel, "gzip", &WITHOUT, &made);
    for (name, compressor) in COMPRESSORS {
        let path = directory.path().join(name);
        shell(&format!("zcat {} | {compressor} > {}", made.display(), path.display()));
        extend_and_check(kernel, &path);
    }
    // Early microcode in front, as a padded archive of its own.
    let path = directory.path().join("early");
    shell(&format!(
        "cd {} && mkdir -p e/kernel/x86/microcode && echo x > e/kernel/x86/microcode/AuthenticAMD.bin && \
         (cd e && find . | cpio -o --quiet -H newc) > early && cat made >> early",
        directory.path().display()
    ));
    let before = read(&path);
    assert!(before.segments[0].early && !before.segments[1].early);
    extend_and_check(kernel, &path);
}

#[test]
fn dracut_with_its_own_hooks() {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("initramfs.img");
    dracut(kernel, "ext4 sd_mod vmw_pvscsi", &path);
    let before = read(&path);
    assert_eq!(Generator::of(&before), Generator::Dracut);
    extend_and_check(kernel, &path);
    let listed = shell(&format!("lsinitrd {} 2>/dev/null", path.display()));
    assert!(listed.contains("usr/lib/dracut/hooks"));
}

/// A kernel of this release with the modules of Debian's, so that its age alone differs.
fn aged(kernel: &Kernel, directory: &Path, release: &str) -> Kernel {
    let root = directory.join(release);
    shell(&format!(
        "mkdir -p {root}/lib/modules && cp -rs {modules} {root}/lib/modules/{release}",
        root = root.display(),
        modules = kernel.modules().display(),
    ));
    // Links that leave the root lead nowhere: what is needed is copied.
    shell(&format!(
        "cd {root}/lib/modules/{release} && for f in modules.* $(find kernel/drivers/nvme kernel/drivers/block kernel/lib \
         kernel/crypto kernel/block kernel/arch/x86/crypto kernel/drivers/scsi kernel/fs/ext4 -name '*.ko'); do \
         cp --remove-destination {modules}/$f $f; done",
        root = root.display(),
        modules = kernel.modules().display(),
    ));
    Kernel { release: release.to_owned(), root, uml: None }
}

#[test]
fn before_5_11_an_lz4_archive_stays_last() {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let made = root.join("made");
    mkinitramfs(kernel, "gzip", &WITHOUT, &made);
    shell(&format!(
        "cd {} && mkdir -p e/kernel/x86/microcode && echo x > e/kernel/x86/microcode/AuthenticAMD.bin && \
         (cd e && find . | cpio -o --quiet -H newc) > image && zcat made | lz4 -l -1 >> image",
        root.display()
    ));
    let old = aged(kernel, root, "5.4.0-26-generic");
    let path = root.join("image");
    let before = read(&path);
    let modules = ModuleSet::load(&Tree::open(&old.root).unwrap(), &old.release).unwrap();
    let addition = addition::make(&Tree::open(&old.root).unwrap(), &before, &modules, &DRIVERS, &[]).unwrap();
    assert!(!addition.appends(&before));
    assert_eq!(addition.offset, before.segments[1].offset);
    let mut bytes = fs::read(&path).unwrap();
    let offset = usize::try_from(addition.offset).unwrap();
    bytes.splice(offset..offset, addition.bytes.iter().copied());
    fs::write(&path, &bytes).unwrap();
    let after = read(&path);
    addition.check(&before, &after).unwrap();
    assert!(after.segments[0].early && after.segments.last().unwrap().compression == Some(Compression::Lz4));
    // Ours is the second: it is unpacked by cpio, and modprobe finds everything below its root.
    let ours = &after.segments[1];
    let resolved = shell(&format!(
        "mkdir {root}/t && cd {root}/t && head -c {} {root}/image | tail -c +{} | cpio -idu --quiet -H newc && \
         modprobe -S {release} -d $PWD/replant -n -v nvme && sh -n conf/conf.d/zz-replant && cat conf/conf.d/zz-replant",
        ours.end,
        ours.offset + 1,
        root = root.display(),
        release = old.release,
    ));
    assert!(
        resolved.contains("nvme-core.ko") && resolved.contains("modprobe -q -d /replant nvme"),
        "{resolved}"
    );
}
