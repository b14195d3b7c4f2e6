//! Archives of real generators, as old and as new as Debian has them, extended and booted in
//! user-mode Linux by their own init, which has to load our drivers by itself.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use replant::guest::linux::initramfs::addition::holds;
use replant::guest::linux::initramfs::hint::Generator;
use replant::guest::linux::initramfs::newc::Writer;

use super::boots::{boot, extend, read};
use super::fixtures::{package, shell, uml};

/// Lets a suite's generator make an initramfs for user-mode Linux that holds `fuse` alone. The
/// generator's own files stand over the installed ones, in a mount namespace; its helper program
/// is the installed one where the suite's wants a newer libc.
fn generate(suite: &str, generator: &str, output: &Path) {
    let kernel = uml();
    let packages: &[&str] = match generator {
        "dracut" => &["dracut-core"],
        _ => &["initramfs-tools-core", "initramfs-tools"],
    };
    let directory = tempfile::tempdir().unwrap();
    let unpacked = directory.path().join("x");
    for name in packages {
        shell(&format!(
            "mkdir -p {to} && cp -a {}/. {to}/",
            package(suite, name).display(),
            to = unpacked.display()
        ));
    }
    let make = match generator {
        "dracut" => {
            r#"cp /usr/lib/dracut/dracut-install $t/dracut-install; mount --bind $x/usr/lib/dracut /usr/lib/dracut
            /usr/lib/dracut/dracut-install --version >/dev/null 2>&1 || export DRACUT_INSTALL=$t/dracut-install
            bash $x/usr/bin/dracut -q --force --no-hostonly --no-early-microcode --gzip --drivers fuse \
                -m "base bash kernel-modules udev-rules rootfs-block fs-lib" $out $r"#
        }
        _ => {
            // The hooks of other packages (klibc, udev, kmod) stay as they are installed.
            r#"cp -a /usr/share/initramfs-tools $t/own; cp -a $x/usr/share/initramfs-tools/. $t/own/
            mount --bind $t/own /usr/share/initramfs-tools
            printf 'MODULES=list\nBUSYBOX=no\nCOMPRESS=gzip\nRESUME=none\n' > $x/etc/initramfs-tools/initramfs.conf
            echo fuse > $x/etc/initramfs-tools/modules
            sh $x/usr/sbin/mkinitramfs -d $x/etc/initramfs-tools -o $out $r"#
        }
    };
    fs::write(directory.path().join("make"), make).unwrap();
    shell(&format!(
        "export t={t} x={t}/x out={out} r={release}\nunshare -m bash -euc 'mount --make-rprivate /; mkdir -p /lib/modules; \
         mount --bind {root}/lib/modules /lib/modules; mount -t tmpfs none /boot; \
         zcat /usr/share/doc/user-mode-linux/config.gz > /boot/config-$r; . $t/make' 2>&1",
        t = directory.path().display(),
        out = output.display(),
        release = kernel.release,
        root = kernel.root.display(),
    ));
}

/// Says which modules are loaded and ends the machine.
const SHOW: &str = "while read name rest; do echo \"LOADED $name\"; done < /proc/modules\necho COMPLETE\npoweroff -f 2>/dev/null\nexit 1\n";

fn boots(suite: &str, generator: &str, recognized: Generator) {
    let kernel = uml();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("initramfs");
    generate(suite, generator, &path);
    let made = read(&path);
    assert_eq!(Generator::of(&made), recognized, "{suite}");
    assert!(holds(&made, "fuse") && !holds(&made, "vfat"), "{suite}");
    // Behind what the generator made, a script that its init runs after udev would have started.
    let at = match recognized {
        Generator::InitramfsTools => "scripts/init-premount/ORDER".to_owned(),
        _ => made
            .resolve(if made.get("lib/dracut/hooks").is_some() {
                "lib/dracut/hooks/pre-trigger/00-show.sh"
            } else {
                "var/lib/dracut/hooks/pre-trigger/00-show.sh"
            })
            .unwrap(),
    };
    let mut show = Writer::new();
    if !made.members.contains_key(at.rsplit_once('/').unwrap().0) {
        show.directory(at.rsplit_once('/').unwrap().0);
    }
    show.file(&at, 0o755, SHOW.as_bytes());
    let padding = made.length.next_multiple_of(4) - made.length + 4;
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&vec![0; usize::try_from(padding).unwrap()]).unwrap();
    file.write_all(&show.finish()).unwrap();
    drop(file);
    let arguments = ["root=LABEL=none", "rd.shell=0", "rd.udev.log_level=err"];
    let untouched = boot(kernel, &path, &arguments);
    assert!(untouched.contains("COMPLETE") && !untouched.contains("LOADED vfat"), "{suite}: {untouched}");
    let addition = extend(kernel, &path);
    assert!(
        addition.members.keys().any(|member| member.contains("replant")),
        "{:?}",
        addition.members.keys()
    );
    let console = boot(kernel, &path, &arguments);
    for module in ["vfat", "dm_snapshot", "dm_bufio"] {
        assert!(console.contains(&format!("LOADED {module}")), "{suite}: {console}");
    }
}

#[test]
#[ignore = "make test-matrix"]
fn this_releases_generators() {
    boots("bookworm", "initramfs-tools", Generator::InitramfsTools);
    boots("bookworm", "dracut", Generator::Dracut);
}

#[test]
#[ignore = "make test-matrix"]
fn initramfs_tools_of_every_release() {
    for suite in ["bullseye", "trixie", "forky", "sid"] {
        boots(suite, "initramfs-tools", Generator::InitramfsTools);
    }
}

/// 051 as EL9 nearly has it, 106 whose hooks are behind a link, 112 which has moved them.
#[test]
#[ignore = "make test-matrix"]
fn dracut_of_every_release() {
    for suite in ["bullseye", "trixie", "forky", "sid"] {
        boots(suite, "dracut", Generator::Dracut);
    }
}
