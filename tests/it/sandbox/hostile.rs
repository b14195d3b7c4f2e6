//! A hostile guest in user-mode Linux: its init is ours, and it has the guest kernel's root.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::guests::MIB;
use super::{programs, request};
use replant::guest::exchange;
use replant::model::Content;
use replant::sandbox::SandboxError;
use replant::sandbox::blocks::serve::{ServedDisk, ServerSpec};
use replant::sandbox::engine::uml::Uml;
use replant::sandbox::engine::{Boot, Engine};
use replant::sandbox::initrd::archive::Archive;
use replant::sandbox::run::{Finished, Session};

/// Boots a shell script as the init of a sandbox, with one empty disk and the job disk.
fn run_script(script: &str, seconds: u32) -> Result<Finished, SandboxError> {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("empty.raw");
    File::create(&image).unwrap().set_len(8 * MIB).unwrap();
    let programs = programs().unwrap();
    let mut archive = Archive::default();
    for path in ["dev", "proc", "sys", "m"] {
        archive.directory(path);
    }
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    archive.file("bin/busybox", true, &busybox);
    let start = "#!/bin/busybox sh\nexport PATH=/bin\n/bin/busybox --install /bin\n\
                 mount -t proc none /proc\nmount -t sysfs none /sys\nmount -t devtmpfs none /dev\n\
                 for module in /modules/*; do insmod $module; done\n";
    let module = std::fs::read_dir(&programs.modules)
        .unwrap()
        .map(|version| version.unwrap().path().join("kernel/drivers/block/virtio_blk.ko"))
        .find(|path| path.is_file())
        .unwrap();
    archive.file("modules/virtio_blk.ko", false, &std::fs::read(module).unwrap());
    archive.file("init", true, format!("{start}{script}\npoweroff -f\n").as_bytes());
    let initrd = directory.path().join("initrd");
    File::create(&initrd).unwrap().write_all(&archive.finish()).unwrap();

    let mut request = request(&[&image]);
    request.limits.seconds = seconds;
    request.limits.overlay_bytes = MIB;
    let parent = i32::try_from(std::process::id()).unwrap();
    let boot = Boot { initrd: &initrd, devices: 2, limits: request.limits, parent };
    let jail = Uml::new(&programs).jail(&boot).unwrap();
    let disk = ServedDisk {
        image: image.into(),
        format: Some("raw".to_owned()),
        member: None,
        snapshot: None,
        size: 8 * MIB,
    };
    let server = ServerSpec {
        parent,
        disks: vec![disk],
        exchange_size: exchange::exchange_size(1),
        exchange: Content::default(),
        parcel: None,
        overlay_bytes: request.limits.overlay_bytes,
        seconds,
    };
    Session::start(&programs, &server, None, &jail)?.finish(&request, seconds)
}

#[test]
fn hostfs_shows_an_empty_host() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let evil = PathBuf::from(format!("/tmp/replant-evil-{}", std::process::id()));
    let script = format!(
        "mount -t hostfs none /m -o / && echo MOUNTED\n\
         for file in /m/* /m/tmp/*; do echo FOUND $file; done\n\
         cat /m/etc/passwd /m/proc/1/status /m{secret} && echo LEAKED\n\
         echo x > /m/evil && echo WROTE\n\
         echo x > /m/linux && echo WROTE\n\
         echo x > /m{evil}\n\
         ls /m/dev && echo DEVICES\n\
         ifconfig -a | grep -v lo && echo NETWORK\n\
         echo FINISHED",
        secret = secret.path().display(),
        evil = evil.display(),
    );
    let finished = run_script(&script, 120).unwrap();
    let console = &finished.console;
    assert!(console.contains("FINISHED") && console.contains("MOUNTED"), "{console}");
    let found: Vec<&str> = console.lines().filter_map(|line| line.trim().strip_prefix("FOUND /m/")).collect();
    for file in &found {
        let own = ["initrd", "lib", "lib64", "linux", "s", "tmp", "usr", "tmp/*"].contains(file);
        assert!(own || file.starts_with("tmp/."), "{found:?}");
    }
    for word in ["LEAKED", "WROTE", "DEVICES", "root:"] {
        assert!(!console.contains(word), "{word}: {console}");
    }
    assert!(!evil.exists());
}

#[test]
fn an_endless_guest_is_ended() {
    let started = Instant::now();
    let outcome = run_script("while :; do :; done", 6);
    assert!(matches!(outcome, Err(SandboxError::TimedOut { .. })), "{outcome:?}");
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn a_huge_report_stays_on_its_disk() {
    // 1 GiB of zeros over the job disk's 24 MiB, then a frame that announces 2^64 bytes.
    let script = "dd if=/dev/zero of=/dev/vdb bs=1M count=1024\n\
                  printf 'RPLNTXC1\\377\\377\\377\\377\\377\\377\\377\\377' | dd of=/dev/vdb bs=1 seek=1048576 conv=notrunc\n\
                  sync";
    let finished = run_script(script, 120).unwrap();
    assert_eq!(finished.handover.exchange.len() as u64, exchange::exchange_size(1));
    let report = &finished.handover.exchange[exchange::report_offset(1) as usize..];
    let decoded = exchange::decode::<serde_json::Value>(report, exchange::MAX_REPORT);
    assert!(matches!(decoded, Err(exchange::ExchangeError::TooLong { .. })), "{decoded:?}");
}

#[test]
fn a_guest_that_fills_its_disk_is_refused() {
    let outcome =
        run_script("dd if=/bin/busybox of=/dev/vda bs=64k; dd if=/dev/urandom of=/dev/vda bs=64k; sync", 120);
    let Err(SandboxError::Blocks(error)) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("changed more than"), "{error}");
}

#[test]
fn the_program_is_not_shared_with_the_host() {
    // The copy in the jail is another file than the host's: nothing done to it reaches the host.
    let programs = programs().unwrap();
    let before = std::fs::metadata(&programs.uml).unwrap();
    let open = File::open(Path::new(&programs.uml)).unwrap();
    assert!(open.as_raw_fd() > 0);
    let finished =
        run_script("mount -t hostfs none /m -o /\nrm -f /m/linux /m/initrd\nchmod 777 /m/linux", 120);
    assert!(finished.is_ok());
    let after = std::fs::metadata(&programs.uml).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}
