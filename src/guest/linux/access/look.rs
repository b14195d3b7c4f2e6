//! Everything between a client and a shell, in order.

use std::collections::BTreeMap;

use super::{firewall, login, ssh};
use crate::guest::draft::Draft;
use crate::guest::findings::Findings;
use crate::guest::tree::TreeError;
use crate::model::{Hypervisor, NetworkPolicy};

/// What the restored guest's network will be like.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Interface → `address/prefix` of its old static addresses.
    pub addresses: &'a BTreeMap<String, String>,
    /// Whether it keeps its address.
    pub policy: NetworkPolicy,
    /// Whether its card is called `eth0`.
    pub plain_names: bool,
    /// What the instance runs on.
    pub hypervisor: Hypervisor,
}

impl Surroundings<'_> {
    /// Whether a rule for this interface (a trailing `+` or `*` stands for anything) is one for
    /// the instance's first card.
    #[must_use]
    pub fn is_card(&self, interface: &str) -> bool {
        let names: &[&str] = match self.hypervisor {
            _ if self.plain_names => &["eth0"],
            Hypervisor::Nitro => &["ens5"],
            Hypervisor::Xen => &["enX0", "eth0"],
        };
        match interface.strip_suffix(['+', '*']) {
            Some(start) => names.iter().any(|name| name.starts_with(start)),
            None => names.contains(&interface),
        }
    }

    /// Whether the guest will still have this address (a prefix length behind it is no matter).
    #[must_use]
    pub fn keeps(&self, address: &str) -> bool {
        let bare = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        self.policy == NetworkPolicy::Keep
            && self.addresses.values().any(|known| bare(known) == bare(address))
    }
}

/// Looks at everything between a client and a shell.
///
/// # Errors
/// When a directory cannot be listed.
pub fn inspect(
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    let server = ssh::inspect(draft, around, findings)?;
    if server.runs {
        firewall::inspect(draft, &server.ports, around, findings)?;
    }
    login::inspect(draft, &server.settings, findings);
    Ok(())
}
