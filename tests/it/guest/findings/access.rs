//! Findings on the way to a shell: the SSH server, firewalls, accounts.

use replant::model::NetworkPolicy;

use super::{Case, INFORMS, WARNS, advised, codes, disks, inputs, inspect, look, partition, tree};

/// A guest whose firewall is these rules of iptables.
macro_rules! iptables {
    ($rules:literal) => {
        concat!(
            "on netfilter-persistent.service\nput etc/iptables/rules.v4 <<'E'\n*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
            $rules,
            "\nCOMMIT\nE\n"
        )
    };
}

/// A guest whose firewall is these rules of nftables' input chain.
macro_rules! nftables {
    ($rules:literal) => {
        concat!(
            "on nftables.service\nput etc/nftables.conf <<'E'\n#!/usr/sbin/nft -f\nflush ruleset\ntable inet filter {\n  chain input {\n    type filter hook input priority filter; policy drop;\n    iifname \"lo\" accept\n    ct state established,related accept\n",
            $rules,
            "\n  }\n  chain web { tcp dport { 80, 443 } accept; }\n  chain admin {\n    tcp dport ssh accept\n  }\n}\nE\n"
        )
    };
}

/// firewalld with these elements in its default zone, and `ens192` in the zone `inside`.
macro_rules! firewalld {
    ($public:literal, $inside:literal) => {
        concat!(
            "on firewalld.service\nput etc/firewalld/firewalld.conf <<<'DefaultZone=public'\nput etc/firewalld/zones/public.xml <<'E'\n<?xml version=\"1.0\"?>\n<zone>\n",
            $public,
            "\n</zone>\nE\nput etc/firewalld/zones/inside.xml <<'E'\n<zone>\n  <interface name=\"ens192\"/>\n",
            $inside,
            "\n</zone>\nE\n"
        )
    };
}

pub const CASES: &[Case] = &[
    advised("sshd_missing", WARNS, "rm usr/sbin/sshd", &["/usr/sbin/sshd is not there"]),
    advised("sshd_disabled", WARNS, "rm etc/systemd/system/multi-user.target.wants/ssh.service", &["no target"]),
    advised(
        "sshd_disabled",
        WARNS,
        "ln -s /dev/null etc/systemd/system/ssh.service",
        &["/etc/systemd/system/ssh.service is masked"],
    ),
    // A System V link counts only where systemd has no unit of the name.
    advised(
        "sshd_disabled",
        WARNS,
        "rm etc/systemd/system/*/ssh.service; mkdir -p etc/rc3.d; ln -s ../init.d/ssh etc/rc3.d/S02ssh",
        &["no target"],
    ),
    advised(
        "sshd_disabled",
        WARNS,
        "put etc/ssh/sshd_not_to_be_run <<<''",
        &["/etc/ssh/sshd_not_to_be_run keeps it from starting"],
    ),
    // Upstart's job, made manual.
    advised(
        "sshd_disabled",
        WARNS,
        "rm -r usr/lib/systemd etc/systemd; put etc/init/ssh.conf <<<'exec sshd'; put etc/init/ssh.override <<<manual",
        &["no target"],
    ),
    advised("ssh_port", INFORMS, "echo 'Port 2222' >> etc/ssh/sshd_config", &["/etc/ssh/sshd_config:3: Port 2222"]),
    advised(
        "ssh_listens_elsewhere",
        WARNS,
        "put etc/ssh/sshd_config.d/10-listen.conf <<<'ListenAddress 10.1.2.3:22'",
        &["/etc/ssh/sshd_config.d/10-listen.conf:1: ListenAddress 10.1.2.3:22"],
    ),
    advised(
        "ssh_listens_elsewhere",
        WARNS,
        "rm etc/systemd/system/*/ssh.service; mkdir -p etc/systemd/system/sockets.target.wants; ln -s /lib/systemd/system/ssh.socket etc/systemd/system/sockets.target.wants/
         printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:22\n' | put etc/systemd/system/ssh.socket.d/listen.conf",
        &["/etc/systemd/system/ssh.socket.d/listen.conf:3: ListenStream=127.0.0.1:22"],
    ),
    advised(
        "ssh_users_limited",
        INFORMS,
        "printf 'AllowUsers admin backup\nMatch Address 10.0.0.0/8\nAllowUsers root\n' >> etc/ssh/sshd_config",
        &["/etc/ssh/sshd_config:3: AllowUsers admin backup"],
    ),
    advised(
        "ssh_root_refused",
        WARNS,
        "printf 'PermitRootLogin = no\n' >> etc/ssh/sshd_config; put etc/shadow <<<'root:$6$salt$hash:19000:0:99999:7:::'
         put etc/passwd <<<'root:x:0:0:root:/root:/bin/bash'; rm -r home/admin",
        &["/etc/ssh/sshd_config:3: PermitRootLogin = no"],
    ),
    advised("nologin", WARNS, "put etc/nologin <<<'maintenance'", &["/etc/nologin is there"]),
    advised(
        "tcp_wrappers",
        WARNS,
        "echo libwrap.so.0 >> usr/sbin/sshd; put etc/hosts.deny <<<'ALL: ALL'; put etc/hosts.allow <<<'sshd: 10.1.0.0/255.255.0.0'",
        &["/etc/hosts.deny:1: ALL: ALL", "/etc/hosts.allow:1: sshd: 10.1"],
    ),
    advised(
        "firewall_blocks_ssh",
        WARNS,
        iptables!("-A INPUT -p tcp --dport 443 -j ACCEPT"),
        &["/etc/iptables/rules.v4:2: :INPUT DROP [0:0]"],
    ),
    advised(
        "firewall_blocks_ssh",
        WARNS,
        iptables!("-N LAN\n-A INPUT -j LAN\n-A LAN -p tcp -m multiport --dports 80,443 -j ACCEPT\n-A LAN -j REJECT --reject-with icmp-host-prohibited\n-A INPUT -p tcp --dport 22 -j ACCEPT"),
        &["/etc/iptables/rules.v4:9: -A LAN -j REJECT"],
    ),
    advised(
        "firewall_tied",
        WARNS,
        iptables!("-A INPUT -i ens192 -p tcp -m state --state NEW --dport 22 -j ACCEPT"),
        &["/etc/iptables/rules.v4:6: -A INPUT -i ens192"],
    ),
    advised(
        "firewall_tied",
        WARNS,
        iptables!("-A INPUT -d 10.1.2.3/32 -p tcp --dport 22 -j ACCEPT"),
        &["/etc/iptables/rules.v4:6: -A INPUT -d 10.1.2.3/32"],
    ),
    advised(
        "firewall_sources",
        INFORMS,
        iptables!("-A INPUT -s 10.1.0.0/16 -p tcp --dport 20:25 -m comment --comment \"the office\" -j ACCEPT"),
        &["/etc/iptables/rules.v4:6: -A INPUT -s 10.1.0.0/16"],
    ),
    advised(
        "firewall_blocks_ssh",
        WARNS,
        "put etc/ufw/ufw.conf <<<'ENABLED=yes'; put etc/default/ufw <<<'DEFAULT_INPUT_POLICY=\"DROP\"'
         put etc/ufw/user.rules <<'E'
*filter
:ufw-user-input - [0:0]
### tuple ### allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 443 -j ACCEPT
COMMIT
E",
        &["/etc/ufw/user.rules"],
    ),
    advised("firewall_blocks_ssh", WARNS, nftables!("    jump web"), &["/etc/nftables.conf:5: type filter hook input"]),
    advised(
        "firewall_tied",
        WARNS,
        nftables!("    iifname { \"ens192\", \"ens224\" } tcp dport { 22, 443 } accept"),
        &["/etc/nftables.conf:8: iifname {"],
    ),
    advised(
        "firewall_sources",
        INFORMS,
        nftables!("    ip saddr { 10.0.0.0/8, 192.168.0.0/16 } jump admin"),
        &["/etc/nftables.conf:12: tcp dport ssh accept"],
    ),
    advised(
        "firewall_blocks_ssh",
        WARNS,
        firewalld!("  <service name=\"https\"/>", ""),
        &["/etc/firewalld/zones/public.xml:2: zone public names neither"],
    ),
    advised(
        "firewall_tied",
        WARNS,
        firewalld!("", "  <service name=\"ssh\"/>"),
        &["/etc/firewalld/zones/inside.xml:2: zone inside: interface ens192"],
    ),
    advised(
        "firewall_sources",
        INFORMS,
        firewalld!("  <rule family=\"ipv4\">\n    <source address=\"10.1.0.0/16\"/><port port=\"22\" protocol=\"tcp\"/><accept/>\n  </rule>", ""),
        &["/etc/firewalld/zones/public.xml:3: <rule family=\"ipv4\"> <source address=\"10.1.0.0/16\"/>"],
    ),
    advised(
        "firewall_zone",
        INFORMS,
        firewalld!("  <service name=\"ssh\"/>", "  <service name=\"postgresql\"/>"),
        &["/etc/firewalld/zones/inside.xml:2: zone inside: interface ens192"],
    ),
    advised(
        "firewall_tied",
        WARNS,
        "on firewalld.service; put etc/firewalld/firewalld.conf <<<'DefaultZone=drop'
         put usr/lib/firewalld/zones/drop.xml <<<'<zone target=\"DROP\"/>'; put usr/lib/firewalld/zones/trusted.xml <<<'<zone target=\"ACCEPT\"/>'
         printf '[connection]\ntype=ethernet\nzone=trusted\n' | put etc/NetworkManager/system-connections/lan.nmconnection",
        &["/etc/NetworkManager/system-connections/lan.nmconnection:3: zone=trusted"],
    ),
    advised(
        "firewall_blocks_ssh",
        WARNS,
        "on SuSEfirewall2.service; printf 'FW_DEV_EXT=\"eth0\"\nFW_SERVICES_EXT_TCP=\"http https\"\n' | put etc/sysconfig/SuSEfirewall2",
        &["/etc/sysconfig/SuSEfirewall2:2: FW_SERVICES_EXT_TCP="],
    ),
    advised(
        "firewall_sources",
        INFORMS,
        "on SuSEfirewall2.service; printf 'FW_SERVICES_EXT_TCP=\"http\"\nFW_SERVICES_ACCEPT_EXT=\"10.1.0.0/16,tcp,22\"\n' | put etc/sysconfig/SuSEfirewall2",
        &["/etc/sysconfig/SuSEfirewall2:2: FW_SERVICES_ACCEPT_EXT="],
    ),
    advised(
        "firewall_tied",
        WARNS,
        "put etc/ufw/ufw.conf <<<'ENABLED=yes'; printf '*filter\n:ufw-user-input - [0:0]\n-A ufw-user-input -i ens192 -p tcp --dport 22 -j ACCEPT\nCOMMIT\n' | put etc/ufw/user.rules",
        &["/etc/ufw/user.rules:3: -A ufw-user-input -i ens192"],
    ),
    advised(
        "firewall_sources",
        INFORMS,
        "put etc/ufw/ufw.conf <<<'ENABLED=yes'; printf '*filter\n:ufw-user-input - [0:0]\n-A ufw-user-input -p tcp --dport 22 -s 10.1.0.0/16 -j ACCEPT\nCOMMIT\n' | put etc/ufw/user.rules",
        &["/etc/ufw/user.rules:3: -A ufw-user-input -p tcp"],
    ),
    // IPv4 lets it in.
    advised(
        "firewall_ipv6",
        INFORMS,
        "on iptables.service ip6tables.service; printf '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n' | put etc/sysconfig/iptables
         printf '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p ipv6-icmp -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp6-adm-prohibited\nCOMMIT\n' | put etc/sysconfig/ip6tables",
        &["/etc/sysconfig/ip6tables:4: -A INPUT -j REJECT"],
    ),
    advised(
        "no_login",
        WARNS,
        "rm -r home/admin; put etc/shadow <<<'root:!:19000:0:99999:7:::'",
        &["/etc/shadow and the authorized_keys"],
    ),
    advised(
        "password_login_refused",
        INFORMS,
        "rm -r home/admin; echo 'PasswordAuthentication no' >> etc/ssh/sshd_config",
        &["/etc/ssh/sshd_config:3: PasswordAuthentication no"],
    ),
    advised(
        "root_password_expired",
        WARNS,
        "put etc/shadow <<<'root:$6$salt$hash:17000:0:90:7:::'",
        &["/etc/shadow:1: root:(masked)"],
    ),
    advised(
        "password_expired",
        WARNS,
        "printf 'root:*:19000:0:99999:7:::\nadmin:$6$salt$hash:0:0:99999:7:::\n' | put etc/shadow",
        &["/etc/shadow:2: admin:(masked)"],
    ),
    advised(
        "account_expired",
        WARNS,
        "printf 'root:*:19000:0:99999:7:::\nadmin:$6$salt$hash:19000:0:99999:7::19500:\n' | put etc/shadow",
        &["/etc/shadow:2: admin:(masked)"],
    ),
    advised(
        "directory_users",
        INFORMS,
        "put etc/nsswitch.conf <<<'passwd: files sss'; put etc/sssd/sssd.conf <<<'[sssd]'",
        &["/etc/nsswitch.conf:1: passwd: files sss", "/etc/sssd/sssd.conf"],
    ),
];

/// Guests that a client reaches: each of these makes no finding at all.
#[test]
fn what_lets_ssh_in_is_not_warned_of() {
    for script in [
        iptables!("-A INPUT -p tcp -m tcp --dport ssh -j ACCEPT"),
        iptables!("-N SSH\n-A INPUT -p tcp -j SSH\n-A SSH -p udp --dport 22 -j DROP\n-A SSH -p tcp -m limit --limit 5/min --dport 22 -j ACCEPT"),
        iptables!("-A INPUT ! -i lo -s 0.0.0.0/0 -p tcp --dport 22 -j ACCEPT"),
        // The card's name fits: the kernel keeps its own names in this guest.
        iptables!("-A INPUT -i eth+ -p tcp --dport 22 -j ACCEPT"),
        nftables!("    jump admin"),
        nftables!("    tcp dport { 20-25, 443 } counter accept comment \"a # is no comment here\""),
        nftables!("    iifname != \"eth9\" ip saddr 0.0.0.0/0 tcp dport 22 ct state new accept"),
        "on netfilter-persistent.service; printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -s ::/0 -p tcp --dport 22 -j ACCEPT\nCOMMIT\n' | put etc/iptables/rules.v6",
        "on SuSEfirewall2.service; put etc/sysconfig/SuSEfirewall2 <<<'FW_SERVICES_ACCEPT_EXT=\"0/0,tcp,22\"'",
        // Rules that nothing loads.
        "put etc/nftables.conf <<<'table inet filter { chain input { type filter hook input priority 0; policy drop; } }'",
        "put etc/ufw/ufw.conf <<<'ENABLED=no'",
        "put etc/ufw/ufw.conf <<<'ENABLED=yes'
         printf '*filter\n:ufw-user-input - [0:0]\n-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 -j ufw-user-limit\n-A ufw-user-input -p tcp --dport 22 -j ufw-user-limit-accept\n-A ufw-user-limit -j REJECT\n-A ufw-user-limit-accept -j ACCEPT\nCOMMIT\n' | put etc/ufw/user.rules",
        "on firewalld.service; put etc/firewalld/zones/public.xml <<<'<zone><service name=\"remote\"/></zone>'
         put etc/firewalld/services/remote.xml <<<'<service><port protocol=\"tcp\" port=\"20-30\"/></service>'",
        "on SuSEfirewall2.service; put etc/sysconfig/SuSEfirewall2 <<<'FW_CONFIGURATIONS_EXT=\"sshd\"'",
        // By its alias, and by System V's link where there is no systemd.
        "mv etc/systemd/system/multi-user.target.wants/s{sh,shd}.service",
        "rm -r usr/lib/systemd etc/systemd; mkdir -p etc/rc.d/rc3.d; touch etc/rc.d/rc3.d/S55sshd",
        "put etc/hosts.deny <<<'ALL: ALL'",
        "echo libwrap.so.0 >> usr/sbin/sshd; put etc/hosts.deny <<<'ALL: ALL'; put etc/hosts.allow <<<'sshd: ALL'",
        "echo 'ListenAddress 0.0.0.0' >> etc/ssh/sshd_config; echo 'ListenAddress 10.1.2.3' >> etc/ssh/sshd_config",
        "printf 'PasswordAuthentication no\nKbdInteractiveAuthentication yes\n' >> etc/ssh/sshd_config",
        // The first value counts.
        "mkdir -p etc/ssh/sshd_config.d; echo 'PasswordAuthentication yes' > etc/ssh/sshd_config.d/a.conf
         rm -r home/admin; echo 'PasswordAuthentication no' >> etc/ssh/sshd_config",
        "put etc/nsswitch.conf <<<'passwd: files sss'",
    ] {
        let report = inspect(script);
        assert!(codes(&report).is_empty(), "{script}: {:#?}", report.findings);
    }
}

/// With the same address, what is bound to it stays right.
#[test]
fn a_kept_address_is_no_finding() {
    let script = "put etc/network/interfaces <<'E'
auto ens192
iface ens192 inet static
  address 10.1.2.3/24
E
echo 'ListenAddress 10.1.2.3' >> etc/ssh/sshd_config; echo '10.1.2.3 web01' >> etc/hosts
on netfilter-persistent.service; printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -d 10.1.2.3 -p tcp --dport 22 -j ACCEPT\nCOMMIT\n' | put etc/iptables/rules.v4";
    let disks = disks(vec![partition(1, "ext4", "/"), partition(2, "swap", "")]);
    let tree = tree(script);
    let dhcp = look(tree.path(), &disks, inputs(NetworkPolicy::Dhcp), false);
    for code in ["ssh_listens_elsewhere", "firewall_tied", "own_address"] {
        assert!(codes(&dhcp).contains(&code), "{:?}", codes(&dhcp));
    }
    let keep = look(tree.path(), &disks, inputs(NetworkPolicy::Keep), false);
    assert_eq!(codes(&keep), ["static_address"]);
}

/// Chains that call each other for ever, a hundred thousand rules, files that include themselves.
#[test]
fn hostile_rules_come_to_an_end() {
    for script in [
        iptables!("-A INPUT -j A\n-A A -j B\n-A B -j A\n-A A -j B\n-A B -j A\n-A INPUT -j INPUT"),
        "on netfilter-persistent.service; { echo '*filter'; echo ':INPUT DROP [0:0]'; seq 100000 | sed 's/.*/-A INPUT -j INPUT/'; } | put etc/iptables/rules.v4",
        "on nftables.service; printf 'include \"/etc/nftables.conf\"\ntable inet filter {{{{ chain input {\n}}}}}}}} \"' | put etc/nftables.conf",
        "for i in 1 2 3; do echo 'Include /etc/ssh/*'; done >> etc/ssh/sshd_config",
        "on firewalld.service; put etc/firewalld/zones/public.xml <<<'<zone><rule><accept/>'; put etc/firewalld/firewalld.conf <<<'DefaultZone=../../../../etc/passwd'",
        "printf 'root:$6$x:99999999999999999999:0:18446744073709551615:7:::\n:::::::\n' | put etc/shadow",
    ] {
        inspect(script);
    }
}
