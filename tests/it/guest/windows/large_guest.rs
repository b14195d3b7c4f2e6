//! A registry as large as any, within the sandbox's memory and time.

use std::process::Command;
use std::time::Instant;

use super::kit::{self, run};
use super::large::large;
use super::trees::{self, guest};
use crate::support::replant;

/// SYSTEM of 194 MB with 300,000 keys. The sandbox has 512 MiB and ends by itself after 180 s; figures are
/// the benchmark's.
#[test]
fn a_registry_of_200_mb_is_prepared() {
    let guest = guest("2019");
    let directory = tempfile::tempdir().unwrap();
    let (c, boot) = (directory.path().join("c"), directory.path().join("s"));
    let system = kit::merged(&large(300_000, 500), "SYSTEM", &trees::system(&guest));
    assert!(system.len() > 190_000_000, "{}", system.len());
    trees::windows(&c, &system, &kit::hive("SOFTWARE", &trees::software(&guest)));
    trees::boot(&boot, "bios", &kit::hive("BCD00000000", &trees::bcd()));
    drop(system);
    let disk = kit::larger_disk("bios", &c, &boot, 1 << 20);
    let began = Instant::now();
    let prepared = replant(disk.directory.path(), ["prepare", "disk.raw", "--write", "out.raw"]).success();
    println!("prepared in {:.1} s", began.elapsed().as_secs_f64());
    assert!(prepared.stdout.contains("RealTimeIsUniversal"), "{}", prepared.stdout);
    // The other half is what `ntfscat` and hivex make of it.
    let value = run(Command::new("bash").current_dir(disk.directory.path()).args([
        "-euc",
        "loop=$(losetup --find --show --read-only --offset $((26624 * 512)) --sizelimit $(((1 << 20) * 512)) out.raw)
trap 'losetup -d $loop' EXIT
ntfscat $loop WINDOWS/System32/config/SYSTEM >system
hivexget system 'ControlSet001\\Control\\TimeZoneInformation' RealTimeIsUniversal",
    ]));
    assert_eq!(value.trim(), "1");
    let again = replant(disk.directory.path(), ["prepare", "out.raw"]).success();
    assert!(!again.stdout.contains("RealTimeIsUniversal"), "{}", again.stdout);
}
