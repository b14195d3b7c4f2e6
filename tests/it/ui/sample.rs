//! Plans to render.

use std::collections::BTreeMap;
use std::path::Path;

use replant::diagnostic::Diagnostic;
use replant::guest::report::{FileChange, FileDiff, Finding, FindingSeverity, GuestFacts, KernelFacts};
use replant::model::{Address, Architecture, Digest, Firmware, InstanceAddress};
use replant::plan::{
    AccessNodePlan, Action, AttributeChange, Binding, Change, GuestPlan, Mode, Node, OutputChange, Plan,
    Prediction, Reason, Shown, Step, Summary, Wave, WritePlan,
};
use replant::state::ImageFacts;
use serde_json::json;

pub fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub fn set(path: &str, value: serde_json::Value) -> AttributeChange {
    changed(path, None, Some(Shown::Value(value)))
}

pub fn changed(path: &str, before: Option<Shown>, after: Option<Shown>) -> AttributeChange {
    AttributeChange { path: path.to_owned(), before, after, forces_replacement: false }
}

pub fn value(value: serde_json::Value) -> Option<Shown> {
    Some(Shown::Value(value))
}

fn image() -> ImageFacts {
    ImageFacts {
        path: Path::new("backups/web.ova").into(),
        member: Some("web-disk1.vmdk".to_owned()),
        snapshot: None,
        format: "streamOptimized VMDK".to_owned(),
        size: 40 << 30,
        identity: Digest::of(b"image"),
    }
}

pub fn empty(mode: Mode) -> Plan {
    Plan {
        version: replant::plan::VERSION,
        replant_version: "0.1.0".to_owned(),
        mode,
        binding: Binding {
            configuration: Digest::of(b"configuration"),
            lineage: None,
            serial: 0,
            resources: Digest::of(b""),
            images: vec![],
            components: vec![],
        },
        provider: "local".to_owned(),
        access_node: AccessNodePlan {
            instance_id: "i-00000000000000001".to_owned(),
            zone: "local-1a".to_owned(),
            slots: 21,
        },
        data: BTreeMap::new(),
        changes: vec![],
        guests: BTreeMap::new(),
        nodes: vec![],
        waves: vec![],
        outputs: BTreeMap::new(),
        notes: vec![],
        prediction: None,
        summary: Summary::default(),
    }
}

pub fn change(text: &str, action: Action, reasons: Vec<Reason>, attributes: Vec<AttributeChange>) -> Change {
    Change { address: address(text), action, reasons, attributes, unchanged: 0, notes: vec![] }
}

pub fn guest() -> GuestPlan {
    GuestPlan {
        facts: Some(GuestFacts {
            family: "linux".to_owned(),
            distribution: "debian".to_owned(),
            version: "12".to_owned(),
            product: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            architecture: Architecture::X86_64,
            firmware: Firmware::Bios,
            boots_either_firmware: false,
            hostname: Some("web".to_owned()),
            kernels: vec![KernelFacts {
                release: "6.1.0-28-amd64".to_owned(),
                image: "/boot/vmlinuz-6.1.0-28-amd64".to_owned(),
                initramfs: None,
                drivers: BTreeMap::new(),
                ena_version: None,
            }],
            root_filesystem: "ext4".to_owned(),
            static_addresses: BTreeMap::new(),
            default_interface: None,
            details: vec![],
        }),
        findings: vec![
            Finding {
                code: "guest::no_nvme".to_owned(),
                severity: FindingSeverity::Blocks,
                summary: "the initramfs has no NVMe driver".to_owned(),
                evidence: vec!["/boot/initrd.img-6.1.0-28-amd64".to_owned()],
                remedy: Some("nvme and what it needs are appended to the initramfs".to_owned()),
                advice: None,
            },
            Finding {
                code: "guest::vmware_tools".to_owned(),
                severity: FindingSeverity::Informs,
                summary: "open-vm-tools are installed".to_owned(),
                evidence: vec![],
                remedy: None,
                advice: Some("remove them when the restore is final".to_owned()),
            },
        ],
        recipe: Some(Digest::of(b"recipe")),
        edits: vec![
            ("/boot/initrd.img-6.1.0-28-amd64".to_owned(), "append nvme and 4 dependencies".to_owned()),
            ("/etc/fstab".to_owned(), "mount by UUID".to_owned()),
        ],
        diffs: vec![
            FileDiff {
                path: "/boot/initrd.img-6.1.0-28-amd64".to_owned(),
                change: FileChange::Binary {
                    old_length: Some(30 << 20),
                    new_length: Some(31 << 20),
                    lines: vec![
                        "+ usr/lib/modules/6.1.0-28-amd64/kernel/drivers/nvme/host/nvme.ko (180 KiB)"
                            .to_owned(),
                    ],
                },
            },
            FileDiff {
                path: "/etc/fstab".to_owned(),
                change: FileChange::Text {
                    old: Some(
                        "# one\n# two\n# three\n# four\n/dev/sda1 / ext4 defaults 0 1\n# five\n# six"
                            .to_owned(),
                    ),
                    new: Some(
                        "# one\n# two\n# three\n# four\nUUID=0b0f / ext4 defaults 0 1\n# five\n# six"
                            .to_owned(),
                    ),
                },
            },
            FileDiff {
                path: "/etc/udev/rules.d/70-persistent-net.rules".to_owned(),
                change: FileChange::Renamed {
                    to: "/etc/udev/rules.d/70-persistent-net.rules.replant".to_owned(),
                },
            },
        ],
        overlay_bytes: 3 << 20,
    }
}

/// A first restore.
pub fn restore() -> Plan {
    let mut plan = empty(Mode::Restore);
    plan.changes = vec![
        change(
            "instance.web.volume.root",
            Action::Create,
            vec![Reason::New],
            vec![
                set("size", json!(40)),
                set("volume_type", json!("gp3")),
                set("tags.Name", json!("web")),
                set("tags.the role", json!("shop \"1\"")),
                changed("id", None, Some(Shown::Unknown)),
            ],
        ),
        change(
            "instance.web",
            Action::Create,
            vec![Reason::New],
            vec![
                set("instance_type", json!("m6i.large")),
                set("security_group_ids", json!(["sg-1", "sg-2"])),
                changed("user_data", None, Some(Shown::Sensitive)),
                changed("private_ip", None, Some(Shown::Unknown)),
            ],
        ),
    ];
    plan.guests.insert(InstanceAddress::new("web"), guest());
    plan.nodes = vec![Node {
        address: address("instance.web.write.root"),
        step: Step::Write(Box::new(WritePlan {
            image: image(),
            data_bytes: 5 << 30,
            zero_bytes: 35 << 30,
            volume_size: 40 << 30,
            is_update: false,
        })),
        needs: vec![],
    }];
    plan.waves = vec![Wave { volumes: vec![(address("instance.web.volume.root"), "xvdf".to_owned())] }];
    plan.outputs = BTreeMap::from([
        ("web_ip".to_owned(), OutputChange { before: None, after: Some(Shown::Unknown) }),
        ("same".to_owned(), OutputChange { before: value(json!(1)), after: value(json!(1)) }),
    ]);
    plan.prediction =
        Some(Prediction { seconds: 12.4, slowest_link: "decompressing the image, 412 MiB/s".to_owned() });
    plan.notes = vec![
        Diagnostic::warning("plan::no_qemu", "nothing can be started here")
            .detail("There is no qemu-system-x86_64 on this machine.")
            .help("install it:\napt-get install qemu-system-x86"),
    ];
    plan.summary =
        Summary { restores: 1, volumes: 1, data_bytes: 5 << 30, zero_bytes: 35 << 30, ..Summary::default() };
    plan
}

/// Everything that can happen to what exists.
pub fn changes() -> Plan {
    let mut plan = empty(Mode::Restore);
    let mut grown = change(
        "instance.web.volume.root",
        Action::Update,
        vec![
            Reason::AttributesChanged,
            Reason::ChangedOutside { what: "throughput: 125, was 250".to_owned() },
        ],
        vec![
            changed("size", value(json!(40)), value(json!(80))),
            changed("tags.Name", value(json!("web")), value(json!("shop"))),
            changed("tags.old", value(json!("x")), None),
            changed("tags.new", None, value(json!("y"))),
        ],
    );
    grown.unchanged = 3;
    let mut replaced = change(
        "instance.db[\"eu\"].volume.root",
        Action::Replace,
        vec![Reason::CannotChangeInPlace { attribute: "zone".to_owned() }],
        vec![AttributeChange {
            path: "zone".to_owned(),
            before: value(json!("local-1a")),
            after: value(json!("local-1b")),
            forces_replacement: true,
        }],
    );
    replaced.unchanged = 1;
    replaced.notes = vec![
        "the instance has run since 2026-11-01; what it wrote since then is lost. A final snapshot is taken first."
            .to_owned(),
    ];
    let mut gone = change(
        "instance.old",
        Action::Delete,
        vec![Reason::NotConfigured],
        vec![changed("id", value(json!("i-00000000000000009")), None)],
    );
    gone.unchanged = 12;
    let mut noted = change("instance.app", Action::NoOp, vec![], vec![]);
    noted.notes = vec!["its image is a newer one; --replace=instance.app restores it".to_owned()];
    let same = change("instance.same", Action::NoOp, vec![], vec![]);
    plan.changes = vec![grown, replaced, gone, noted, same];
    plan.nodes = restore().nodes;
    plan.outputs = BTreeMap::from([
        ("token".to_owned(), OutputChange { before: Some(Shown::Sensitive), after: None }),
        ("ip".to_owned(), OutputChange { before: value(json!("10.0.0.1")), after: Some(Shown::Unknown) }),
    ]);
    plan.summary = Summary { changes: 1, replacements: 1, destructions: 1, ..Summary::default() };
    plan
}
