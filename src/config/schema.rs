//! Which blocks there are, with which labels, attributes and blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::Block;
use super::source::{Place, Sources};
use super::suggest;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::LookupKind;
use crate::model::address::is_identifier;

/// What a kind of block may hold.
pub(super) struct Schema {
    /// The block's name; empty for a whole file.
    pub(super) kind: &'static str,
    /// What its label names, when it has one.
    label: Option<&'static str>,
    /// Names, and whether each is required; `None`: any names.
    attributes: Option<&'static [(&'static str, bool)]>,
    blocks: &'static [Schema],
    /// At most one stands in the same place.
    single: bool,
}

/// A data source: its first label is what is looked up, its second its name.
const DATA: &str = "data";

/// A file in a guest: its label is a path, which decoding checks.
const GUEST_FILE: &str = "file";

const DISK: Schema = Schema {
    kind: "disk",
    label: Some("a name, as in disk \"root\" { … }"),
    attributes: Some(&[
        ("image", false),
        ("format", false),
        ("snapshot", false),
        ("empty", false),
        ("type", false),
        ("size", false),
        ("grow", false),
        ("iops", false),
        ("throughput", false),
        ("restore_iops", false),
        ("restore_throughput", false),
        ("encrypted", false),
        ("kms_key_id", false),
        ("delete_on_termination", false),
        ("final_snapshot", false),
        ("tags", false),
    ]),
    blocks: &[],
    single: false,
};

const INSTANCE: Schema = Schema {
    kind: "instance",
    label: Some("a name, as in instance \"web\" { … }"),
    attributes: Some(&[
        ("image", false),
        ("image_format", false),
        ("image_snapshot", false),
        ("instance_type", true),
        ("subnet_id", false),
        ("private_ip", false),
        ("security_group_ids", false),
        ("key_name", false),
        ("iam_instance_profile", false),
        ("user_data", false),
        ("termination_protection", false),
        ("disable_api_stop", false),
        ("monitoring", false),
        ("state", false),
        ("tags", false),
        ("for_each", false),
        ("depends_on", false),
    ]),
    blocks: &[
        DISK,
        Schema {
            kind: "network_interface",
            label: None,
            attributes: Some(&[
                ("device_index", true),
                ("network_interface_id", false),
                ("subnet_id", false),
                ("private_ip", false),
                ("security_group_ids", false),
                ("delete_on_termination", false),
                ("description", false),
            ]),
            blocks: &[],
            single: false,
        },
        Schema {
            kind: "placement",
            label: None,
            attributes: Some(&[
                ("tenancy", false),
                ("host_id", false),
                ("group_name", false),
                ("partition_number", false),
                ("affinity", false),
            ]),
            blocks: &[],
            single: true,
        },
        Schema {
            kind: "metadata_options",
            label: None,
            attributes: Some(&[
                ("http_tokens", false),
                ("http_endpoint", false),
                ("http_put_response_hop_limit", false),
                ("instance_metadata_tags", false),
            ]),
            blocks: &[],
            single: true,
        },
        Schema {
            kind: "credit_specification",
            label: None,
            attributes: Some(&[("cpu_credits", true)]),
            blocks: &[],
            single: true,
        },
        Schema {
            kind: "guest",
            label: None,
            attributes: Some(&[
                ("network", false),
                ("drivers", false),
                ("accept", false),
                ("identity", false),
                ("hostname", false),
            ]),
            blocks: &[
                Schema {
                    kind: GUEST_FILE,
                    label: Some("a path in the guest, as in file \"/etc/motd\" { … }"),
                    attributes: Some(&[
                        ("content", false),
                        ("source", false),
                        ("mode", false),
                        ("owner", false),
                        ("group", false),
                    ]),
                    blocks: &[],
                    single: false,
                },
                Schema {
                    kind: "first_boot",
                    label: None,
                    attributes: Some(&[("script", true), ("timeout", false)]),
                    blocks: &[],
                    single: true,
                },
                Schema {
                    kind: "windows",
                    label: None,
                    attributes: Some(&[("components", false)]),
                    blocks: &[],
                    single: true,
                },
            ],
            single: true,
        },
        Schema {
            kind: "launch",
            label: None,
            attributes: Some(&[
                ("method", false),
                ("base_ami", false),
                ("boot_mode", false),
                ("platform", false),
                ("console_pattern", false),
                ("boot_timeout", false),
            ]),
            blocks: &[],
            single: true,
        },
        Schema {
            kind: "lifecycle",
            label: None,
            attributes: Some(&[("prevent_destroy", false), ("replace_on_image_change", false)]),
            blocks: &[],
            single: true,
        },
    ],
    single: false,
};

const FILTER: Schema = Schema {
    kind: "filter",
    label: None,
    attributes: Some(&[("name", true), ("values", true)]),
    blocks: &[],
    single: false,
};

/// What a data source's block holds, by its kind.
fn data(kind: LookupKind) -> Schema {
    let attributes: &'static [(&'static str, bool)] = match kind {
        LookupKind::Subnet => &[
            ("id", false),
            ("vpc_id", false),
            ("availability_zone", false),
            ("cidr_block", false),
            ("default_for_az", false),
            ("tags", false),
            ("for_each", false),
        ],
        LookupKind::SecurityGroup => {
            &[("id", false), ("name", false), ("vpc_id", false), ("tags", false), ("for_each", false)]
        }
        LookupKind::NetworkInterface => &[("id", false), ("tags", false), ("for_each", false)],
        LookupKind::Ami => &[
            ("id", false),
            ("owners", false),
            ("most_recent", false),
            ("name_regex", false),
            ("tags", false),
            ("for_each", false),
        ],
        LookupKind::KmsKey => &[("key_id", true), ("for_each", false)],
    };
    let blocks: &'static [Schema] = if kind == LookupKind::KmsKey { &[] } else { &[FILTER] };
    Schema { kind: DATA, label: None, attributes: Some(attributes), blocks, single: false }
}

const ASSUME_ROLE: Schema = Schema {
    kind: "assume_role",
    label: None,
    attributes: Some(&[("role_arn", true), ("external_id", false), ("session_name", false)]),
    blocks: &[],
    single: true,
};

/// A configuration file.
pub(super) static FILE: Schema = Schema {
    kind: "",
    label: None,
    attributes: Some(&[]),
    blocks: &[
        Schema {
            kind: "replant",
            label: None,
            attributes: Some(&[("required_version", false)]),
            blocks: &[],
            single: true,
        },
        // What it holds depends on its label, see [`PROVIDER_LOCAL`] and [`PROVIDER_AWS`].
        Schema {
            kind: "provider",
            label: Some("a kind, as in provider \"local\" { … }"),
            attributes: None,
            blocks: &[ASSUME_ROLE],
            single: true,
        },
        Schema {
            kind: "access_node",
            label: Some("a name, as in access_node \"dr\" { … }"),
            attributes: Some(&[("instance_id", false), ("max_attachments", false)]),
            blocks: &[],
            single: true,
        },
        INSTANCE,
        // What it holds depends on its first label, see [`data`].
        Schema {
            kind: DATA,
            label: Some("a kind and a name, as in data \"subnet\" \"app\" { … }"),
            attributes: None,
            blocks: &[FILTER],
            single: false,
        },
        Schema {
            kind: "variable",
            label: Some("a name, as in variable \"subnet_id\" { … }"),
            attributes: Some(&[
                ("type", false),
                ("default", false),
                ("description", false),
                ("sensitive", false),
                ("nullable", false),
            ]),
            blocks: &[Schema {
                kind: "validation",
                label: None,
                attributes: Some(&[("condition", true), ("error_message", true)]),
                blocks: &[],
                single: false,
            }],
            single: false,
        },
        Schema { kind: "locals", label: None, attributes: None, blocks: &[], single: false },
        Schema {
            kind: "output",
            label: Some("a name, as in output \"ip\" { … }"),
            attributes: Some(&[("value", true), ("description", false), ("sensitive", false)]),
            blocks: &[],
            single: false,
        },
    ],
    single: true,
};

/// `provider "local"`.
pub(super) static PROVIDER_LOCAL: Schema = Schema {
    kind: "provider",
    label: Some("a kind, as in provider \"local\" { … }"),
    attributes: Some(&[
        ("directory", false),
        ("zone", false),
        ("memory", false),
        ("accelerator", false),
        ("boot_timeout", false),
    ]),
    blocks: &[],
    single: true,
};

/// `provider "aws"`.
pub(super) static PROVIDER_AWS: Schema = Schema {
    kind: "provider",
    label: Some("a kind, as in provider \"aws\" { … }"),
    attributes: Some(&[
        ("region", false),
        ("profile", false),
        ("endpoint_url", false),
        ("default_tags", false),
        ("max_attempts", false),
        ("boot_timeout", false),
        ("device_directory", false),
        ("sysfs_directory", false),
        ("udev_directory", false),
    ]),
    blocks: &[ASSUME_ROLE],
    single: true,
};

/// Where credentials come from, for those who look for their attributes.
const CREDENTIALS: &str = "credentials stand in no configuration: they come from the environment, a profile, or the instance's role";

/// Words of Terraform's that have another place here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("resource", "machines are declared with instance \"NAME\" { … }"),
    ("terraform", "the block is called `replant` here"),
    ("module", "there are no modules; all *.replant.hcl files of a directory are one configuration"),
    ("local", "the block is called `locals`"),
    ("count", "use `for_each`: a position is no identity"),
    ("ami", "the machine comes from its `image`; the stub's AMI is launch { base_ami = … }"),
    ("volume", "a volume is declared by its disk: disk \"NAME\" { … }"),
    ("access_key", CREDENTIALS),
    ("secret_key", CREDENTIALS),
    ("token", CREDENTIALS),
    ("max_retries", "the attribute is called `max_attempts` here, and counts the first attempt"),
];

/// Checks a block against its schema, and everything in it.
pub(super) fn check(block: &Block, schema: &Schema, sources: &Sources, diagnostics: &mut Diagnostics) {
    let at =
        |place: Place, code: &str, summary: &str| Diagnostic::error(code, summary).at(sources.span(place));
    if schema.kind == DATA {
        check_data(block, sources, diagnostics);
        return;
    }
    match (schema.label, block.labels.as_slice()) {
        (None, []) => {}
        (Some(_), [label]) => {
            if schema.kind != GUEST_FILE && !is_identifier(&label.text) {
                diagnostics.push(
                    at(label.place, "config::invalid_name", "a name has characters that names do not have")
                        .detail(format!("`{}` cannot stand in an address.", label.text))
                        .help("begin with a letter or `_`, and go on with letters, digits, `_` and `-`"),
                );
            }
        }
        (None, [label, ..]) => diagnostics.push(
            at(label.place, "config::label_count", "a block has the wrong number of labels")
                .detail(format!("`{}` has no label.", block.kind))
                .help(format!("write `{} {{ … }}`", block.kind)),
        ),
        (Some(what), labels) => diagnostics.push(
            at(block.place, "config::label_count", "a block has the wrong number of labels")
                .detail(format!("`{}` has one label, and this block has {}.", block.kind, labels.len()))
                .help(format!("give it {what}")),
        ),
    }
    check_body(block, schema, sources, diagnostics);
}

/// Checks a data source's block.
fn check_data(block: &Block, sources: &Sources, diagnostics: &mut Diagnostics) {
    let at =
        |place: Place, code: &str, summary: &str| Diagnostic::error(code, summary).at(sources.span(place));
    let [kind, name] = block.labels.as_slice() else {
        diagnostics.push(
            at(block.place, "config::label_count", "a block has the wrong number of labels")
                .detail(format!("`data` has two labels, and this block has {}.", block.labels.len()))
                .help("give it a kind and a name, as in data \"subnet\" \"app\" { … }"),
        );
        return;
    };
    if !is_identifier(&name.text) {
        diagnostics.push(
            at(name.place, "config::invalid_name", "a name has characters that names do not have")
                .detail(format!("`{}` cannot stand in an address.", name.text))
                .help("begin with a letter or `_`, and go on with letters, digits, `_` and `-`"),
        );
    }
    let Some(known) = LookupKind::named(&kind.text) else {
        let mut error = at(kind.place, "config::unknown_data_source", "there is no such data source")
            .detail(format!("Nothing of the kind `{}` can be looked up.", kind.text));
        let plain = kind.text.strip_prefix("aws_").unwrap_or(&kind.text);
        error.help.extend(suggest::help(plain, LookupKind::ALL.map(LookupKind::as_str)));
        diagnostics.push(error);
        return;
    };
    check_body(block, &data(known), sources, diagnostics);
}

/// Checks what a block holds.
pub(super) fn check_body(block: &Block, schema: &Schema, sources: &Sources, diagnostics: &mut Diagnostics) {
    let at =
        |place: Place, code: &str, summary: &str| Diagnostic::error(code, summary).at(sources.span(place));
    let what = if schema.kind.is_empty() {
        "a file".to_owned()
    } else {
        format!("{} `{}` block", suggest::article(schema.kind), schema.kind)
    };
    let block_names = || schema.blocks.iter().map(|known| known.kind);
    if let Some(known) = schema.attributes {
        for attribute in &block.attributes {
            if known.iter().any(|(name, _)| *name == &*attribute.name) {
                continue;
            }
            let mut error = at(attribute.place, "config::unknown_attribute", "there is no such attribute")
                .detail(format!("There is no attribute `{}` in {what}.", attribute.name));
            if block_names().any(|name| name == &*attribute.name) {
                error = error.help(format!("it is a block: write `{} {{ … }}` without `=`", attribute.name));
            } else if let Some((_, help)) = ELSEWHERE.iter().find(|(word, _)| *word == &*attribute.name) {
                error = error.help(*help);
            } else if known.is_empty() {
                error =
                    error.help("attributes stand inside blocks; a value for reuse stands in `locals { … }`");
            } else {
                error.help.extend(suggest::help(&attribute.name, known.iter().map(|(name, _)| *name)));
            }
            diagnostics.push(error);
        }
        for (name, required) in known {
            if *required && block.attribute(name).is_none() {
                diagnostics.push(
                    at(block.place, "config::missing_attribute", "a required attribute is missing")
                        .detail(format!("The `{}` block has no `{name}`.", block.kind))
                        .help(format!("add `{name} = …`")),
                );
            }
        }
    }
    let mut seen: BTreeMap<(&str, String), &Block> = BTreeMap::new();
    for inner in &block.blocks {
        let Some(known) = schema.blocks.iter().find(|known| known.kind == &*inner.kind) else {
            let mut error = at(inner.place, "config::unknown_block", "there is no such block")
                .detail(format!("There is no block `{}` in {what}.", inner.kind));
            let is_attribute = schema.attributes.into_iter().flatten().any(|(name, _)| *name == &*inner.kind);
            if is_attribute {
                error = error.help(format!("it is an attribute: write `{} = …`", inner.kind));
            } else if let Some((_, help)) = ELSEWHERE.iter().find(|(word, _)| *word == &*inner.kind) {
                error = error.help(*help);
            } else if let Some(help) = suggest::help(&inner.kind, block_names()) {
                error = error.help(help);
            } else {
                error = error.help("this block holds no other blocks");
            }
            diagnostics.push(error);
            continue;
        };
        check(inner, known, sources, diagnostics);
        let named = known.label.is_some() && !known.single;
        if !(named || known.single) {
            continue;
        }
        let labels: Vec<&str> = inner.labels.iter().map(|label| &*label.text).collect();
        let key = (known.kind, if named { labels.join(".") } else { String::new() });
        if let Some(first) = seen.get(&key) {
            let before = sources.span(first.place).map(|span| span.to_string()).unwrap_or_default();
            let (summary, detail, help) = if named {
                (
                    "a name is used twice",
                    format!("The {} `{}` stands already at {before}.", known.kind, labels.join(".")),
                    "give one of them another name",
                )
            } else {
                (
                    "a block stands twice",
                    format!("A block `{}` stands already at {before}.", known.kind),
                    "merge the two blocks",
                )
            };
            diagnostics.push(at(inner.place, "config::duplicate", summary).detail(detail).help(help));
        } else {
            seen.insert(key, inner);
        }
    }
    if schema.kind.is_empty() {
        check_locals(block, sources, diagnostics);
    }
}

/// Local values have one name space over all blocks and files.
fn check_locals(file: &Block, sources: &Sources, diagnostics: &mut Diagnostics) {
    let mut seen: BTreeMap<&Arc<str>, Place> = BTreeMap::new();
    for attribute in file.blocks("locals").flat_map(|locals| &locals.attributes) {
        if let Some(first) = seen.insert(&attribute.name, attribute.place) {
            let before = sources.span(first).map(|span| span.to_string()).unwrap_or_default();
            diagnostics.push(
                Diagnostic::error("config::duplicate", "a name is used twice")
                    .at(sources.span(attribute.place))
                    .detail(format!("The local value `{}` stands already at {before}.", attribute.name))
                    .help("give one of them another name"),
            );
        }
    }
}
