//! Each firewall that starts with the guest in turn.

use super::rules::{Opening, Place};
use super::{firewalld, iptables, nftables, suse};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::access::Surroundings;
use crate::guest::report::Finding;
use crate::guest::tree::TreeError;

/// Notes a firewall that keeps SSH out, as far as its rules can be read.
///
/// # Errors
/// When a directory cannot be listed.
pub fn inspect(
    draft: &Draft<'_>,
    ports: &[u16],
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    firewalld::inspect(draft, ports, around, findings)?;
    suse::inspect(draft, ports, findings);
    for (kind, opening) in iptables::openings(draft, ports, around) {
        report(kind, opening, findings);
    }
    for opening in iptables::openings_of_ipv6(draft, ports, around) {
        if let Opening::Closed(place) = opening {
            let finding =
                informs("firewall_ipv6", "the guest's firewall (ip6tables) keeps SSH out over IPv6")
                    .advice("Open the SSH port there too when the instance is reached by an IPv6 address.");
            findings.push(seen(finding, place));
        }
    }
    if let Some(opening) = nftables::opening(draft, ports, around)? {
        report("nftables", opening, findings);
    }
    Ok(())
}

fn seen(finding: Finding, place: Option<Place>) -> Finding {
    match place {
        Some(place) if place.line > 0 => finding.at(&place.path, place.line, &place.text),
        Some(place) => finding.seen(place.path),
        None => finding,
    }
}

/// The finding of an opening, when it is less than wide open.
pub fn report(kind: &str, opening: Opening, findings: &mut Findings) {
    match opening {
        Opening::Open => {}
        Opening::Closed(place) => {
            let finding = warns("firewall_blocks_ssh", format!("the guest's firewall ({kind}) keeps SSH out"))
                .advice(
                    "Open the SSH port in the guest and back it up again, or have user data or a first-boot script do \
                     it; until then the EC2 serial console is the way in. EC2's security groups guard the instance too.",
                );
            findings.push(seen(finding, place));
        }
        Opening::Tied(place) => {
            let finding = warns(
                "firewall_tied",
                format!("the guest's firewall ({kind}) lets SSH in only on the old machine's network card or address"),
            )
            .advice(
                "The instance's card has another name (ens5 on Nitro types), and its address is the old one only with \
                 the same private_ip. Let the rule name neither, in the guest or by user data or a first-boot script.",
            );
            findings.push(seen(finding, Some(place)));
        }
        Opening::Sources(place) => {
            let finding = informs(
                "firewall_sources",
                format!("the guest's firewall ({kind}) lets SSH in only from some addresses"),
            )
            .advice("See that the clients of the instance are among them.");
            findings.push(seen(finding, Some(place)));
        }
    }
}
