//! The script that the guest runs once: it, what runs it, and what starts that.
//!
//! What runs it disarms itself before the script begins, so that a script that restarts the
//! machine, hangs or fails is not run again; nothing waits for it.

use super::service::{INITTAB, Init, JOBS, Service, TARGET, UNITS};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, informs};
use crate::guest::tree::TreeError;
use crate::model::FirstBoot;

/// The service's name.
const NAME: &str = "replant-first-boot";
/// What runs the script. Files in this directory are programs under SELinux's policies, too.
const RUNNER: &str = "/usr/local/sbin/replant-first-boot";
/// The user's script.
const SCRIPT: &str = "/usr/local/sbin/replant-first-boot.script";
/// What it says is kept here.
const LOG: &str = "/var/log/replant-first-boot.log";
/// The id of its line in an inittab: at most four characters.
const LINE: &str = "rpfb";
/// Seconds that init grants the runner beyond the script's own time.
const GRACE: u32 = 60;
const PURPOSE: &str = "run your script once at the first boot";

/// Places the script.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(
    draft: &mut Draft<'_>,
    first_boot: &FirstBoot,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    let tree = draft.tree();
    let impossible = |why: String| {
        blocks("first_boot_impossible", "your script cannot be run at the guest's first boot").seen(why)
    };
    let interpreter = interpreter(first_boot.script.bytes());
    if !tree.is_file(&interpreter) {
        findings.push(
            impossible(format!("the guest has no {interpreter}, which the script's first line names"))
                .advice("Name a program that the guest has, as `#!/bin/sh`."),
        );
        return Ok(());
    }
    let unit = unit(first_boot.timeout);
    let line = format!("{LINE}:2345:once:{RUNNER}");
    let service = Service { name: NAME, unit: &unit, job: Some(&job()), line: Some(&line), purpose: PURPOSE };
    let placed = match Init::detect(tree) {
        Some(init) => init.place(draft, &service)?,
        None => false,
    };
    if !placed {
        findings.push(
            impossible("the guest starts with neither systemd, Upstart nor System V's init".to_owned())
                .advice("Leave `first_boot` out; a `file` of yours can be what this guest's init runs."),
        );
        return Ok(());
    }
    draft.write_program(RUNNER, runner(first_boot.timeout).into_bytes(), PURPOSE)?;
    draft.write_program(SCRIPT, first_boot.script.bytes().to_vec(), "your script")?;
    findings.push(
        informs(
            "first_boot",
            "the guest runs your script once, as root, when it has started and its network is up",
        )
        .seen(format!(
            "{SCRIPT}: {} bytes, at most {} s",
            first_boot.script.bytes().len(),
            first_boot.timeout
        ))
        .remedy(format!("what it says goes to the console and to {LOG}; what runs it removes itself")),
    );
    Ok(())
}

/// The program that a script's first line names.
fn interpreter(script: &[u8]) -> String {
    let first = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(first.strip_prefix(b"#!").unwrap_or_default()).into_owned();
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The unit: beside the boot, not before its end. Units that a target wants are waited for by
/// that target unless they leave out the default dependencies.
fn unit(timeout: u32) -> String {
    format!(
        "# Replant: runs the first_boot script of this restored machine once. It removes itself.\n\
         [Unit]\n\
         Description=First boot of a restored machine\n\
         ConditionPathExists={SCRIPT}\n\
         DefaultDependencies=no\n\
         Requires=sysinit.target\n\
         Wants=network-online.target\n\
         After=sysinit.target local-fs.target network-online.target replant-host-keys.service ssh.service sshd.service\n\
         Conflicts=shutdown.target\n\
         Before=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={RUNNER}\n\
         TimeoutStartSec={}\n",
        timeout.saturating_add(GRACE)
    )
}

fn job() -> String {
    format!(
        "# Replant: runs the first_boot script of this restored machine once. It removes itself.\n\
         description \"First boot of a restored machine\"\n\
         start on stopped rc RUNLEVEL=[2345]\n\
         task\n\
         exec {RUNNER}\n"
    )
}

/// The program that runs the script. The shell has read all of a function before it runs it, so
/// that it may remove its own file.
fn runner(timeout: u32) -> String {
    format!(
        r#"#!/bin/sh
# Replant: runs the first_boot script of this restored machine once, whatever comes of it.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
script={SCRIPT}
log={LOG}

run() {{
    echo "replant: the first_boot script begins"
    if command -v timeout >/dev/null 2>&1; then
        timeout -k 10 {timeout} "$script.running"
    else
        "$script.running"
    fi
    code=$?
    if [ $code = 124 ] || [ $code = 137 ]; then
        echo "replant: the first_boot script was ended after {timeout} s"
    else
        echo "replant: the first_boot script ended with code $code"
    fi
}}

main() {{
    cd / || exit 1
    # All that could run it again goes first: the script may restart the machine.
    mv -f "$script" "$script.running" || exit 1
    rm -f {UNITS}/{NAME}.service {TARGET}/{NAME}.conf {JOBS}/{NAME}.conf "$0"
    rmdir {TARGET} 2>/dev/null
    if [ -f {INITTAB} ] && grep -q '^{LINE}:' {INITTAB}; then
        sed -i '/^{LINE}:/d' {INITTAB}
    fi
    sync
    (umask 077; : >>"$log")
    console=/dev/console
    (: >$console) 2>/dev/null || console=/dev/null
    run </dev/null 2>&1 | tee -a "$log" >$console
    rm -f "$script.running"
    exit 0
}}

[ -f "$script" ] || exit 0
main
"#
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_interpreter_is_the_first_word() {
        assert_eq!(interpreter(b"#!/bin/sh\necho\n"), "/bin/sh");
        assert_eq!(interpreter(b"#! /usr/bin/env python3\n"), "/usr/bin/env");
        assert_eq!(interpreter(b""), "");
    }

    /// The runner itself, with its paths in a directory of ours: it disarms, logs, ends what takes
    /// too long, and does nothing the second time.
    fn run(script: &str, timeout: u32) -> (String, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap().to_owned();
        for path in ["/usr/local/sbin", "/var/log", TARGET, JOBS] {
            fs::create_dir_all(format!("{root}{path}")).unwrap();
        }
        let text = runner(timeout);
        let text = [RUNNER, LOG, UNITS, JOBS]
            .iter()
            .fold(text, |text, path| text.replace(path, &format!("{root}{path}")))
            .replace("/dev/console", &format!("{root}/console"));
        let program = |path: &str, text: &str| {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        program(&format!("{root}{RUNNER}"), &text);
        program(&format!("{root}{SCRIPT}"), script);
        fs::write(format!("{root}{UNITS}/{NAME}.service"), "").unwrap();
        fs::write(format!("{root}{TARGET}/{NAME}.conf"), "").unwrap();
        fs::write(format!("{root}{INITTAB}"), format!("a:3:wait:x\n{LINE}:2345:once:{RUNNER}\nb:\n"))
            .unwrap();
        program(&format!("{root}/again"), &text);
        for runner in [format!("{root}{RUNNER}"), format!("{root}/again")] {
            assert!(Command::new("sh").arg(runner).status().unwrap().success());
        }
        assert_eq!(fs::read_to_string(format!("{root}{INITTAB}")).unwrap(), "a:3:wait:x\nb:\n");
        fs::remove_file(format!("{root}/again")).unwrap();
        let log = fs::read_to_string(format!("{root}{LOG}")).unwrap();
        assert_eq!(fs::metadata(format!("{root}{LOG}")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(format!("{root}/console")).unwrap_or_default(), log);
        let left = Command::new("find").arg(&root).args(["-type", "f"]).output().unwrap();
        let left = String::from_utf8(left.stdout).unwrap().replace(&root, "");
        (log, left.lines().map(str::to_owned).collect())
    }

    #[test]
    fn the_runner_runs_it_once_and_removes_itself() {
        let (log, mut left) = run("#!/bin/sh\necho beacon $HOME; pwd; exit 7\n", 100);
        assert_eq!(
            log,
            "replant: the first_boot script begins\nbeacon /root\n/\nreplant: the first_boot script ended with code 7\n"
        );
        left.sort();
        assert_eq!(left, ["/console", INITTAB, LOG]);
    }

    #[test]
    fn the_runner_ends_what_takes_too_long() {
        let started = std::time::Instant::now();
        let (log, _) = run("#!/bin/sh\necho begun\nsleep 60\n", 1);
        assert!(started.elapsed().as_secs() < 30);
        assert!(log.contains("begun") && log.contains("was ended after 1 s"), "{log}");
    }
}
