//! The access node: whether volumes can be attached to it and written there, and whether this
//! machine is it.

use super::survey::Survey;
use crate::diagnostic::Diagnostic;
use crate::provider::aws::client::Cloud;
use crate::provider::preflight::Concern;
use crate::provider::types::InstanceId;

impl Cloud {
    /// Why this machine cannot write to the access node's volumes.
    pub(in crate::provider::aws) async fn misplaced(&self) -> Option<Diagnostic> {
        let node = self.node_id().await.ok()?;
        let here = self.this_machine().await;
        (here != Some(&node)).then(|| {
            Diagnostic::error("aws::not_the_access_node", "This machine is not the access node")
                .detail(format!(
                    "Volumes are attached to the access node {node} and written there. {} Nothing was made.",
                    which(here)
                ))
                .help(format!(
                    "apply on the access node, in this directory with its images and its state:\naws ssm start-session --target {node}"
                ))
                .help("if this machine shall be it: access_node \"…\" { instance_id = \"self\" }")
        })
    }
}

fn which(here: Option<&InstanceId>) -> String {
    match here {
        Some(here) => format!("This machine is the instance {here}."),
        None => "This machine is no EC2 instance: it has neither an instance id in its firmware nor an instance metadata service (or AWS_EC2_METADATA_DISABLED is set).".to_owned(),
    }
}

impl Survey<'_> {
    pub(super) async fn access_node(&self) -> Vec<Concern> {
        if !self.request.writes {
            return Vec::new();
        }
        let mut found = Vec::new();
        let node = &self.node.node;
        let id = &node.instance_id;
        let here = self.cloud.this_machine().await;
        if here != Some(id) {
            found.push(
                Diagnostic::note(
                    "aws::planned_elsewhere",
                    "This plan can be applied only on the access node",
                )
                .detail(format!("The access node is {id}. {}", which(here)))
                .help(format!("apply there:\naws ssm start-session --target {id}")),
            );
        }
        if self.node.is_windows {
            found.push(
                Diagnostic::error("aws::access_node_windows", "The access node runs Windows")
                    .detail(format!(
                        "{id} is a Windows instance. Replant writes to block devices of Linux and prepares guests with Linux's filesystems."
                    ))
                    .help("use a Linux instance in the same zone as the access node; it restores Windows guests too"),
            );
        }
        if !self.node.is_running {
            found.push(
                Diagnostic::warning("aws::access_node_stopped", "The access node does not run")
                    .detail(format!("{id} is stopped. The plan holds when it is started as it is."))
                    .help(format!("start it:\naws ec2 start-instances --instance-ids {id}")),
            );
        }
        if here == Some(id) {
            found.extend(self.udev().await);
        }
        found.extend(self.no_slot());
        found.extend(self.slow());
        found.into_iter().map(Concern::node).collect()
    }

    /// What could take the guests' disks away between two steps.
    async fn udev(&self) -> Option<Diagnostic> {
        let udev = self.cloud.udev();
        let (users, why) = tokio::task::spawn_blocking(move || udev.hindrance()).await.ok()??;
        Some(
            Diagnostic::warning(
                "aws::udev_not_kept_off",
                "The access node may put the guests' disks to use",
            )
            .detail(format!(
                "Rules of {} are installed, which activate what they find on a disk: a guest's volume group or array would then hold the device that is written. Replant keeps them off its volumes by a rule of its own, and cannot place it: {why}.",
                users.join(", ")
            ))
            .help("apply as root, with udevadm in the PATH")
            .help("or use an access node without these packages"),
        )
    }

    fn no_slot(&self) -> Option<Diagnostic> {
        let node = &self.node.node;
        if !node.free_slots.is_empty() {
            return None;
        }
        let most = match (self.cloud.access_node.max_attachments, self.node.most) {
            (Some(most), _) => format!("max_attachments allows it {most}"),
            (None, Some(most)) => format!("its type {} takes {most}", node.instance_type),
            (None, None) => format!("its type {} takes no more", node.instance_type),
        };
        Some(
            Diagnostic::error("aws::no_free_slot", "The access node has no free slot")
                .detail(format!(
                    "{} has {} volumes attached, and {most}. Every volume that is written takes a slot for that time.",
                    node.instance_id, self.node.attached
                ))
                .help(format!(
                    "detach what it does not need; what is attached:\naws ec2 describe-volumes --filters Name=attachment.instance-id,Values={}",
                    node.instance_id
                ))
                .help("or use an instance type that takes more volumes"),
        )
    }

    /// Volumes that could be written faster than the access node can.
    fn slow(&self) -> Option<Diagnostic> {
        let bandwidth = self.node.node.ebs_bandwidth?;
        let raised = self.request.volumes.iter().filter(|volume| volume.request.raised);
        let most = raised.filter_map(|volume| volume.request.throughput).max()?;
        (most > bandwidth).then(|| {
            Diagnostic::note("aws::access_node_slow", "The access node is slower than the raised volumes")
                .detail(format!(
                    "restore_throughput raises volumes to {most} MiB/s, and {} ({}) always has {bandwidth} MiB/s to all its volumes together.",
                    self.node.node.instance_id, self.node.node.instance_type
                ))
                .help("use a larger access node, or a lower restore_throughput, which costs less")
        })
    }
}
