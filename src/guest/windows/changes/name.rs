//! The computer's name.

use crate::guest::findings::{Findings, blocks, informs};
use crate::guest::windows::hive::{Data, Hive, HiveEdit, HiveError};
use crate::guest::windows::look::Look;
use crate::guest::windows::registry::Planned;

/// Most characters of a NetBIOS name (Microsoft, "Naming conventions in Active Directory").
const MOST: usize = 15;
const PURPOSE: &str = "the host name that you want";

/// Why a name cannot be a computer's.
fn mistake(name: &str) -> Option<String> {
    if name.contains('.') {
        return Some(
            "a computer's name in Windows has no dots; its DNS suffix is another setting".to_owned(),
        );
    }
    let length = name.chars().count();
    if length > MOST {
        return Some(format!("it has {length} characters, and a computer's name in Windows at most {MOST}"));
    }
    let digits = name.chars().all(|c| c.is_ascii_digit());
    digits.then(|| "a computer's name in Windows is not of digits alone".to_owned())
}

/// The edits of SYSTEM that give the computer a name.
///
/// # Errors
/// When the hive is damaged where it is read.
pub fn edits(
    system: &Hive<'_>,
    look: &Look,
    name: &str,
    findings: &mut Findings,
) -> Result<Vec<Planned>, HiveError> {
    let control = format!("{}\\Control\\ComputerName", look.set);
    let parameters = format!("{}\\Services\\Tcpip\\Parameters", look.set);
    let text = |key: &str, value: &str| -> Result<Option<String>, HiveError> {
        let value = match system.key(key)? {
            Some(key) => key.value(value)?,
            None => None,
        };
        Ok(value.and_then(|value| value.text()))
    };
    let is_so = text(&format!("{control}\\ComputerName"), "ComputerName")?
        .is_some_and(|now| now.eq_ignore_ascii_case(name))
        && text(&parameters, "NV Hostname")?.is_some_and(|now| now.eq_ignore_ascii_case(name));
    if is_so {
        return Ok(Vec::new());
    }
    let refused = |why: String, advice: &str| {
        blocks("hostname_impossible", "the guest cannot get the host name that you want")
            .seen(why)
            .advice(advice)
    };
    if let Some(why) = mistake(name) {
        findings.push(refused(
            format!("{name}: {why}"),
            "Write a name of at most 15 letters, digits and `-`, as in hostname = \"WEB-DRILL\".",
        ));
        return Ok(Vec::new());
    }
    // A controller names its domain as its DNS suffix too.
    let is_controller = look.product_type.eq_ignore_ascii_case("LanmanNT");
    if is_controller || look.domain.is_some() {
        let of = look.domain.as_deref().unwrap_or("its own");
        let what = if is_controller { "a controller" } else { "a member" };
        findings.push(refused(
            format!("it is {what} of the domain {of}, which knows it by its name"),
            "Its account in the domain has the old name: renamed from outside it would be locked out of the domain. Leave `hostname` out, and rename it when it is up and reaches a controller:\nRename-Computer -NewName NAME -DomainCredential DOMAIN\\USER -Restart",
        ));
        return Ok(Vec::new());
    }
    let set = |key: &str, value: &str, data: String| Planned {
        edit: HiveEdit::Set { key: key.to_owned(), name: value.to_owned(), data: Data::Text(data) },
        purpose: PURPOSE,
    };
    let mut edits = vec![set(&format!("{control}\\ComputerName"), "ComputerName", name.to_ascii_uppercase())];
    // A key of the running system, which a copy of it may hold; Windows makes it anew at each start.
    let active = format!("{control}\\ActiveComputerName");
    if system.key(&active)?.is_some() {
        edits.push(set(&active, "ComputerName", name.to_ascii_uppercase()));
    }
    for value in ["Hostname", "NV Hostname"] {
        edits.push(set(&parameters, value, name.to_owned()));
    }
    findings.push(
        informs("hostname", "Windows gets another name: what was set up with the old one may know only that")
            .seen(format!("{} becomes {name}", look.hostname.as_deref().unwrap_or("a computer without a name")))
            .remedy("the name is set; services that stored the old one (SQL Server, clusters, certificates) are not looked at"),
    );
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_computers() {
        for name in ["WEB-DRILL", "a", "web01", "123a", "ABCDEFGHIJKLMNO"] {
            assert_eq!(mistake(name), None, "{name}");
        }
        for name in ["web.example.com", "ABCDEFGHIJKLMNOP", "12345"] {
            assert!(mistake(name).is_some(), "{name}");
        }
    }
}
