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

/// A kernel's files under a root.
pub struct Kernel {
    pub release: String,
    pub root: PathBuf,
    /// The program, when it is a user-mode Linux of another release than the installed one.
    pub uml: Option<String>,
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
        let cache = cache();
        let _lock = lock();
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
        Kernel { release, root, uml: None }
    })
}

/// The installed user-mode Linux, its modules where a guest has them.
pub fn uml() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let release = shell("ls /usr/lib/uml/modules | head -1").trim().to_owned();
        let root = cache().join(format!("uml-{release}"));
        let _lock = lock();
        if !root.join("complete").exists() {
            shell(&format!(
                "rm -rf '{root}' && mkdir -p '{root}/lib/modules' && cp -r /usr/lib/uml/modules/{release} '{root}/lib/modules/' && \
                 touch '{root}/complete'",
                root = root.display()
            ));
        }
        Kernel { release, root, uml: None }
    })
}

/// A Debian package of any suite, unpacked but not installed, once for all test runs.
pub fn package(suite: &str, name: &str) -> PathBuf {
    let root = cache().join(suite).join(name);
    let _lock = lock();
    if !root.join("complete").exists() {
        shell(&format!(
            r#"rm -rf '{root}' && mkdir -p '{root}' && cd '{root}/..' && mkdir -p apt/lists/partial apt/cache/archives/partial
            echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {suite} main' > apt/sources
            cat > apt/conf <<E
Dir::State::lists "$PWD/apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$PWD/apt/cache";
Dir::Etc::sourcelist "$PWD/apt/sources";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
E
            export APT_CONFIG=$PWD/apt/conf
            ls apt/lists/*_Packages* >/dev/null 2>&1 || apt-get -qq update
            cd '{root}' && apt-get -qq download {name} && dpkg-deb -x *.deb . && rm *.deb && touch complete"#,
            root = root.display(),
        ));
    }
    root
}

fn cache() -> PathBuf {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guest-fixtures");
    fs::create_dir_all(&cache).unwrap();
    cache
}

fn lock() -> fs::File {
    let lock = fs::File::create(cache().join("lock")).unwrap();
    lock.lock().unwrap();
    lock
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

/// Every compression that the kernel knows, as generators call the compressors.
pub const COMPRESSORS: [(&str, &str); 8] = [
    ("none", "cat"),
    ("gzip", "gzip -n -1"),
    ("xz", "xz -0 --check=crc32"),
    ("lzma", "lzma -0"),
    ("bzip2", "bzip2 -1"),
    ("lz4", "lz4 -l -1"),
    ("zstd", "zstd -q -1"),
    ("lzo", "lzop -1"),
];
