//! A Windows guest in a report's words.

use std::collections::BTreeMap;

use crate::guest::disk::layout::Layout;
use crate::guest::report::GuestFacts;
use crate::guest::windows::look::Look;
use crate::guest::windows::services::{BOOT, DISABLED, Service};
use crate::model::{Architecture, Bytes, Firmware};

/// Drivers of disks and network on EC2, in the order that a person looks for them.
const DRIVERS: [&str; 9] =
    ["stornvme", "AWSNVMe", "ena", "xenbus", "xenvbd", "xennet", "atapi", "intelide", "pciide"];

/// How a driver is started, as Windows' own tools say it (`sc qc`).
fn start(driver: &Service) -> String {
    let word = |start: u32| match start {
        BOOT => "boot".to_owned(),
        1 => "system".to_owned(),
        2 => "automatic".to_owned(),
        3 => "on demand".to_owned(),
        DISABLED => "disabled".to_owned(),
        other => format!("start type {other}"),
    };
    match driver.overridden {
        Some(overridden) if overridden != driver.start => {
            format!("{}, overridden by {}", word(driver.start), word(overridden))
        }
        _ => word(driver.start),
    }
}

fn drives(look: &Look, layout: &Layout) -> Option<String> {
    let drives: Vec<String> = (look.letters.iter())
        .filter_map(|letter| Some(format!("{}: on {}", letter.letter, letter.place(layout)?)))
        .collect();
    (!drives.is_empty()).then(|| drives.join(", "))
}

/// What a report says of a guest with so many bytes free on C:.
#[must_use]
pub fn facts(look: Look, firmware: Firmware, free: u64, layout: &Layout) -> GuestFacts {
    let architecture = match look.processor.to_ascii_uppercase().as_str() {
        "X86" => Architecture::I386,
        "ARM64" => Architecture::Arm64,
        _ => Architecture::X86_64,
    };
    let role = match look.product_type.to_ascii_lowercase().as_str() {
        "lanmannt" => "domain controller",
        "winnt" => "desktop",
        _ => "server",
    };
    let membership = look.domain.as_ref().map(|domain| format!(" of the domain {domain}"));
    let drivers: Vec<String> = (DRIVERS.iter())
        .filter_map(|name| Some(format!("{name} {}", start(look.drivers.get(name)?))))
        .collect();
    let profiles: Vec<&str> = look.remote.firewall.iter().map(|profile| profile.name()).collect();
    let firewall = if profiles.is_empty() { "off".to_owned() } else { profiles.join(", ") };
    let none = || "none".to_owned();
    let mut details = vec![
        ("edition".to_owned(), look.edition.clone()),
        ("role".to_owned(), format!("{role}{}", membership.unwrap_or_default())),
        ("registry".to_owned(), look.set.clone()),
        ("drivers".to_owned(), if drivers.is_empty() { none() } else { drivers.join("; ") }),
        ("RDP".to_owned(), if look.remote.closed.is_empty() { "on" } else { "off" }.to_owned()),
        ("firewall".to_owned(), firewall),
    ];
    details.extend(drives(&look, layout).map(|drives| ("drives".to_owned(), drives)));
    let page_files = if look.page_files.is_empty() { none() } else { look.page_files.join(", ") };
    details.push(("paging".to_owned(), page_files));
    details.push(("free".to_owned(), format!("{} on C:", Bytes(free))));
    let static_addresses: BTreeMap<String, String> = (look.cards.iter())
        .filter_map(|card| Some((card.name.clone(), card.addresses.first()?.clone())))
        .collect();
    let default_interface =
        look.cards.iter().find(|card| !card.gateways.is_empty()).map(|card| card.name.clone());
    GuestFacts {
        family: "windows".to_owned(),
        distribution: "windows".to_owned(),
        version: look.version.to_string(),
        product: look.product,
        architecture,
        firmware,
        boots_either_firmware: false,
        hostname: look.hostname,
        kernels: Vec::new(),
        root_filesystem: "ntfs".to_owned(),
        static_addresses,
        default_interface,
        details,
    }
}
