//! The environment's proxy: EC2 and KMS are asked through it, the machine's own services past it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::super::ec2::Cloud;
use super::story::{Restore, instance};
use crate::support::command::Output;

/// A forward proxy for HTTP that keeps the first line of each request; of what asks for a tunnel it
/// keeps only that.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || pass(stream.unwrap(), &kept));
        }
    });
    (url, seen)
}

/// One request, and the answer to it.
fn pass(mut client: TcpStream, kept: &Mutex<Vec<String>>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        let got = client.read(&mut buffer).unwrap_or(0);
        if got == 0 {
            return;
        }
        bytes.extend_from_slice(&buffer[..got]);
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let (line, headers) = text.split_once("\r\n").unwrap();
    kept.lock().unwrap().push(line.to_owned());
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let Some(rest) = target.strip_prefix("http://") else {
        let _ = client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let length = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap());
    while bytes.len() < head + length {
        let got = client.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..got]);
    }
    let mut server = TcpStream::connect(host).unwrap();
    write!(server, "{method} /{path} HTTP/1.1\r\nConnection: close\r\n{headers}").unwrap();
    server.write_all(&bytes[head..]).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let _ = client.write_all(&answer);
}

fn command(restore: &Restore, variables: &[(&str, &str)]) -> Command {
    let mut command = restore.command(&["plan"]);
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.envs(variables.iter().copied());
    command
}

#[test]
fn ec2_and_kms_are_asked_through_it_and_the_machine_directly() {
    let body = instance("web", "  disk \"root\" { kms_key_id = \"alias/on\" }");
    // On Xen the metadata service says which machine this is.
    let restore = Restore::on_xen(json!({ "keys": { "alias/on": {} } }), "", &body);
    restore.workspace.raw_image("web.raw", 4, 1);
    let (url, seen) = proxy();
    Output::of(command(&restore, &[("HTTP_PROXY", &url)])).success();
    let lines = seen.lock().unwrap().clone();
    let asked = restore.cloud.all_calls().len();
    assert!(asked > 5 && lines.len() >= asked, "{asked} calls: {lines:?}");
    let wanted = format!("POST {}/", Cloud::url());
    assert!(lines.iter().all(|line| line.starts_with(&wanted)), "{lines:?}");
    assert!(restore.cloud.all_calls().iter().any(|call| call["action"] == "DescribeKey"));
    // Whom the variables except is asked directly.
    Output::of(command(&restore, &[("http_proxy", &url), ("no_proxy", "127.0.0.1")])).success();
    assert_eq!(seen.lock().unwrap().len(), lines.len());
}

#[test]
fn what_is_encrypted_goes_through_a_tunnel() {
    let restore = Restore::new(json!({}), "", "");
    let blocks = restore.cloud.blocks("").replace(Cloud::url(), "https://ec2.example.invalid");
    restore
        .workspace
        .configure(&(blocks.replace("region =", "max_attempts = 1\n  region =") + &instance("web", "")));
    restore.workspace.raw_image("web.raw", 4, 1);
    let (url, seen) = proxy();
    Output::of(command(&restore, &[("HTTPS_PROXY", &url)])).code(1);
    let lines = seen.lock().unwrap().clone();
    assert!(!lines.is_empty(), "nothing asked the proxy");
    assert!(lines.iter().all(|line| line.starts_with("CONNECT ec2.example.invalid:443 ")), "{lines:?}");
}
