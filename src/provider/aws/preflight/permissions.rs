//! IAM's permissions, by calls that are only tried ("Dry run" in the common parameters of the EC2 API
//! Reference): `DryRunOperation` means that it would be done, `UnauthorizedOperation` that it may not.
//!
//! What is not made yet has no id and no tags, so a policy with conditions on tags refuses to try it.
//! Such a refusal is no proof, and is said as what it is.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as sdk;

use super::survey::{Survey, together};
use super::unread::statement;
use crate::diagnostic::Diagnostic;
use crate::model::{ClientToken, InstanceAddress, LaunchMethod};
use crate::provider::aws::call::{Failed, send};
use crate::provider::aws::launch::stub;
use crate::provider::aws::views;
use crate::provider::aws::volumes::volume;
use crate::provider::preflight::{Concern, WantedInstance};
use crate::provider::types::{CreateVolume, ProviderErrorKind, RunInstance, TagMap};
use crate::provider::{TAG_ADDRESS, TAG_TOKEN, TAG_WORKSPACE};

/// A volume that nobody has.
const NO_VOLUME: &str = "vol-00000000000000000";
/// An instance that nobody has.
const NO_INSTANCE: &str = "i-00000000000000000";
/// A network interface that nobody has.
const NO_INTERFACE: &str = "eni-00000000000000000";
/// A snapshot that nobody has.
const NO_SNAPSHOT: &str = "snap-00000000000000000";
/// An image that nobody has.
const NO_IMAGE: &str = "ami-00000000000000000";
/// EC2's answer to a call that would have been done.
const PERMITTED: &str = "DryRunOperation";

/// The attributes of each instance that are known to be wrong.
pub(super) type Mistakes = BTreeMap<InstanceAddress, BTreeSet<String>>;

/// A call to try, on what exists or on what is not made yet.
struct Trial {
    operation: &'static str,
    id: Option<String>,
}

impl Trial {
    fn on(operation: &'static str, id: Option<&String>) -> Self {
        Self { operation, id: id.cloned() }
    }
}

/// What trying showed.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Actions that are not permitted, with what EC2 says.
    denied: BTreeMap<String, String>,
    /// Actions that were refused on what is not made yet.
    unclear: BTreeSet<String>,
    /// What EC2 would refuse for another reason.
    refused: Vec<Concern>,
}

impl Tried {
    /// What a person is told.
    pub(super) fn concerns(mut self) -> Vec<Concern> {
        let mut found = Vec::new();
        if !self.denied.is_empty() {
            let lines: Vec<String> =
                self.denied.iter().map(|(action, why)| format!("{action}: {why}")).collect();
            let mut actions: Vec<&str> = self.denied.keys().map(String::as_str).collect();
            actions.extend(self.unclear.iter().map(String::as_str));
            actions.sort_unstable();
            actions.dedup();
            found.push(Concern::provider(
                Diagnostic::error("aws::permissions_missing", "Permissions are missing")
                    .detail(format!(
                        "EC2 refuses these calls of the plan to the role or user of this machine's credentials.\n{}",
                        lines.join("\n")
                    ))
                    .help(format!("add this to its policy:\n{}", statement(&actions)))
                    .help("the least that Replant needs is in docs/src/iam.md, with conditions"),
            ));
            self.unclear.clear();
        }
        if !self.unclear.is_empty() {
            let actions: Vec<&str> = self.unclear.iter().map(String::as_str).collect();
            found.push(Concern::provider(
                Diagnostic::note("aws::permissions_unclear", "Some permissions show only when things exist")
                    .detail(format!(
                        "Tried on things that are not made yet, and refused: {}. A policy with conditions on tags answers so, and so does one without these actions.",
                        actions.join(", ")
                    ))
                    .help("if the policy is that of docs/src/iam.md, all is well"),
            ));
        }
        found.extend(self.refused);
        found
    }
}

impl Survey<'_> {
    pub(super) async fn permissions(&self) -> Tried {
        let mut tried = Tried::default();
        let trials = self.trials();
        let answers = together(trials.iter().map(|trial| self.try_it(trial)).collect()).await;
        for (trial, answer) in trials.iter().zip(answers) {
            if let Err(failed) = answer {
                self.judge(trial, &failed, &mut tried);
            }
        }
        tried
    }

    /// Tries launches, without what is known to be wrong with them: EC2 names one mistake at a time.
    pub(super) async fn launches(&self, mistakes: &Mistakes, tried: &mut Tried) {
        let launches = self.representatives(mistakes);
        let answers =
            together(launches.iter().map(|launch| self.try_launch(launch, mistakes)).collect()).await;
        for (launch, answer) in launches.iter().zip(answers) {
            if let Err(failed) = answer {
                self.judge_launch(launch, mistakes, &failed, tried);
            }
        }
    }

    /// One call of each kind that the plan will make, on something that it is for where there is such
    /// a thing. What is not tried, and why, stands in tests/it/permissions.rs.
    fn trials(&self) -> Vec<Trial> {
        let request = self.request;
        let changes = &request.changes;
        let mut trials = Vec::new();
        let mut on = |operation, id: Option<&String>| trials.push(Trial::on(operation, id));
        let changed = changes.instances.keys().next().map(|id| &id.0);
        let launches = !request.launches.is_empty();
        if !request.volumes.is_empty() {
            on("CreateVolume", None);
        }
        if request.writes || launches || changed.is_some() {
            on("AttachVolume", None);
            on("DetachVolume", None);
        }
        if launches || changed.is_some() {
            on("StopInstances", changed);
            on("ModifyInstanceAttribute", changed);
            on("CreateTags", changed);
        }
        if launches {
            // The stub's own root.
            on("DeleteVolume", None);
        }
        if request.starts {
            on("StartInstances", changed);
            on("DescribeInstanceStatus", changed);
            on("GetConsoleOutput", changed);
        }
        if request.images {
            on("CreateSnapshot", None);
            on("RegisterImage", None);
        }
        let raises = request.volumes.iter().any(|volume| volume.request.raised);
        if let Some(id) = changes.modified.iter().next() {
            on("ModifyVolume", Some(&id.0));
            on("CreateTags", Some(&id.0));
        } else if raises {
            on("ModifyVolume", None);
        }
        for (id, changed) in &changes.instances {
            let (id, change) = (Some(&id.0), &changed.request);
            if changed.untags {
                on("DeleteTags", id);
            }
            if change.metadata.is_some() {
                on("ModifyInstanceMetadataOptions", id);
            }
            if change.cpu_credits.is_some() {
                on("ModifyInstanceCreditSpecification", id);
            }
            match change.monitoring {
                Some(true) => on("MonitorInstances", id),
                Some(false) => on("UnmonitorInstances", id),
                None => {}
            }
            if !change.interface_groups.is_empty() {
                on("ModifyNetworkInterfaceAttribute", None);
            }
        }
        if let Some(id) = changes.snapshots.iter().next() {
            on("CreateSnapshot", Some(&id.0));
        }
        if let Some(id) = changes.deleted_snapshots.iter().next() {
            on("DeleteSnapshot", Some(&id.0));
        }
        if let Some(id) = changes.deregistered.iter().next() {
            on("DeregisterImage", Some(&id.0));
        }
        if let Some(id) = changes.deleted.iter().next() {
            on("DeleteVolume", Some(&id.0));
        }
        if let Some(id) = changes.terminated.iter().next() {
            on("TerminateInstances", Some(&id.0));
        }
        // One is enough of each kind of thing, on what exists where that can be: only that proves
        // something.
        let kind = |trial: &Trial| trial.id.as_ref().and_then(|id| Some(id.split_once('-')?.0.to_owned()));
        trials.sort_by_key(|trial| (trial.operation, trial.id.is_none(), kind(trial)));
        trials.dedup_by(|later, first| {
            later.operation == first.operation && (later.id.is_none() || kind(later) == kind(first))
        });
        trials
    }

    async fn try_it(&self, trial: &Trial) -> Result<(), Failed> {
        let ec2 = self.cloud.ec2().await?;
        let node = &self.node.node.instance_id.0;
        let volume_id = trial.id.as_deref().unwrap_or(NO_VOLUME);
        let instance_id = trial.id.as_deref().unwrap_or(NO_INSTANCE);
        match trial.operation {
            "CreateVolume" => {
                let Some(wanted) = self.request.volumes.first() else { return Ok(()) };
                let tags = self.tags(&wanted.request.tags, &wanted.instance);
                let request = CreateVolume { token: token()?, tags, ..wanted.request.clone() };
                send!("CreateVolume", volume(ec2.create_volume().dry_run(true), &request)?).map(drop)
            }
            "AttachVolume" => {
                let call =
                    ec2.attach_volume().dry_run(true).volume_id(volume_id).instance_id(node).device("xvdf");
                send!("AttachVolume", call).map(drop)
            }
            "DetachVolume" => {
                let call = ec2.detach_volume().dry_run(true).volume_id(volume_id).instance_id(node);
                send!("DetachVolume", call).map(drop)
            }
            "ModifyVolume" => {
                let call = ec2.modify_volume().dry_run(true).volume_id(volume_id);
                send!("ModifyVolume", call).map(drop)
            }
            "DeleteVolume" => {
                let call = ec2.delete_volume().dry_run(true).volume_id(volume_id);
                send!("DeleteVolume", call).map(drop)
            }
            "CreateSnapshot" => {
                let tags = self.tags(&TagMap::new(), &InstanceAddress::new("any"));
                let tags = views::tag_specification(sdk::ResourceType::Snapshot, &tags);
                let call = ec2.create_snapshot().dry_run(true).volume_id(volume_id);
                send!("CreateSnapshot", call.set_tag_specifications(tags.map(|tags| vec![tags]))).map(drop)
            }
            "CreateTags" => {
                let tags = TagMap::from([("Name".to_owned(), "any".to_owned())]);
                let call = ec2.create_tags().dry_run(true).resources(instance_id);
                send!("CreateTags", call.set_tags(Some(views::tag_list(&tags)))).map(drop)
            }
            "ModifyInstanceAttribute" => {
                let off = sdk::AttributeBooleanValue::builder().value(false).build();
                let call = ec2.modify_instance_attribute().dry_run(true).instance_id(instance_id);
                send!("ModifyInstanceAttribute", call.disable_api_termination(off)).map(drop)
            }
            "StartInstances" => {
                send!("StartInstances", ec2.start_instances().dry_run(true).instance_ids(instance_id))
                    .map(drop)
            }
            "StopInstances" => {
                send!("StopInstances", ec2.stop_instances().dry_run(true).instance_ids(instance_id)).map(drop)
            }
            "TerminateInstances" => {
                let call = ec2.terminate_instances().dry_run(true).instance_ids(instance_id);
                send!("TerminateInstances", call).map(drop)
            }
            "DescribeInstanceStatus" => {
                let call = ec2.describe_instance_status().dry_run(true).instance_ids(instance_id);
                send!("DescribeInstanceStatus", call).map(drop)
            }
            "GetConsoleOutput" => {
                let call = ec2.get_console_output().dry_run(true).instance_id(instance_id);
                send!("GetConsoleOutput", call).map(drop)
            }
            "DeleteTags" => {
                let any = sdk::Tag::builder().key("Name").build();
                let call = ec2.delete_tags().dry_run(true).resources(instance_id).tags(any);
                send!("DeleteTags", call).map(drop)
            }
            "ModifyInstanceMetadataOptions" => {
                let call = ec2.modify_instance_metadata_options().dry_run(true).instance_id(instance_id);
                let call = call.http_tokens(sdk::HttpTokensState::Required);
                send!("ModifyInstanceMetadataOptions", call).map(drop)
            }
            "ModifyInstanceCreditSpecification" => {
                let credits = sdk::InstanceCreditSpecificationRequest::builder()
                    .instance_id(instance_id)
                    .cpu_credits("standard")
                    .build();
                let call = ec2.modify_instance_credit_specification().dry_run(true);
                let call = call.instance_credit_specifications(credits);
                send!("ModifyInstanceCreditSpecification", call).map(drop)
            }
            "ModifyNetworkInterfaceAttribute" => {
                let text = sdk::AttributeValue::builder().value("any").build();
                let call = ec2.modify_network_interface_attribute().dry_run(true);
                let call = call.network_interface_id(NO_INTERFACE).description(text);
                send!("ModifyNetworkInterfaceAttribute", call).map(drop)
            }
            "MonitorInstances" => {
                let call = ec2.monitor_instances().dry_run(true).instance_ids(instance_id);
                send!("MonitorInstances", call).map(drop)
            }
            "UnmonitorInstances" => {
                let call = ec2.unmonitor_instances().dry_run(true).instance_ids(instance_id);
                send!("UnmonitorInstances", call).map(drop)
            }
            "RegisterImage" => {
                let tags = self.tags(&TagMap::new(), &InstanceAddress::new("any"));
                let tags = views::tag_specification(sdk::ResourceType::Image, &tags);
                let ebs = sdk::EbsBlockDevice::builder().snapshot_id(NO_SNAPSHOT).build();
                let root = sdk::BlockDeviceMapping::builder().device_name("/dev/xvda").ebs(ebs).build();
                let call = ec2
                    .register_image()
                    .dry_run(true)
                    .name("replant-tried")
                    .architecture(sdk::ArchitectureValues::X8664)
                    .virtualization_type("hvm")
                    .root_device_name("/dev/xvda")
                    .block_device_mappings(root)
                    .set_tag_specifications(tags.map(|tags| vec![tags]));
                send!("RegisterImage", call).map(drop)
            }
            "DeregisterImage" => {
                let call =
                    ec2.deregister_image().dry_run(true).image_id(trial.id.as_deref().unwrap_or(NO_IMAGE));
                send!("DeregisterImage", call).map(drop)
            }
            "DeleteSnapshot" => {
                let id = trial.id.as_deref().unwrap_or(NO_SNAPSHOT);
                send!("DeleteSnapshot", ec2.delete_snapshot().dry_run(true).snapshot_id(id)).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn judge(&self, trial: &Trial, failed: &Failed, tried: &mut Tried) {
        let error = &failed.error;
        let action = denied_action(&error.message).unwrap_or_else(|| format!("ec2:{}", trial.operation));
        match error.kind {
            _ if error.code == PERMITTED => {}
            ProviderErrorKind::Unauthorized => {
                // An explicit denial stands whatever the thing will be.
                let is_proof = trial.id.is_some()
                    || trial.operation == "CreateVolume"
                    // It knows no conditions on tags.
                    || trial.operation.starts_with("Describe")
                    || error.message.contains("explicit deny");
                if is_proof {
                    tried.denied.insert(action, short(&error.message));
                } else {
                    tried.unclear.insert(action);
                }
            }
            ProviderErrorKind::Throttled | ProviderErrorKind::Unavailable => {
                self.unread.note(&format!("ec2:{} (tried)", trial.operation), false, &error.message);
            }
            // Nothing is missing for it: what is wrong is the volume.
            _ if trial.operation == "CreateVolume" => {
                let Some(volume) = self.request.volumes.first() else { return };
                let diagnostic = Diagnostic::error("aws::volume_refused", "EC2 would refuse the volume")
                    .detail(format!(
                        "{} was tried, and EC2 says {}: {}",
                        volume.instance.volume(volume.disk.as_str()),
                        error.code,
                        short(&error.message)
                    ))
                    .help("correct the disk's attributes as the message says");
                let path = format!("disk.{}", volume.disk);
                tried.refused.push(Concern::at(&volume.instance, path, diagnostic));
            }
            // It was looked at, and so it is permitted.
            _ => {}
        }
    }

    /// One launch for each instance profile, which only a launch shows to exist and to be permitted;
    /// one without known mistakes where there is one.
    fn representatives(&self, mistakes: &Mistakes) -> Vec<&WantedInstance> {
        let mut launches: Vec<&WantedInstance> = self
            .request
            .launches
            .iter()
            .filter(|launch| self.types.contains_key(&launch.request.instance_type))
            .collect();
        launches.sort_by_key(|launch| mistakes.contains_key(&launch.address));
        let mut seen = BTreeSet::new();
        launches.retain(|launch| seen.insert(launch.request.iam_instance_profile.clone()));
        launches
    }

    /// As it will be, but for its address: that may be taken by what ends before.
    async fn try_launch(&self, launch: &WantedInstance, mistakes: &Mistakes) -> Result<(), Failed> {
        let mut request = launch.request.clone();
        for path in mistakes.get(&launch.address).into_iter().flatten() {
            match path.as_str() {
                "subnet_id" => request.subnet_id = None,
                "security_group_ids" => request.security_group_ids = Vec::new(),
                "key_name" => request.key_name = None,
                "launch.base_ami" => request.base_ami = None,
                _ => {}
            }
        }
        let image = match (&request.base_ami, launch.method) {
            (Some(id), LaunchMethod::Swap) => id.clone(),
            // What is wrong with the choice is said by `machines`.
            _ => match self.cloud.base_image(&request, self.types.get(&request.instance_type)).await {
                Ok(id) => id,
                Err(_) => return Ok(()),
            },
        };
        let tags = self.tags(&request.tags, &launch.address);
        let request = RunInstance { token: token()?, private_ip: None, tags, ..request };
        let call = self.cloud.ec2().await?.run_instances().dry_run(true);
        send!("RunInstances", stub(call, &request, &image)).map(drop)
    }

    fn judge_launch(&self, launch: &WantedInstance, mistakes: &Mistakes, failed: &Failed, tried: &mut Tried) {
        let error = &failed.error;
        let address = &launch.address;
        match error.kind {
            _ if error.code == PERMITTED => {}
            ProviderErrorKind::Unauthorized => {
                let action = denied_action(&error.message).unwrap_or_else(|| "ec2:RunInstances".to_owned());
                tried.denied.insert(action, short(&error.message));
            }
            ProviderErrorKind::Throttled | ProviderErrorKind::Unavailable => {
                self.unread.note("ec2:RunInstances (tried)", false, &error.message);
            }
            _ if is_about_the_profile(&error.message) => {
                let profile = launch.request.iam_instance_profile.as_deref().unwrap_or_default();
                let diagnostic = Diagnostic::error("aws::instance_profile_missing", "An instance profile that does not exist")
                    .detail(format!("{address} wants the instance profile \"{profile}\". EC2 says: {}", short(&error.message)))
                    .help("an instance profile is not its role, though often named alike; see which there are:\naws iam list-instance-profiles --output table");
                // Many may name it: each place is one to mend.
                let same = self.request.launches.iter().filter(|other| {
                    other.request.iam_instance_profile == launch.request.iam_instance_profile
                });
                tried.refused.extend(
                    same.map(|other| Concern::at(&other.address, "iam_instance_profile", diagnostic.clone())),
                );
            }
            // A known mistake once more.
            _ if mistakes.contains_key(&launch.address) => {}
            _ => {
                let diagnostic = Diagnostic::error("aws::launch_refused", "EC2 would refuse the launch")
                    .detail(format!(
                        "{address} was tried, and EC2 says {}: {}",
                        error.code,
                        short(&error.message)
                    ))
                    .help("correct the instance's attributes as the message says");
                tried.refused.push(Concern::at(address, "", diagnostic));
            }
        }
    }

    /// The tags that the thing would carry: conditions of policies look at them.
    fn tags(&self, user: &TagMap, address: &InstanceAddress) -> TagMap {
        let mut tags = user.clone();
        let workspace = match self.request.workspace.as_str() {
            "" => "new".to_owned(),
            lineage => lineage.to_owned(),
        };
        tags.insert(TAG_WORKSPACE.to_owned(), workspace);
        tags.insert(TAG_ADDRESS.to_owned(), address.to_string());
        tags.insert(TAG_TOKEN.to_owned(), "tried".to_owned());
        tags
    }
}

/// EC2 has no volume or instance for it, so any will do.
fn token() -> Result<ClientToken, Failed> {
    ClientToken::random().map_err(|error| {
        crate::provider::types::ProviderError::new(
            "DryRun",
            ProviderErrorKind::Io,
            "NoRandomBytes",
            error.to_string(),
        )
        .into()
    })
}

/// EC2's answer to a profile that is not there (seen: "Value (x) for parameter
/// iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name").
fn is_about_the_profile(message: &str) -> bool {
    message.contains("iamInstanceProfile") || message.contains("IAM Instance Profile")
}

/// The action that a refusal names: "… is not authorized to perform: iam:PassRole on resource: …".
fn denied_action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("perform: ")?;
    let action: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == ':').collect();
    action.contains(':').then_some(action)
}

/// A message without the encoded part, which nobody reads here.
fn short(message: &str) -> String {
    message.split(" Encoded authorization failure message").next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_action() {
        let said = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/a is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/b because no identity-based policy allows the iam:PassRole action. Encoded authorization failure message: abc";
        assert_eq!(denied_action(said).as_deref(), Some("iam:PassRole"));
        assert!(!short(said).contains("Encoded"));
        assert_eq!(denied_action("You are not authorized to perform this operation."), None);
    }
}
