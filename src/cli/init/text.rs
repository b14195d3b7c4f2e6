//! The configuration's text.

use std::fmt::Write as _;

use super::command::ProviderArgument;
use super::machine::{Disk, Guest, Machine};
use crate::guest::report::{Finding, FindingSeverity, GuestFacts};
use crate::model::{Bytes, Firmware};
use crate::ui::human::text::harmless;
use crate::ui::human::value::quoted;

const HEAD: &str = "\
# Written by `replant init` from what the backups say. Change what should be otherwise, then:
#
#     replant validate
#     replant plan

replant {
  required_version = \">= 0.1\"
}

";

const LOCAL: &str = "\
# A cloud in this directory that keeps EC2's rules, to rehearse the restore in. For EC2 itself, put
# provider \"aws\" here, or begin with `replant init --provider aws`.
provider \"local\" {
  directory = \".replant/cloud\"
}

";

const AWS: &str = "\
# Fill in: what is null is left to EC2 and the environment.
variable \"region\" {
  type        = string
  default     = null
  description = \"The region; null is that of the environment, the profile or the instance.\"
}

variable \"subnet_id\" {
  type        = string
  default     = null
  description = \"The subnet of the restored machines, in the access node's zone; null is EC2's default.\"
}

variable \"security_group_ids\" {
  type        = list(string)
  default     = null
  description = \"Their security groups; null is the default group.\"
}

provider \"aws\" {
  region = var.region
}

# The EC2 instance that the volumes are attached to while they are written. Apply runs on it, plans
# anywhere: then its id stands here. Without EC2: replant plan --rehearse
access_node \"dr\" {
  instance_id = \"self\"
}

";

/// The configuration; its lines are not aligned yet.
#[must_use]
pub fn configuration(machines: &[Machine], provider: ProviderArgument) -> String {
    let mut text = HEAD.to_owned();
    text.push_str(match provider {
        ProviderArgument::Local => LOCAL,
        ProviderArgument::Aws => AWS,
    });
    let instances: Vec<String> = machines.iter().map(|machine| instance(machine, provider)).collect();
    text + &instances.join("\n")
}

/// What was written, for the user.
#[must_use]
pub fn said(machines: &[Machine], file: &str) -> String {
    let mut text = format!("{file} is written:\n\n");
    for machine in machines {
        let size: u64 = machine.disks.iter().map(gib).sum();
        let disks = if machine.disks.len() == 1 { "disk" } else { "disks" };
        let _infallible = writeln!(
            text,
            "  instance.{}: {}; {} {disks}, {size} GiB; {}",
            machine.name,
            system(&machine.guest),
            machine.disks.len(),
            machine.instance_type.name
        );
        for line in notes(&machine.guest) {
            let _infallible = writeln!(text, "    {line}");
        }
    }
    text + "\nLook at it, then see what a restore would do:\n\n    replant validate\n    replant plan\n"
}

fn one_line(text: &str) -> String {
    harmless(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn gib(disk: &Disk) -> u64 {
    Bytes(disk.size).gib_rounded_up().max(1)
}

fn system(guest: &Guest) -> String {
    match guest {
        Guest::Known(facts, _) => one_line(&facts.product),
        Guest::Unknown => "no operating system that Replant knows".to_owned(),
        Guest::Unseen(_) => "a guest that could not be looked at".to_owned(),
    }
}

/// What a person should know of a guest before the first plan says it.
fn notes(guest: &Guest) -> Vec<String> {
    match guest {
        Guest::Known(_, findings) => {
            let stands = |finding: &&Finding| match finding.severity {
                FindingSeverity::Blocks => finding.remedy.is_none(),
                FindingSeverity::Warns => true,
                FindingSeverity::Informs => false,
            };
            findings.iter().filter(stands).flat_map(finding).collect()
        }
        Guest::Unknown => vec!["Its disks are restored as they are, and nothing is prepared.".to_owned()],
        Guest::Unseen(diagnostic) => {
            vec![one_line(&format!("{}: {}", diagnostic.summary, diagnostic.detail))]
        }
    }
}

fn finding(finding: &Finding) -> Vec<String> {
    let word = if finding.severity == FindingSeverity::Blocks { "In the way" } else { "Note" };
    let mut lines = vec![one_line(&format!("{word} ({}): {}", finding.code, finding.summary))];
    lines.extend(finding.advice.iter().map(|advice| one_line(advice)));
    lines
}

fn instance(machine: &Machine, provider: ProviderArgument) -> String {
    let mut text = String::new();
    for line in about(machine) {
        let _infallible = writeln!(text, "# {line}");
    }
    let _infallible = writeln!(text, "instance {} {{", quoted(&machine.name));
    // One image for the machine, or one for each disk.
    let whole = match machine.images.as_slice() {
        [one] => Some(one),
        _ => None,
    };
    if let Some(image) = whole {
        let _infallible = writeln!(text, "  image = {}", quoted(&image.to_string()));
        if machine.disks.iter().any(|disk| disk.is_raw) {
            text.push_str("  image_format = \"raw\"\n");
        }
    }
    let facts = &machine.instance_type;
    let _infallible = writeln!(
        text,
        "  instance_type = {} # {} processors, {} of memory",
        quoted(&facts.name),
        facts.vcpus,
        Bytes(facts.memory << 20)
    );
    if provider == ProviderArgument::Aws {
        text.push_str("  subnet_id = var.subnet_id\n  security_group_ids = var.security_group_ids\n");
    }
    for (index, disk) in machine.disks.iter().enumerate() {
        let _infallible = writeln!(text, "\n  disk {} {{", quoted(&disk.name));
        if whole.is_none()
            && let Some(image) = machine.images.get(index)
        {
            let _infallible = writeln!(text, "    image = {}", quoted(&image.to_string()));
            if disk.is_raw {
                text.push_str("    format = \"raw\"\n");
            }
        }
        let kind = if disk.has_content { "the image's disk has" } else { "empty, said to have" };
        let _infallible = writeln!(
            text,
            "    type = \"gp3\"\n    size = {} # GiB; {kind} {}\n  }}",
            gib(disk),
            Bytes(disk.size)
        );
    }
    text.push_str(&guest(&machine.guest));
    let _infallible = writeln!(text, "\n  tags = {{\n    Name = {}\n  }}\n}}", quoted(&machine.name));
    text
}

/// The comment before an instance.
fn about(machine: &Machine) -> Vec<String> {
    let mut first = system(&machine.guest);
    if let Guest::Known(facts, _) = &machine.guest {
        first.push_str(&details(facts));
    }
    let mut lines = vec![first];
    if let Some((vcpus, memory)) = machine.hardware {
        let vcpus = vcpus.map(|vcpus| format!("{vcpus} processors"));
        let memory = memory.map(|mib| format!("{} of memory", Bytes(mib.saturating_mul(1 << 20))));
        let both: Vec<String> = vcpus.into_iter().chain(memory).collect();
        if !both.is_empty() {
            lines.push(format!("Its appliance says: {}.", both.join(", ")));
        }
    }
    lines.extend(notes(&machine.guest));
    lines
}

fn details(facts: &GuestFacts) -> String {
    let firmware = match facts.firmware {
        Firmware::Bios => "BIOS",
        Firmware::Uefi => "UEFI",
    };
    let mut text = format!(", {firmware}");
    if let Some(hostname) = &facts.hostname {
        text.push_str(&format!(", host name {}", one_line(hostname)));
    }
    text
}

fn guest(guest: &Guest) -> String {
    match guest {
        Guest::Known(facts, _) => {
            let mut text = "\n  guest {\n".to_owned();
            for (interface, address) in &facts.static_addresses {
                let _infallible = writeln!(
                    text,
                    "    # {} had {}; with \"keep\" the instance takes it, where its subnet has it.",
                    one_line(interface),
                    one_line(address)
                );
            }
            text + "    network = \"dhcp\"\n  }\n"
        }
        // Nothing can be prepared in it.
        Guest::Unknown => "\n  guest {\n    drivers = \"none\"\n  }\n".to_owned(),
        Guest::Unseen(_) => String::new(),
    }
}
