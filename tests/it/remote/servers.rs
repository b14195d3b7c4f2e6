//! Servers of other people: nginx for files of a directory, moto for S3.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A server that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// nginx, serving a directory: `/` with ranges, `/whole/` without, `/denied/` to nobody, `/moved/`
/// by a redirection.
pub struct Web {
    pub port: u16,
    root: tempfile::TempDir,
    _server: Running,
}

impl Web {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let files = root.path().join("files");
        fs::create_dir(&files).unwrap();
        for _ in 0..5 {
            // Another process may take the port between; then nginx ends at once.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let at = root.path().display();
            let configuration = format!(
                "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/errors;
                 events {{ worker_connections 256; }}
                 http {{
                   access_log {at}/requests; client_body_temp_path {at}/t1; proxy_temp_path {at}/t2;
                   fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;
                   server {{
                     listen 127.0.0.1:{port}; root {at}/files;
                     location /whole/ {{ alias {at}/files/; max_ranges 0; }}
                     location /denied/ {{ return 403; }}
                     location ~ ^/moved/(.*)$ {{ return 302 /$1; }}
                   }}
                 }}"
            );
            let path = root.path().join("nginx.conf");
            fs::write(&path, configuration).unwrap();
            let mut child = Command::new("nginx")
                .args(["-c", path.to_str().unwrap(), "-p", root.path().to_str().unwrap()])
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx (Debian: nginx-light)");
            std::thread::sleep(Duration::from_millis(50));
            if child.try_wait().unwrap().is_none() {
                wait_for(port);
                return Self { port, root, _server: Running(child) };
            }
        }
        panic!("nginx does not start");
    }

    /// The directory that is served.
    pub fn files(&self) -> PathBuf {
        self.root.path().join("files")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// The requests so far, a line each.
    pub fn requests(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.path().join("requests")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// The port of a moto server that all tests share.
pub fn moto() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        // A child with a death signal dies with the thread that started it: not a test's.
        std::thread::spawn(move || {
            let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/moto_server");
            let mut child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", program.to_str().unwrap(), "-H", "127.0.0.1", "-p", "0"])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("moto (tests/python makes it)");
            // Its log is read to the end, so that it never waits for a reader.
            for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
                let port =
                    line.split_once("http://127.0.0.1:").and_then(|(_, port)| port.trim().parse().ok());
                if let Some(port) = port {
                    // Whoever waited has it from the first line that says it.
                    let _ = send.send(port);
                }
            }
            child.wait()
        });
        let port = receive.recv().expect("moto says its port");
        wait_for(port);
        port
    })
}

/// What `replant` and `curl` need to speak to moto.
pub fn moto_environment() -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL_S3", format!("http://127.0.0.1:{}", moto())),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "tester".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "tests-own-secret".to_owned()),
    ]
}

/// Asks moto for a change; gives the answer's headers.
pub fn put(path: &str, file: Option<&Path>, body: &str) -> String {
    let url = format!("http://127.0.0.1:{}/{path}", moto());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--include", "--globoff", "-X", "PUT"]);
    command.args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "tester:tests-own-secret"]);
    match file {
        Some(file) => command.args(["--upload-file", file.to_str().unwrap()]),
        None => command.args(["--header", "Content-Type: application/xml", "--data-binary", body]),
    };
    let output = command.arg(url).output().unwrap();
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
