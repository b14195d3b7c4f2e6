//! What the guest tests build on: Debian's kernel modules, and archives made by real generators.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Runs a shell script, fails the test when it fails, gives its output.
#[track_caller]
pub fn shell(script: &str) -> String {
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Debian's current generic kernel, unpacked once for all test runs.
pub struct Kernel {
    pub release: String,
    pub root: PathBuf,
}

impl Kernel {
    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// The kernel package's files (vmlinuz, config, modules with their index by the real depmod).
pub fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guest-fixtures");
        fs::create_dir_all(&cache).unwrap();
        let lock = fs::File::create(cache.join("lock")).unwrap();
        lock.lock().unwrap();
        let package = shell(
            "apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9]\\S*\\).*/\\1/p' | head -1",
        );
        let package = package.trim();
        let release = package.trim_start_matches("linux-image-").to_owned();
        let root = cache.join(&release);
        if !root.join("complete").exists() {
            shell(&format!(
                "rm -rf '{root}' && mkdir -p '{root}/download' && cd '{root}/download' && \
                 (chown _apt . || true) && apt-get -q download {package} && dpkg-deb -x *.deb .. && cd .. && \
                 rm -rf download && depmod -b . {release} && touch complete",
                root = root.display(),
            ));
        }
        Kernel { release, root }
    })
}

/// Makes an initramfs with Debian's own generator, without the NVMe driver, in a mount namespace
/// where `/lib/modules` and `/boot` are the kernel package's.
pub fn mkinitramfs(kernel: &Kernel, compression: &str, modules: &[&str], output: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path();
    shell(&format!(
        "cp -r /etc/initramfs-tools/. '{conf}/' && \
         printf 'MODULES=list\\nBUSYBOX=no\\nCOMPRESS={compression}\\nRESUME=none\\n' > '{conf}/initramfs.conf' && \
         rm -f '{conf}'/conf.d/* && printf '%s\\n' {modules} > '{conf}/modules'",
        conf = conf.display(),
        modules = modules.join(" "),
    ));
    shell(&format!(
        "unshare -m bash -euc 'mount --make-rprivate / && mkdir -p /lib/modules && mount -t tmpfs none /boot && \
         cp {root}/boot/config-* /boot/ && mount --bind {root}/lib/modules /lib/modules && \
         mkinitramfs -d {conf} -o {output} {release}'",
        root = kernel.root.display(),
        conf = conf.display(),
        output = output.display(),
        release = kernel.release,
    ));
}

/// Makes an initramfs with dracut, without the drivers of EC2, in the same kind of namespace.
pub fn dracut(kernel: &Kernel, drivers: &str, output: &Path) {
    shell(&format!(
        "unshare -m bash -euc 'mount --make-rprivate / && mkdir -p /lib/modules && mount -t tmpfs none /boot && \
         cp {root}/boot/config-* {root}/boot/vmlinuz-* /boot/ && mount --bind {root}/lib/modules /lib/modules && \
         dracut -q --force --no-hostonly --no-early-microcode --gzip --drivers \"{drivers}\" \
         -m \"base bash systemd systemd-initrd rootfs-block udev-rules kernel-modules dracut-systemd fs-lib\" \
         --omit-drivers \"nvme nvme-core xen-blkfront\" {output} {release} 2>&1'",
        root = kernel.root.display(),
        output = output.display(),
        release = kernel.release,
    ));
}
