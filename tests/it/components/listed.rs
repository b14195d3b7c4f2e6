//! What a folder holds.

use serde_json::Value;

use super::published::{file, published, put, storage};
use crate::support::replant;

#[test]
fn a_folder_is_shown() {
    let web = published();
    let folder = web.files();
    storage(&folder.join("mine/other.zip"), "1.5.1.0", "plain.sys");
    put(&folder.join("broken.zip"), b"no archive");
    put(&folder.join("AmazonSSMAgentSetup.exe"), &file("plain.sys"));
    let path = folder.to_str().unwrap();
    let shown = replant(&folder, ["components", "list", path]).success();
    for line in [
        "AWS NVMe driver    1.8.2.1",
        "2016 to 2025, 10, 11",
        "Amazon Web Services, Inc.",
        "ec2-windows-drivers-downloads/NVMe/1.5.1/AWSNVMe.zip/AWSNVMe/nvme.inf",
        "(unsigned)",
        "files are not taken:",
        "broken.zip",
        "its program carries no signature",
        "it is no zip archive",
        "2012, 2016 to 2025, 10, 11",
    ] {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.both());
    }
    let json = replant(&folder, ["components", "list", path, "--json"]).success().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let of = |end: &str| {
        let found = json["components"].as_array().unwrap().iter();
        found.clone().find(|one| one["path"].as_str().unwrap().ends_with(end)).unwrap().clone()
    };
    let config = of("EC2Install.zip/EC2Install.exe");
    assert_eq!(config["windows"], serde_json::json!(["2008-r2", "2012", "2012-r2", "7", "8.1"]));
    assert_eq!((&config["version"], &config["signature"]), (&"3.2.1.0".into(), &"signed".into()));
    assert_eq!(of("AWSPVDriverSetup.msi")["signer"], "Amazon Web Services, Inc.");
    assert_eq!(of("other.zip/AWSNVMe/nvme.inf")["windows"], serde_json::json!([]));
    let none = replant(&folder, ["components", "list", "nowhere"]).code(1);
    assert!(none.stderr.contains("components::folder"), "{}", none.both());
    assert!(none.stderr.contains("nowhere: there is no such folder."), "{}", none.both());
    put(&folder.join("web.vmdk"), b"KDMV");
    let image = replant(&folder, ["components", "list", "web.vmdk"]).code(1);
    assert!(image.stderr.contains("web.vmdk: it is neither a folder nor a zip archive."), "{}", image.both());
    std::fs::create_dir(folder.join("empty")).unwrap();
    let empty = replant(&folder, ["components", "list", "empty"]).success();
    assert!(empty.stdout.contains("holds no component"), "{}", empty.both());
}
