//! Archives made by mkinitramfs and dracut with every compression, extended, and then read by
//! other people's programs: cpio, lsinitramfs, modprobe.

use std::fs::{self, File};
use std::path::Path;

use replant::guest::linux::index;
use replant::guest::linux::initramfs::addition::{self, holds};
use replant::guest::linux::initramfs::unpack::{Archive, unpack};
use replant::guest::linux::modules::ModuleSet;
use replant::guest::tree::Tree;

use super::fixtures::{Kernel, kernel, mkinitramfs, shell};

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
    let addition = addition::make(&tree, &before, &modules, &DRIVERS).unwrap();
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
        "cd {root} && head -c {old_length} {path} > old && unmkinitramfs old out && rm old && \
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

#[test]
fn every_compression_of_mkinitramfs() {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    for compression in ["gzip", "xz", "lzma", "bzip2", "lz4", "zstd", "lzop"] {
        let path = directory.path().join(compression);
        mkinitramfs(kernel, compression, &WITHOUT, &path);
        extend_and_check(kernel, &path);
    }
}
