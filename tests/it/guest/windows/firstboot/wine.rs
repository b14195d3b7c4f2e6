//! A Windows of Wine's, in a directory that is gone afterwards.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use replant::guest::windows::firstboot::{LAUNCHER, PROGRAM, ServiceData, service_values};
use tempfile::TempDir;

/// How long anything may take under Wine on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Wine {
    directory: TempDir,
    /// Open for writing too, so that it never ends.
    port: File,
    heard: Arc<Mutex<String>>,
    over: Arc<AtomicBool>,
    registry: String,
    session: Option<Child>,
}

/// Compiles a program for Windows.
pub fn compile(source: &Path, program: &Path) {
    let compiler = Command::new("x86_64-w64-mingw32-gcc-win32")
        .args(["-municode", "-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .arg(program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
        .args(["-lshell32", "-ladvapi32"])
        .status();
    assert!(compiler.unwrap().success());
}

/// A text in the file that Wine keeps its registry in.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

impl Wine {
    /// A fresh one, which is not running.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("com1");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let port = File::options().read(true).write(true).open(&fifo).unwrap();
        let mut wine = Self {
            directory,
            port,
            heard: Arc::default(),
            over: Arc::default(),
            registry: String::new(),
            session: None,
        };
        wine.listen();
        assert!(wine.command("wine").args(["wineboot", "--init"]).status().unwrap().success());
        wine.wait();
        wine.registry = fs::read_to_string(wine.system_hive()).unwrap();
        let machine = |text: &str| format!("\n[{text}] 1\n");
        // Wine would open the serial port of this machine.
        let ports = quoted(fifo.to_str().unwrap());
        wine.registry += &format!("{}\"COM1\"={ports}\n", machine(r"Software\\Wine\\Ports"));
        wine
    }

    fn system_hive(&self) -> PathBuf {
        self.directory.path().join("prefix/system.reg")
    }

    /// Its drive C.
    pub fn drive(&self) -> PathBuf {
        self.directory.path().join("prefix/drive_c")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("WINEPREFIX", self.directory.path().join("prefix"))
            .env("HOME", self.directory.path())
            .env("WINEDEBUG", "-all")
            .env("WINEDLLOVERRIDES", "mscoree=;mshtml=;winemenubuilder.exe=")
            .env_remove("DISPLAY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn server(&self, flag: &str) {
        let known = ["/usr/bin/wineserver", "/usr/lib/wine/wineserver"];
        let server = known.iter().find(|path| Path::new(path).exists()).unwrap();
        let _ = self.command(server).arg(flag).status();
    }

    fn wait(&self) {
        self.server("-w");
    }

    /// Registers the service offline in a directory of its own, with its list and its state.
    pub fn service(&mut self, name: &str, list: &[u8], state: &[u8]) {
        let directory = self.drive().join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("firstboot.exe"), LAUNCHER).unwrap();
        fs::write(directory.join("firstboot.steps"), list).unwrap();
        fs::write(directory.join("firstboot.state"), state).unwrap();
        fs::copy(self.drive().join("step.exe"), directory.join("step.exe")).unwrap();
        let _ = write!(self.registry, "\n[System\\\\CurrentControlSet\\\\Services\\\\{name}] 1\n");
        for value in service_values('C', PROGRAM) {
            let data = match &value.data {
                ServiceData::Number(number) => format!("dword:{number:08x}"),
                ServiceData::Text(text) => quoted(text),
                ServiceData::Expand(text) => {
                    format!("str(2):{}", quoted(&text.replace(r"\Replant\", &format!(r"\{name}\"))))
                }
            };
            let _ = writeln!(self.registry, "\"{}\"={data}", value.name);
        }
    }

    /// Has a program in the list of what Windows Installer installed.
    pub fn product(&mut self, code: &str, name: &str) {
        let _ = write!(
            self.registry,
            "\n[Software\\\\Microsoft\\\\Windows\\\\CurrentVersion\\\\Uninstall\\\\{code}] 1\n\
             \"DisplayName\"={}\n\"UninstallString\"={}\n",
            quoted(name),
            quoted(&format!("MsiExec.exe /I{code}"))
        );
    }

    /// Starts it; its service manager starts the services.
    pub fn start(&mut self) {
        fs::write(self.system_hive(), &self.registry).unwrap();
        // Wine ends when no program but services is left.
        let session = self.command("wine").args([r"C:\step.exe", "sleep", "600"]).spawn();
        self.session = Some(session.unwrap());
    }

    /// Ends it, and returns its registry.
    pub fn stop(&mut self) -> String {
        self.server("-k");
        self.wait();
        if let Some(mut session) = self.session.take() {
            let _ = session.kill();
            let _ = session.wait();
        }
        self.registry = fs::read_to_string(self.system_hive()).unwrap();
        self.registry.clone()
    }

    /// Runs a program and returns what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command("wine").args(arguments).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A service's log, when it says what is waited for.
    pub fn wait_for(&self, service: &str, said: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let log = fs::read(self.drive().join(service).join("firstboot.log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            if said(&log) {
                return log;
            }
            assert!(began.elapsed() < PATIENCE, "{service} does not end:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes from the serial port whatever comes: what nobody takes would stop it.
    fn listen(&self) {
        let (mut port, heard, over) =
            (self.port.try_clone().unwrap(), Arc::clone(&self.heard), Arc::clone(&self.over));
        std::thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let Ok(length) = port.read(&mut bytes) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                *heard.lock().unwrap() += &String::from_utf8_lossy(&bytes[..length]);
            }
        });
    }

    /// What the serial port got, once this is in it.
    pub fn console(&self, line: &str) -> String {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) && !self.heard.lock().unwrap().contains(line) {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        self.server("-k");
        self.over.store(true, Ordering::Relaxed);
        let _ = self.port.write(b"\n");
        if let Some(mut session) = self.session.take() {
            let _ = session.kill();
            let _ = session.wait();
        }
    }
}
