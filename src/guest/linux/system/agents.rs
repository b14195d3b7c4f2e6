//! Programs of the old place: hypervisors' tools, other clouds' agents, members of a cluster.

use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::services;

/// Other clouds' agents, with their units. They set up accounts, keys, disks and network from a
/// metadata service that is not there.
const CLOUDS: [(&str, &[&str]); 4] = [
    ("Azure's agent", &["walinuxagent.service", "waagent.service"]),
    ("Google Cloud's agent", &["google-guest-agent.service", "google-startup-scripts.service"]),
    ("Oracle Cloud's agent", &["oracle-cloud-agent.service"]),
    ("Alibaba Cloud's agent", &["aliyun.service", "cloudmonitor.service"]),
];
/// Hypervisors' tools, with their units.
const TOOLS: [(&str, &[&str]); 5] = [
    ("QEMU's guest agent", &["qemu-guest-agent.service", "qemu-ga.service", "qemu-ga"]),
    (
        "VirtualBox's additions",
        &[
            "vboxadd-service.service",
            "vboxservice.service",
            "virtualbox-guest-utils.service",
            "vboxadd-service",
        ],
    ),
    ("Hyper-V's daemons", &["hypervkvpd.service", "hv-kvp-daemon.service", "hv_kvp_daemon.service"]),
    ("XenServer's tools", &["xe-linux-distribution.service", "xe-daemon.service", "xe-linux-distribution"]),
    ("Parallels' tools", &["prltoolsd.service", "prltoolsd"]),
];
/// What makes a machine a member of a cluster.
const CLUSTERS: [(&str, &str); 6] = [
    ("/etc/corosync/corosync.conf", "Corosync and Pacemaker"),
    ("/etc/kubernetes/kubelet.conf", "Kubernetes"),
    ("/etc/rancher/k3s/k3s.yaml", "k3s"),
    ("/etc/rancher/rke2/config.yaml", "RKE2"),
    ("/var/lib/etcd/member", "etcd"),
    ("/etc/ceph/ceph.conf", "Ceph"),
];

/// Notes them.
pub fn inspect(draft: &Draft<'_>, findings: &mut Findings) {
    let tree = draft.tree();
    if let Some(path) = ["/usr/bin/vmtoolsd", "/usr/sbin/vmtoolsd"].iter().find(|path| tree.exists(path)) {
        findings.push(
            informs("vmware_tools", "VMware's guest tools are installed; they do nothing on EC2").seen(*path),
        );
    }
    if let Some(path) = ["/etc/vmware-tools/services.sh", "/usr/bin/vmware-config-tools.pl"]
        .iter()
        .find(|path| tree.exists(path))
    {
        findings.push(
            informs("vmware_tools_old", "VMware's own old tools are installed, not the distribution's open-vm-tools")
                .seen(*path)
                .advice("Their script may build kernel modules at every boot. Take them out when the restore is final:\nvmware-uninstall-tools.pl"),
        );
    }
    for (name, units) in CLOUDS {
        if let Some(unit) = units.iter().find(|unit| services::starts(tree, &[unit])) {
            findings.push(
                warns("other_cloud_agent", "another cloud's agent starts with the guest; it manages accounts and network")
                    .seen(format!("{name}: {unit} is enabled"))
                    .advice("Disable it in the guest and back it up again, or on the first log-in, lest it wait for its cloud at every boot."),
            );
        }
    }
    for (name, units) in TOOLS {
        if let Some(unit) = units.iter().find(|unit| services::starts(tree, &[unit])) {
            findings.push(
                informs(
                    "hypervisor_tools",
                    "another hypervisor's guest tools are installed; they do nothing on EC2",
                )
                .seen(format!("{name}: {unit} is enabled")),
            );
        }
    }
    for (path, name) in CLUSTERS {
        if draft.tree().exists(path) {
            findings.push(
                informs("cluster_member", "the machine is a member of a cluster, whose addresses its configuration names")
                    .seen(format!("{path} ({name})"))
                    .advice("Restore the members together with their private_ip, and see that a restored one does not join the old cluster."),
            );
        }
    }
}
