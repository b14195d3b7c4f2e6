//! Whether Remote Desktop lets anybody in: its settings, its service, and the Windows firewall's
//! profiles and rules, each with the policies that go before them.
//!
//! Rules are texts of fields (`v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|…`; [MS-GPFAS]
//! 2.2.2.19). A field that is not there limits nothing.

use super::hive::{Hive, HiveError};
use super::services::{DISABLED, service};

/// The port that Remote Desktop listens on when nobody chose another.
pub const RDP: u32 = 3389;
/// Most rules that are looked at; a server has some hundred.
const MOST_RULES: usize = 20_000;
/// Policies of the firewall, in SOFTWARE.
const POLICY: &str = "Policies\\Microsoft\\WindowsFirewall";
/// Fields that let in only some: addresses of either side, ports of the other, network cards, users,
/// computers, and those that speak IPsec.
const LIMITS: [&str; 14] = [
    "RA4",
    "RA42",
    "RA6",
    "RA62",
    "LA4",
    "LA6",
    "RPort",
    "RPort2_10",
    "IF",
    "IFType",
    "Security",
    "RUAuth",
    "RMAuth",
    "LUAuth",
];

/// A kind of network, as the firewall tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// One in which a controller of the computer's domain answers.
    Domain,
    /// One that somebody called private.
    Private,
    /// Every other one: what a new network card comes up in.
    Public,
}

impl Profile {
    const ALL: [Self; 3] = [Self::Domain, Self::Private, Self::Public];

    /// Its name, as people and rules write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Private => "private",
            Self::Public => "public",
        }
    }

    /// Its keys: of the settings, and of the policies, the one that counts first.
    fn keys(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Domain => ("DomainProfile", &["DomainProfile"]),
            Self::Private => ("StandardProfile", &["PrivateProfile", "StandardProfile"]),
            Self::Public => ("PublicProfile", &["PublicProfile"]),
        }
    }
}

/// How a guest is reached by Remote Desktop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// What keeps everybody out, whatever the firewall says: settings and services.
    pub closed: Vec<String>,
    /// The TCP port it listens on.
    pub port: u32,
    /// The profiles whose firewall is on.
    pub firewall: Vec<Profile>,
    /// Those of them that let it in from everywhere.
    pub permitted: Vec<Profile>,
    /// Rules that let it in, but not everybody.
    pub limited: Vec<String>,
}

impl Remote {
    /// Whether it is let in on a kind of network.
    #[must_use]
    pub fn is_open(&self, profile: Profile) -> bool {
        !self.firewall.contains(&profile) || self.permitted.contains(&profile)
    }

    /// What both hives say.
    ///
    /// # Errors
    /// When a hive is damaged where it is read.
    pub fn read(system: &Hive<'_>, software: &Hive<'_>, set: &str) -> Result<Self, HiveError> {
        let server = format!("{set}\\Control\\Terminal Server");
        let listener = format!("{server}\\WinStations\\RDP-Tcp");
        let mut remote = Self {
            port: number(system, &listener, "PortNumber")?.filter(|port| *port != 0).unwrap_or(RDP),
            ..Self::default()
        };
        remote.closed = closed(system, software, set, &server, &listener)?;
        let local = format!("{set}\\Services\\SharedAccess\\Parameters\\FirewallPolicy");
        let rules = |hive, path: &str| -> Result<Vec<Rule>, HiveError> {
            Ok(texts(hive, path)?.iter().filter_map(|text| Rule::read(text, remote.port)).collect())
        };
        let own = rules(system, &format!("{local}\\FirewallRules"))?;
        let policies = rules(software, &format!("{POLICY}\\FirewallRules"))?;
        for profile in Profile::ALL {
            let (key, policy_keys) = profile.keys();
            let policy = |name: &str| -> Result<Option<u32>, HiveError> {
                for key in policy_keys {
                    if let Some(set) = number(software, &format!("{POLICY}\\{key}"), name)? {
                        return Ok(Some(set));
                    }
                }
                Ok(None)
            };
            let setting = |name: &str| -> Result<Option<u32>, HiveError> {
                Ok(policy(name)?.or(number(system, &format!("{local}\\{key}"), name)?))
            };
            if setting("EnableFirewall")? == Some(0) {
                continue;
            }
            remote.firewall.push(profile);
            // "Block all incoming connections", the rules included.
            if setting("DoNotAllowExceptions")?.is_some_and(|set| set != 0) {
                continue;
            }
            // A policy can leave the computer's own rules out.
            let own = if policy("AllowLocalPolicyMerge")? == Some(0) { &[][..] } else { &own };
            let on = || own.iter().chain(&policies).filter(|rule| rule.profiles.contains(&profile));
            let allows = |rule: &Rule| rule.allows && rule.limits.is_empty();
            let exception = exception(software, policy_keys)? && remote.port == RDP;
            let by_default = setting("DefaultInboundAction")? == Some(0);
            let is_blocked = on().any(|rule| !rule.allows && rule.limits.is_empty());
            if (by_default || exception || on().any(allows)) && !is_blocked {
                remote.permitted.push(profile);
            }
            for rule in on().filter(|rule| rule.allows && !rule.limits.is_empty()) {
                let text = format!("{}: only {}", profile.name(), rule.limits.join(", "));
                if !remote.limited.contains(&text) && remote.limited.len() < 8 {
                    remote.limited.push(text);
                }
            }
        }
        Ok(remote)
    }
}

/// What keeps everybody out.
fn closed(
    system: &Hive<'_>,
    software: &Hive<'_>,
    set: &str,
    server: &str,
    listener: &str,
) -> Result<Vec<String>, HiveError> {
    const POLICY: &str = "Policies\\Microsoft\\Windows NT\\Terminal Services";
    let mut closed = Vec::new();
    match number(software, POLICY, "fDenyTSConnections")? {
        Some(0) => {}
        Some(_) => {
            closed.push(format!("a policy denies it: SOFTWARE\\{POLICY}\\fDenyTSConnections is not 0"))
        }
        None if number(system, server, "fDenyTSConnections")? != Some(0) => {
            closed.push("Control\\Terminal Server\\fDenyTSConnections is not 0".to_owned());
        }
        None => {}
    }
    if number(system, listener, "fEnableWinStation")? == Some(0) {
        closed.push("WinStations\\RDP-Tcp\\fEnableWinStation is 0".to_owned());
    }
    if service(system, set, "TermService")?.is_some_and(|service| service.start == DISABLED) {
        closed.push("its service is disabled: Services\\TermService\\Start is 4".to_owned());
    }
    Ok(closed)
}

/// The exception for Remote Desktop of the older policies, for everybody.
fn exception(software: &Hive<'_>, keys: &[&str]) -> Result<bool, HiveError> {
    for key in keys {
        let path = format!("{POLICY}\\{key}\\Services\\RemoteDesktop");
        let Some(found) = software.key(&path)? else { continue };
        let everybody = found.value("RemoteAddresses")?.and_then(|value| value.text());
        let is_on = number(software, &path, "Enabled")? == Some(1);
        if is_on && everybody.is_some_and(|text| text.trim() == "*") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An active rule about what comes in over Remote Desktop's port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    allows: bool,
    profiles: Vec<Profile>,
    /// The fields that let in only some.
    limits: Vec<String>,
}

impl Rule {
    /// `None` for one about something else.
    fn read(text: &str, port: u32) -> Option<Self> {
        let fields: Vec<(&str, &str)> = text.split('|').filter_map(|field| field.split_once('=')).collect();
        let all = |name: &'static str| {
            fields
                .iter()
                .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        };
        let is = |name, value: &str| all(name).any(|own| own.eq_ignore_ascii_case(value));
        if !is("Active", "TRUE") || !is("Dir", "In") {
            return None;
        }
        let allows = is("Action", "Allow");
        if !allows && !is("Action", "Block") {
            return None;
        }
        // TCP, or all of them.
        if all("Protocol").any(|protocol| !matches!(protocol, "6" | "256")) {
            return None;
        }
        let ranged = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.trim().parse::<u32>().ok(), last.trim().parse::<u32>().ok());
            first.zip(last).is_some_and(|(first, last)| (first..=last).contains(&port))
        };
        let mut ports = all("LPort").chain(all("LPort2_10")).flat_map(|ports| ports.split(',')).peekable();
        if ports.peek().is_some() && !ports.any(ranged) {
            return None;
        }
        // Of one of the apps that Windows keeps in containers.
        if all("AppPkgId").chain(all("LUOwn")).next().is_some() {
            return None;
        }
        // What listens is the system, or the service in its host.
        let listens = |app: &str| {
            let app = app.to_ascii_lowercase();
            app == "system" || app.ends_with("\\svchost.exe")
        };
        if all("App").any(|app| !listens(app)) {
            return None;
        }
        if all("Svc").any(|service| service != "*" && !service.eq_ignore_ascii_case("TermService")) {
            return None;
        }
        let named: Vec<Profile> =
            Profile::ALL.into_iter().filter(|profile| is("Profile", profile.name())).collect();
        let profiles = if all("Profile").next().is_none() { Profile::ALL.to_vec() } else { named };
        let is_limit = |name: &str| LIMITS.iter().any(|limit| limit.eq_ignore_ascii_case(name));
        let limits = fields.iter().filter(|(name, value)| is_limit(name) && !value.trim().is_empty());
        let shown = |text: &str| text.chars().flat_map(char::escape_default).take(80).collect::<String>();
        let limits = limits.take(8).map(|(name, value)| format!("{name}={}", shown(value))).collect();
        Some(Self { allows, profiles, limits })
    }
}

fn number(hive: &Hive<'_>, path: &str, name: &str) -> Result<Option<u32>, HiveError> {
    let Some(key) = hive.key(path)? else { return Ok(None) };
    Ok(key.value(name)?.and_then(|value| value.number()))
}

/// The texts of a key's values.
fn texts(hive: &Hive<'_>, path: &str) -> Result<Vec<String>, HiveError> {
    let Some(key) = hive.key(path)? else { return Ok(Vec::new()) };
    let mut texts = Vec::new();
    for value in key.values()?.take(MOST_RULES) {
        texts.extend(value?.text());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(more: &str) -> Option<Rule> {
        Rule::read(&format!("v2.30|Action=Allow|Active=TRUE|Dir=In|{more}|Name=x|"), RDP)
    }

    #[test]
    fn rules_are_read_as_windows_reads_them() {
        let open = |more: &str| rule(more).map(|rule| (rule.profiles, rule.limits.len()));
        let all = Profile::ALL.to_vec();
        let service = "App=%SystemRoot%\\system32\\svchost.exe|Svc=termservice";
        assert_eq!(open(&format!("Protocol=6|LPort=3389|{service}")), Some((all.clone(), 0)));
        assert_eq!(
            open("Protocol=6|Profile=Domain|Profile=Private|LPort=3389|App=System"),
            Some((vec![Profile::Domain, Profile::Private], 0))
        );
        assert_eq!(open("Protocol=6|LPort2_10=3380-3390"), Some((all.clone(), 0)));
        assert_eq!(open("Protocol=6|LPort=80|LPort=3389"), Some((all.clone(), 0)));
        assert_eq!(open("Profile=Public"), Some((vec![Profile::Public], 0)), "everything that comes in");
        assert_eq!(open("Protocol=6|LPort=3389|RA4=LocalSubnet|RA6=LocalSubnet"), Some((all, 2)));
        for other in [
            "Protocol=17|LPort=3389",
            "Protocol=6|LPort=3390",
            "Protocol=6|LPort=RPC",
            "Protocol=6|LPort=3389|App=C:\\x.exe",
            "LUOwn=S-1-5-21-1|AppPkgId=S-1-15-2-1",
            "Protocol=6|LPort=3389|App=%SystemRoot%\\system32\\svchost.exe|Svc=winrm",
        ] {
            assert_eq!(open(other), None, "{other}");
        }
        assert_eq!(Rule::read("v2.10|Action=Allow|Active=FALSE|Dir=In|Protocol=6|LPort=3389|", RDP), None);
        assert_eq!(Rule::read("v2.10|Action=Allow|Active=TRUE|Dir=Out|Protocol=6|LPort=3389|", RDP), None);
        let blocks = Rule::read("v2.10|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=3389|", RDP).unwrap();
        assert!(!blocks.allows);
        assert!(Rule::read("||=|Active==|", RDP).is_none());
    }
}
