//! Guests whose images are on a server: the parent brokers bytes, the rest is as with files.

use super::commands::guest;
use super::{request, run};
use crate::copy::support::MIB;
use crate::remote::proxy::{Proxy, Weather};
use crate::remote::servers::Web;
use crate::support::{Output, command, replant};
use replant::model::Location;

#[test]
fn a_guest_on_a_server_is_prepared_as_one_in_a_file() {
    let web = Web::new();
    guest(&web.files());
    let mut asked = request(&[&web.files().join("guest.raw")]);
    asked.disks[0].size = 100 * MIB;
    asked.disks[0].grow = true;
    let local = run(&asked);
    asked.disks[0].image = web.url("guest.raw").parse::<Location>().unwrap();
    let remote = run(&asked);
    assert_eq!(local.report, remote.report);
    assert!(!remote.overlays[0].blocks.is_empty());
    assert_eq!(local.overlays[0].read_set, remote.overlays[0].read_set);
}

#[test]
fn formats_are_read_in_the_jail_and_a_broken_line_is_reported() {
    let web = Web::new();
    guest(&web.files());
    let at = |name: &str| web.files().join(name);
    let convert = |arguments: &[&str]| {
        crate::copy::support::run("qemu-img", &[&["convert", "-O"], arguments].concat());
    };
    let (raw, top) = (at("guest.raw"), at("guest.qcow2"));
    convert(&["qcow2", "-c", raw.to_str().unwrap(), top.to_str().unwrap()]);
    let inspect = |place: &str| {
        let said = replant(&web.files(), ["inspect", "--json", place]).stdout;
        serde_json::from_str::<serde_json::Value>(&said).unwrap()["report"].clone()
    };
    let report = inspect("guest.raw");
    assert!(report.is_object());
    assert_eq!(inspect(&web.url("guest.qcow2")), report);
    let proxy = Proxy::new(web.port, Weather::Dies { bytes: 5 << 20 });
    let place = format!("http://127.0.0.1:{}/guest.raw", proxy.port);
    let mut command = command::command(&web.files(), ["inspect", place.as_str()]);
    command.env("REPLANT_STALL_SECONDS", "1");
    let failed = Output::of(command).code(1);
    assert!(
        failed.stderr.contains("image::unreachable") && failed.stderr.contains(&place),
        "{}",
        failed.both()
    );
}
