//! Remote Desktop: what the registry says of who gets in, after hives that hivexregedit makes.

use replant::guest::windows::hive::Hive;
use replant::guest::windows::look::look;
use replant::guest::windows::remote::{Profile, Remote};

use super::kit::hive;
use super::trees::{self, guest};

const SET: &str = "HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001";
const POLICIES: &str = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft";

fn remote(system: &str, software: &str) -> Remote {
    let of = guest("2019");
    let system = hive("SYSTEM", &format!("{}{system}", trees::system(&of)));
    let software = hive("SOFTWARE", &format!("{}{software}", trees::software(&of)));
    look(&Hive::read(&system).unwrap(), &Hive::read(&software).unwrap()).unwrap().unwrap().remote
}

/// The own rules of a guest: all that was there is taken away.
fn rules(rules: &[&str]) -> String {
    let key = format!("{SET}\\Services\\SharedAccess\\Parameters\\FirewallPolicy\\FirewallRules");
    let mut text = format!("[-{key}]\n\n[{key}]\n");
    for (index, rule) in rules.iter().enumerate() {
        text.push_str(&format!("\"{index}\"=\"{}\"\n", rule.replace('\\', "\\\\")));
    }
    text + "\n"
}

const ALL: [Profile; 3] = [Profile::Domain, Profile::Private, Profile::Public];

#[test]
fn rules_let_in_where_they_say_so() {
    let open = |own: &[&str], software: &str| {
        let remote = remote(&rules(own), software);
        let open = ALL.into_iter().filter(|profile| remote.is_open(*profile));
        open.map(Profile::name).collect::<Vec<_>>().join(" ")
    };
    const RULE: &str = "v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|App=System";
    assert_eq!(open(&[], ""), "");
    assert_eq!(open(&[RULE], ""), "domain private public");
    // As a Windows 7 has them: one rule for each kind of network.
    let here = format!("{RULE}|Profile=Domain|Profile=Private|Name=x|");
    let there = format!("{}|Profile=Public|Name=x|", RULE.replace("TRUE", "FALSE"));
    assert_eq!(open(&[&here, &there], ""), "domain private");
    let near = format!("{RULE}|RA4=LocalSubnet|Name=x|");
    assert_eq!(open(&[&near], ""), "");
    assert_eq!(remote(&rules(&[&near]), "").limited[2], "public: only RA4=LocalSubnet");
    // One that keeps out goes before all that let in.
    let block = RULE.replace("Allow", "Block");
    assert_eq!(open(&[RULE, &format!("{block}|Profile=Public|")], ""), "domain private");
    // Policies: rules of their own, and none of the computer's; everything kept out; let in by default.
    let policy = |profile: &str, name: &str, number: u32| {
        format!("[{POLICIES}\\WindowsFirewall\\{profile}]\n\"{name}\"=dword:{number:08x}\n\n")
    };
    let ruled = format!("[{POLICIES}\\WindowsFirewall\\FirewallRules]\n\"x\"=\"{RULE}|Profile=Public|\"\n\n");
    assert_eq!(open(&[], &ruled), "public");
    assert_eq!(open(&[RULE], &policy("PublicProfile", "AllowLocalPolicyMerge", 0)), "domain private");
    assert_eq!(open(&[RULE], &policy("PrivateProfile", "DoNotAllowExceptions", 1)), "domain public");
    assert_eq!(open(&[], &policy("PublicProfile", "DefaultInboundAction", 0)), "public");
    assert_eq!(open(&[], &policy("DomainProfile", "EnableFirewall", 0)), "domain");
    let old = format!(
        "[{POLICIES}\\WindowsFirewall\\DomainProfile\\Services\\RemoteDesktop]\n\"Enabled\"=dword:00000001\n\"RemoteAddresses\"=\"*\"\n\n"
    );
    assert_eq!(open(&[], &old), "domain");
}

#[test]
fn settings_close_it() {
    let closed = |system: &str, software: &str| remote(system, software).closed.join("; ");
    let server = format!("{SET}\\Control\\Terminal Server");
    assert_eq!(closed("", ""), "");
    let denied = format!("[{server}]\n\"fDenyTSConnections\"=dword:00000001\n\n");
    assert!(closed(&denied, "").contains("is not 0"));
    let policy = |number: u32| {
        format!("[{POLICIES}\\Windows NT\\Terminal Services]\n\"fDenyTSConnections\"=dword:{number:08x}\n\n")
    };
    assert!(closed("", &policy(1)).contains("a policy denies it"));
    // The policy goes before the setting.
    assert_eq!(closed(&denied, &policy(0)), "");
    let service = format!("[{SET}\\Services\\TermService]\n\"Start\"=dword:00000004\n\n");
    assert!(closed(&service, "").contains("TermService"));
    let listener = format!("[{server}\\WinStations\\RDP-Tcp]\n\"PortNumber\"=dword:00000d3e\n");
    let other = remote(&format!("{listener}\n"), "");
    assert_eq!((other.port, other.is_open(Profile::Public)), (3390, false), "the rule is for another port");
    assert!(closed(&format!("{listener}\"fEnableWinStation\"=dword:00000000\n\n"), "").contains("RDP-Tcp"));
}
