//! The `instance` block.

use super::attributes::{Decoder, Sink};
use super::options::{Primary, options};
use crate::config::ast::Block;
use crate::config::expression::{Evaluator, Scope};
use crate::config::limits;
use crate::config::load::InstanceBlock;
use crate::model::{
    BootMode, DesiredState, DiskSpec, GuestSpec, InstanceAddress, InstanceSpec, LaunchMethod, LaunchSpec,
    LifecycleSpec,
};

/// Decodes one instance; `None` only when too little of it is right to go on.
pub(in crate::config) fn instance(
    evaluator: &Evaluator<'_>,
    declared: &InstanceBlock,
    address: InstanceAddress,
    scope: &Scope<'_>,
    sink: &mut Sink,
) -> InstanceSpec {
    let block = &declared.block;
    let mut decoder = Decoder { evaluator, scope, block, prefix: String::new(), sink };
    let image = decoder.image("image_format", "image_snapshot").map(|(image, _)| image);
    let instance_type = decoder.instance_type().unwrap_or_default();
    let own = decoder.primary();
    let key_name = decoder.late_string("key_name").map(|(name, _)| name);
    let iam_instance_profile = decoder.late_string("iam_instance_profile").map(|(name, _)| name);
    let user_data = decoder.late_string("user_data").map(|(text, _)| text);
    let termination_protection = decoder.bool("termination_protection").unwrap_or(false);
    let states = [DesiredState::Running, DesiredState::Stopped, DesiredState::Standby];
    let state = decoder.word("state", &states.map(|state| (state.as_str(), state))).unwrap_or_default();
    let tags = decoder.tags();
    limits::tags(&mut decoder, &tags);
    limits::user_data(&mut decoder, user_data.as_deref());
    let (options, primary) = options(evaluator, block, scope, sink, &instance_type);
    let Primary { subnet_id, private_ip, security_group_ids } = primary.unwrap_or(own);
    let mut decoder = Decoder { evaluator, scope, block, prefix: String::new(), sink };
    let has_image = block.attribute("image").is_some();
    if !has_image && block.blocks("disk").next().is_none() {
        decoder.error(
            block.place,
            "config::missing_image",
            "an instance has no image",
            &format!("`{}` has neither an `image` nor a `disk` block.", InstanceAddress::new(block.label())),
            "add `image = \"backup.ova\"`, or disk \"root\" { image = \"…\" }",
        );
    }
    let mut disks: Vec<DiskSpec> = Vec::new();
    for inner in block.blocks("disk") {
        let prefix = format!("disk.{}.", inner.label());
        let mut decoder = Decoder { evaluator, scope, block: inner, prefix, sink };
        let disk = decoder.disk(disks.is_empty(), has_image);
        limits::tags(&mut decoder, &disk.tags);
        disks.push(disk);
    }
    let mut inner = |kind: &str, decode: &mut dyn FnMut(&mut Decoder<'_, '_>)| {
        if let Some(found) = first(block, kind) {
            let prefix = format!("{kind}.");
            decode(&mut Decoder { evaluator, scope, block: found, prefix, sink });
        }
    };
    let mut guest = GuestSpec::default();
    inner("guest", &mut |decoder| guest = decoder.guest());
    let mut launch = LaunchSpec::default();
    inner("launch", &mut |decoder| launch = decoder.launch());
    let mut lifecycle = LifecycleSpec::default();
    inner("lifecycle", &mut |decoder| {
        lifecycle.prevent_destroy = decoder.bool("prevent_destroy").unwrap_or(false);
        lifecycle.replace_on_image_change = decoder.bool("replace_on_image_change").unwrap_or(false);
    });
    InstanceSpec {
        address,
        image,
        disks,
        instance_type,
        subnet_id,
        private_ip,
        security_group_ids,
        key_name,
        iam_instance_profile,
        user_data,
        termination_protection,
        options,
        state,
        guest,
        launch,
        tags,
        depends_on: std::collections::BTreeSet::new(),
        lifecycle,
        unknown: std::mem::take(&mut sink.unknown),
        sensitive: std::mem::take(&mut sink.sensitive),
        spans: declared.spans.clone(),
    }
}

fn first<'a>(block: &'a Block, kind: &str) -> Option<&'a Block> {
    block.blocks.iter().find(|inner| &*inner.kind == kind)
}

impl Decoder<'_, '_> {
    fn instance_type(&mut self) -> Option<String> {
        self.block.attribute("instance_type")?;
        let before = self.sink.diagnostics.len();
        let Some((text, place)) = self.string("instance_type") else {
            let is_unread = self.sink.unknown.contains("instance_type");
            if !is_unread && self.sink.diagnostics.len() == before && self.evaluates("instance_type") {
                self.error(
                    self.block.place,
                    "config::missing_attribute",
                    "a required attribute is missing",
                    "`instance_type` is null.",
                    "give it a value: instance_type = \"m6i.large\"",
                );
            }
            return None;
        };
        let valid = text.split_once('.').is_some_and(|(family, size)| {
            let word = |text: &str| {
                !text.is_empty()
                    && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            word(family) && family.starts_with(|c: char| c.is_ascii_lowercase()) && word(size)
        });
        if !valid {
            self.error(
                place,
                "config::invalid_instance_type",
                "an instance type is not written correctly",
                "An instance type is a family, a dot and a size, in lower case.",
                "write it as in \"m6i.large\"",
            );
        }
        Some(text)
    }

    /// Whether an attribute has a value, if only null.
    fn evaluates(&self, name: &str) -> bool {
        self.block
            .attribute(name)
            .is_some_and(|attribute| self.evaluator.attribute_value(&attribute.expr, self.scope).is_ok())
    }

    fn launch(&mut self) -> LaunchSpec {
        let methods = [("swap", LaunchMethod::Swap), ("image", LaunchMethod::Image)];
        let modes = [BootMode::LegacyBios, BootMode::Uefi].map(|mode| (mode.as_str(), mode));
        let method = self.word("method", &methods).unwrap_or_default();
        let base_ami = self.string("base_ami").map(|(ami, place)| {
            let digits = ami.strip_prefix("ami-");
            if !digits.is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.chars().all(|c| c.is_ascii_hexdigit())) {
                self.error(
                    place,
                    "config::invalid_id",
                    "an id is not written correctly",
                    "An AMI's id is `ami-` and 8 or 17 hexadecimal digits.",
                    "copy it from EC2, or leave it out: one is chosen by architecture, boot mode and platform",
                );
            }
            ami
        });
        let boot_mode = self.word("boot_mode", &modes);
        let platform = self.word("platform", &[("linux", "linux"), ("windows", "windows")]);
        if let (Some(_), Some(_), Some((_, place))) = (platform, &base_ami, self.string("platform")) {
            self.error(
                place,
                "config::platform_of_ami",
                "a launch names an AMI and a platform",
                "EC2 takes an instance's platform from its AMI, so that the one of `base_ami` decides it.",
                "leave one of them out: with `platform` a fitting AMI is chosen",
            );
        }
        let console_pattern = self.string("console_pattern").map(|(pattern, place)| {
            self.check_pattern("console_pattern", &pattern, place);
            pattern
        });
        let boot_timeout = self.whole("boot_timeout", 1, 86_400, " seconds");
        let platform = platform.map(str::to_owned);
        LaunchSpec { method, base_ami, boot_mode, platform, console_pattern, boot_timeout }
    }
}
