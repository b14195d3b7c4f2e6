//! Quotas of running processors and of volume storage: what the plan asks for beside what there is.
//! Warnings, since what is used and what is allowed may change before it is applied. Reading them is
//! optional.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as sdk;
use serde_json::{Value, json};

use super::survey::{Survey, together};
use crate::diagnostic::Diagnostic;
use crate::model::VolumeType;
use crate::provider::aws::call::pages;
use crate::provider::aws::views;
use crate::provider::aws::volumes::PAGE;
use crate::provider::preflight::{Concern, WantedVolume};
use crate::provider::types::{ProviderError, ProviderErrorKind};

/// GiB of a TiB.
const TIB: u64 = 1024;

/// Running On-Demand instances by what their types begin with: Service Quotas' code of their
/// processors and what it calls them ("Amazon EC2 instance type quotas").
const CLASSES: [(&[&str], &str, &str); 10] = [
    (
        &["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"],
        "L-1216C47A",
        "Standard (A, C, D, H, I, M, R, T, Z)",
    ),
    (&["f"], "L-74FC7D96", "F"),
    (&["g", "gr", "vt"], "L-DB2E81BA", "G and VT"),
    (&["p"], "L-417A185B", "P"),
    (&["x"], "L-7295265B", "X"),
    (&["u"], "L-43DA4232", "High Memory"),
    (&["inf"], "L-1945791B", "Inf"),
    (&["dl"], "L-6E869C2A", "DL"),
    (&["trn"], "L-2C3B7624", "Trn"),
    (&["hpc"], "L-F7808C92", "HPC"),
];

/// The class of an instance type: its index in [`CLASSES`].
fn class(instance_type: &str) -> Option<usize> {
    let letters = instance_type.find(|c: char| !c.is_ascii_lowercase()).map(|end| &instance_type[..end])?;
    CLASSES.iter().position(|(prefixes, ..)| prefixes.contains(&letters))
}

/// Service Quotas' code of a volume type's storage in TiB ("Amazon EBS endpoints and quotas").
fn storage_code(volume_type: VolumeType) -> &'static str {
    match volume_type {
        VolumeType::Gp2 => "L-D18FCD1D",
        VolumeType::Gp3 => "L-7A658B76",
        VolumeType::Io1 => "L-FD252861",
        VolumeType::Io2 => "L-09BD8365",
        VolumeType::St1 => "L-82ACEF56",
        VolumeType::Sc1 => "L-17AF77E8",
        VolumeType::Standard => "L-9CF3C2EB",
    }
}

impl Survey<'_> {
    pub(super) async fn quotas(&self) -> Vec<Concern> {
        let (processors, storage) = tokio::join!(self.processors(), self.storage());
        processors.into_iter().chain(storage).collect()
    }

    /// The value of a quota: as it is applied to the account, else AWS's default.
    async fn quota(&self, service: &str, code: &str) -> Option<f64> {
        let body = json!({ "ServiceCode": service, "QuotaCode": code });
        let applied = self.optional("servicequotas", "ServiceQuotasV20190624.GetServiceQuota", &body).await;
        let answer = match applied {
            Err(error) if error.kind == ProviderErrorKind::NotFound => {
                self.optional("servicequotas", "ServiceQuotasV20190624.GetAWSDefaultServiceQuota", &body)
                    .await
            }
            other => other,
        };
        let answer: Value = self.unread.read("servicequotas", answer)?;
        answer["Quota"]["Value"].as_f64()
    }

    async fn processors(&self) -> Vec<Concern> {
        let mut wanted: BTreeMap<usize, u64> = BTreeMap::new();
        for launch in &self.request.launches {
            let Some(facts) = self.types.get(&launch.request.instance_type) else { continue };
            if let Some(class) = class(&facts.name) {
                *wanted.entry(class).or_default() += u64::from(facts.vcpus);
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let calls = wanted.keys().map(|class| self.quota("ec2", CLASSES[*class].1)).collect();
        let allowed: Vec<Option<f64>> = together(calls).await;
        if allowed.iter().all(Option::is_none) {
            return Vec::new();
        }
        let Some(used) = self.unread.read("ec2", self.running().await) else { return Vec::new() };
        let over = wanted.iter().zip(allowed).filter_map(|((index, wanted), allowed)| {
            let (_, code, name) = CLASSES[*index];
            let (used, allowed) = (used.get(index).copied().unwrap_or(0), allowed?);
            // Numbers of processors are far below what a float holds exactly.
            if (used + wanted) as f64 <= allowed {
                return None;
            }
            let launch = self
                .request
                .launches
                .iter()
                .find(|launch| class(&launch.request.instance_type) == Some(*index))?;
            let diagnostic = Diagnostic::warning("aws::vcpu_quota", "More processors than the account's quota")
                .detail(format!(
                    "The instances to launch have {wanted} vCPUs of the class {name}, {used} run already, and the quota is {allowed}. EC2 would refuse the launches beyond it."
                ))
                .help(format!(
                    "raise the quota:\naws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} --desired-value {}",
                    used + wanted
                ))
                .help("or stop what need not run, or use smaller instance types");
            Some(Concern::at(&launch.address, "instance_type", diagnostic))
        });
        over.collect()
    }

    /// The vCPUs of all On-Demand instances that run, by class; without those that this plan ends.
    async fn running(&self) -> Result<BTreeMap<usize, u64>, ProviderError> {
        let states = ["pending", "running"].map(str::to_owned).to_vec();
        let by_state = sdk::Filter::builder().name("instance-state-name").set_values(Some(states)).build();
        let found = self.cloud.raw_instances(vec![vec![by_state]]).await?;
        let ended = &self.request.changes.terminated;
        let counted: Vec<&sdk::Instance> = found
            .iter()
            .filter(|instance| {
                let is_on_host =
                    instance.placement().and_then(sdk::Placement::tenancy) == Some(&sdk::Tenancy::Host);
                let is_ended =
                    instance.instance_id().is_some_and(|id| ended.iter().any(|ended| ended.0 == id));
                instance.instance_lifecycle().is_none() && !is_on_host && !is_ended
            })
            .collect();
        let of_options = |instance: &sdk::Instance| {
            let options = instance.cpu_options()?;
            let processors = options.core_count()?.checked_mul(options.threads_per_core()?)?;
            u64::try_from(processors).ok().filter(|processors| *processors > 0)
        };
        let name = |instance: &sdk::Instance| instance.instance_type().map(|kind| kind.as_str().to_owned());
        let unsaid: BTreeSet<String> = counted
            .iter()
            .filter(|instance| of_options(instance).is_none())
            .filter_map(|instance| name(instance))
            .collect();
        let types = self.cloud.instance_types(&unsaid).await?;
        let mut used = BTreeMap::new();
        for instance in counted {
            let Some(name) = name(instance) else { continue };
            let processors = of_options(instance)
                .or_else(|| types.get(&name).map(|facts| u64::from(facts.vcpus)))
                .unwrap_or(0);
            if let Some(class) = class(&name) {
                *used.entry(class).or_default() += processors;
            }
        }
        Ok(used)
    }

    async fn storage(&self) -> Vec<Concern> {
        let mut wanted: BTreeMap<VolumeType, (u64, &WantedVolume)> = BTreeMap::new();
        for volume in &self.request.volumes {
            let (sum, _) = wanted.entry(volume.request.volume_type).or_insert((0, volume));
            *sum = sum.saturating_add(volume.request.size);
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let calls = wanted.keys().map(|kind| self.quota("ebs", storage_code(*kind))).collect();
        let allowed: Vec<Option<f64>> = together(calls).await;
        if allowed.iter().all(Option::is_none) {
            return Vec::new();
        }
        let kinds = wanted.keys().copied().collect();
        let Some(used) = self.unread.read("ec2", self.stored(kinds).await) else { return Vec::new() };
        let over = wanted.iter().zip(allowed).filter_map(|((kind, (wanted, volume)), allowed)| {
            let (used, allowed) = (used.get(kind.as_str()).copied().unwrap_or(0), allowed?);
            let sum = used.saturating_add(*wanted);
            if sum as f64 <= allowed * TIB as f64 {
                return None;
            }
            let name = kind.as_str();
            let diagnostic = Diagnostic::warning("aws::storage_quota", "More volume storage than the account's quota")
                .detail(format!(
                    "The {name} volumes to make have {wanted} GiB, those of the region have {used} GiB already, and the quota is {allowed} TiB. EC2 would refuse the volumes beyond it."
                ))
                .help(format!(
                    "raise the quota:\naws service-quotas request-service-quota-increase --service-code ebs --quota-code {} --desired-value {}",
                    storage_code(*kind),
                    sum.div_ceil(TIB)
                ))
                .help("or delete volumes that are not needed, or use another type");
            Some(Concern::at(&volume.instance, volume.path("type"), diagnostic))
        });
        over.collect()
    }

    /// GiB of all volumes of these types; without those that this plan deletes.
    async fn stored(&self, kinds: Vec<VolumeType>) -> Result<BTreeMap<String, u64>, ProviderError> {
        let names = kinds.into_iter().map(|kind| views::volume_type(kind).as_str().to_owned()).collect();
        let by_type = sdk::Filter::builder().name("volume-type").set_values(Some(names)).build();
        let call = self.cloud.ec2().await?.describe_volumes().filters(by_type).max_results(PAGE);
        let found: Vec<sdk::Volume> = pages!("DescribeVolumes", call, volumes);
        let deleted = &self.request.changes.deleted;
        let mut used: BTreeMap<String, u64> = BTreeMap::new();
        for volume in &found {
            let is_deleted =
                volume.volume_id().is_some_and(|id| deleted.iter().any(|deleted| deleted.0 == id));
            let Some(kind) = volume.volume_type().filter(|_| !is_deleted) else { continue };
            let size = u64::try_from(volume.size().unwrap_or(0)).unwrap_or(0);
            *used.entry(kind.as_str().to_owned()).or_default() += size;
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_of_classes() {
        for (name, code) in [
            ("m6i.large", Some("L-1216C47A")),
            ("im4gn.large", Some("L-1216C47A")),
            ("g4dn.xlarge", Some("L-DB2E81BA")),
            ("gr6.4xlarge", Some("L-DB2E81BA")),
            ("u-6tb1.metal", Some("L-43DA4232")),
            ("u7i-12tb.224xlarge", Some("L-43DA4232")),
            ("trn1.2xlarge", Some("L-2C3B7624")),
            ("t3.micro", Some("L-1216C47A")),
            ("mac2.metal", None),
            ("", None),
        ] {
            assert_eq!(class(name).map(|index| CLASSES[index].1), code, "{name}");
        }
    }
}
