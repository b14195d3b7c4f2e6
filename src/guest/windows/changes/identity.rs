//! `identity = "new"`.

use crate::guest::findings::{Findings, blocks};
use crate::model::IdentityPolicy;

/// Says that nobody gives Windows another identity from outside: its SID stands in its accounts, its
/// services' secrets and every file's access, and only Sysprep, run inside, knows all the places.
pub fn look(policy: IdentityPolicy, findings: &mut Findings) {
    if policy == IdentityPolicy::Keep {
        return;
    }
    findings.push(
        blocks("identity_impossible", "Windows gets another identity only by Sysprep, which must run in it")
            .seen("guest { identity = \"new\" }")
            .advice(
                "Leave `identity` out: a machine that takes the place of the old one keeps its identity, and a drill beside it stays in a network of its own. For a machine that lives on beside the old one, let `first_boot` run this, which takes away all that is particular to the machine:\nC:\\Windows\\System32\\Sysprep\\sysprep.exe /generalize /oobe /reboot /quiet",
            ),
    );
}
