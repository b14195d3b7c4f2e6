use super::*;
use crate::guest::windows::firstboot::Ems;

fn wanted(build: u32) -> FirstBoot {
    let driver = |inf: &str| Driver { inf: inf.into(), stub: Vec::new() };
    let stub = vec![
        Remnant::Key(r"SYSTEM\DriverDatabase\DriverPackages\awsnvme.inf_amd64_0123456789abcdef".into()),
        Remnant::Value {
            key: r"SYSTEM\DriverDatabase\DeviceIds\PCI\VEN_1D0F&DEV_8061".into(),
            name: "awsnvme.inf".into(),
        },
    ];
    let mut drivers = vec![driver(r"drivers\ena\ena.inf")];
    if build < WORDY_PNPUTIL {
        drivers.insert(0, Driver { inf: r"drivers\nvme\AWSNVMe.inf".into(), stub });
    }
    let agents: &[&str] = match build {
        ..WORDY_PNPUTIL => &["EC2Install.exe", "AWSPVDriverSetup.msi", "AmazonSSMAgentSetup.exe"],
        _ => &["AmazonEC2Launch.msi", "AmazonSSMAgentSetup.exe"],
    };
    FirstBoot {
        build,
        publishers: Vec::new(),
        drivers,
        network: Vec::new(),
        agents: agents.iter().map(|file| Agent::known(&format!(r"agents\{file}")).unwrap()).collect(),
        remove: vec![crate::guest::windows::firstboot::VMWARE_TOOLS],
        disks_online: true,
        extend: Vec::new(),
        ems: Ems { loader: true, manager: build >= WORDY_PNPUTIL },
        script: None,
        may_restart: true,
    }
}

fn list(wanted: &FirstBoot) -> String {
    let files = wanted.files().unwrap();
    let list = files.iter().find(|file| file.name == "firstboot.steps").unwrap();
    String::from_utf8(list.content.clone()).unwrap().replace("\r\n", "\n")
}

#[test]
fn each_version_gets_its_steps() {
    for (name, build) in
        [("2008r2", 7601), ("2012r2", 9600), ("2016", 14_393), ("2022", 20_348), ("2025", 26_100)]
    {
        insta::assert_snapshot!(name, list(&wanted(build)));
    }
}

#[test]
fn network_and_script() {
    let mac = [2, 0, 0, 10, 11, 12];
    let addressing = Addressing::Static {
        address: "10.20.1.15/20".parse().unwrap(),
        gateway: Some(Ipv4Addr::new(10, 20, 0, 1)),
        dns: vec![Ipv4Addr::new(10, 20, 0, 2), Ipv4Addr::new(10, 20, 0, 3)],
    };
    let script = Script { language: Language::Batch, content: b"echo".to_vec(), timeout: 300 };
    let mut wanted = FirstBoot {
        build: 17_763,
        publishers: vec![r"drivers\amazon.cer".into()],
        network: vec![Nic { mac, addressing }, Nic { mac: [2; 6], addressing: Addressing::Dhcp }],
        script: Some(script),
        ..FirstBoot::default()
    };
    insta::assert_snapshot!("network", list(&wanted));
    assert_eq!(
        wanted.files().unwrap()[3],
        PlacedFile { name: "first_boot.cmd".to_owned(), content: b"echo".to_vec() }
    );
    wanted.script = Some(Script { language: Language::PowerShell, content: Vec::new(), timeout: 0 });
    let text = list(&wanted);
    assert!(text.contains(r#"-File "{here}\first_boot.ps1""#), "{text}");
    assert!(text.contains("timeout = 1\n"), "{text}");
}

#[test]
fn hostile_names_get_plain_steps() {
    let names = ["a].inf", "a_.inf", "é\u{202e}.inf", "{system} %PATH% & x.inf"];
    let mut wanted = wanted(20_348);
    wanted.drivers = names
        .iter()
        .map(|name| Driver {
            inf: format!(r"drivers\{name}"),
            stub: vec![Remnant::Key("a\"b {here}".into())],
        })
        .collect();
    let steps = wanted.steps().unwrap();
    let shown: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        shown[..4],
        ["driver a_.inf", "driver a_.inf (2)", "driver __.inf", "driver {system} %PATH% & x.inf"]
    );
    let text = list(&wanted);
    assert!(text.contains(r#""{here}\drivers\{{system} %PATH% & x.inf""#), "{text}");
    assert!(text.contains(r#""HKLM\a\"b {{here}" /f"#), "{text}");
    wanted.drivers[0].inf = r"..\windows\inf\x.inf".into();
    assert!(matches!(wanted.steps(), Err(FirstBootError::Path(_))));
    let many = Driver { inf: "x.inf".into(), stub: Vec::new() };
    wanted.drivers = vec![many; 300];
    assert!(matches!(wanted.files(), Err(FirstBootError::TooMany(_))));
}

#[test]
fn only_a_driver_that_windows_has_loses_its_stub() {
    let steps = wanted(9600).steps().unwrap();
    let stubs: Vec<&Step> = steps.iter().filter(|step| step.name.starts_with("stub")).collect();
    assert_eq!(stubs.len(), 2);
    assert!(stubs.iter().all(|step| step.when == When::Succeeded("driver AWSNVMe.inf".into())));
}

#[test]
fn what_restarts_windows_comes_last_and_once() {
    let steps = wanted(7601).steps().unwrap();
    let [.., pv, console, tidy] = steps.as_slice() else { panic!("too few") };
    assert_eq!(
        (pv.name.as_str(), pv.restarts, pv.bounds.attempts),
        ("install AWSPVDriverSetup.msi", Some("xennet"), 2)
    );
    assert_eq!(console.name, "serial console off");
    assert_eq!((tidy.name.as_str(), &tidy.when), ("tidy up", &When::AllSucceeded));
}

#[test]
fn drives_are_extended_by_diskpart() {
    let wanted = FirstBoot { build: 9600, extend: vec!['C', 'E'], ..FirstBoot::default() };
    let files = wanted.files().unwrap();
    let texts: Vec<(&str, &[u8])> = (files.iter())
        .filter(|file| file.name.ends_with(".txt"))
        .map(|file| (file.name.as_str(), &file.content[..]))
        .collect();
    assert_eq!(texts[0], ("extend_C.txt", &b"rescan\r\nselect volume C\r\nextend\r\n"[..]));
    assert_eq!(texts[1].0, "extend_E.txt");
    let list = list(&wanted);
    assert!(
        list.contains("[extend C:]\nrun = \"{system}\\diskpart.exe\" /s \"{here}\\extend_C.txt\"\n"),
        "{list}"
    );
}
