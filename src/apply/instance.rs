//! What an instance of the state becomes, as values: names of devices, records.

use std::collections::BTreeSet;

use crate::plan::{InstancePlan, Start};
use crate::provider::InstanceView;
use crate::state::InstanceResource;
use crate::state::format::v1::LaunchPhase;

/// EC2's recommended device names for EBS data volumes on HVM instances: /dev/sd[f-p], then the
/// two-letter names that Nitro accepts.
#[must_use]
pub fn data_device(index: usize) -> String {
    let letter = |offset: usize, base: u8| char::from(base.saturating_add(u8::try_from(offset).unwrap_or(0)));
    match index {
        0..=10 => format!("/dev/sd{}", letter(index, b'f')),
        _ => {
            let rest = index - 11;
            format!("/dev/xvd{}{}", letter(rest / 26, b'b'), letter(rest % 26, b'a'))
        }
    }
}

/// The record of an instance as it was launched for a plan.
#[must_use]
pub fn recorded(
    plan: &InstancePlan,
    view: &InstanceView,
    phase: LaunchPhase,
    start: Start,
) -> InstanceResource {
    InstanceResource {
        id: view.id.clone(),
        phase,
        instance_type: plan.instance_type.clone(),
        architecture: plan.architecture,
        boot_mode: plan.boot_mode,
        platform: view.platform.clone().or_else(|| Some(plan.platform.clone())),
        zone: plan.zone.clone(),
        subnet_id: plan.subnet_id.clone(),
        private_ip: view.private_ip.or(plan.private_ip),
        security_group_ids: plan.security_group_ids.clone(),
        key_name: plan.key_name.clone(),
        iam_instance_profile: plan.iam_instance_profile.clone(),
        user_data: plan.user_data,
        termination_protection: plan.termination_protection,
        options: plan.options.clone(),
        state: match start {
            Start::Running => "running".to_owned(),
            Start::Stopped => "stopped".to_owned(),
        },
        disks: plan.disks.clone(),
        tags: plan.tags.clone(),
        depends_on: plan.depends_on.iter().cloned().collect::<BTreeSet<_>>(),
        prevent_destroy: plan.prevent_destroy,
        tainted: false,
        image_id: None,
        base_ami: plan.base_ami.clone(),
        adopting: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_ec2_s() {
        let names: Vec<String> = [0, 10, 11, 36, 37].into_iter().map(data_device).collect();
        assert_eq!(names, ["/dev/sdf", "/dev/sdp", "/dev/xvdba", "/dev/xvdbz", "/dev/xvdca"]);
    }
}
