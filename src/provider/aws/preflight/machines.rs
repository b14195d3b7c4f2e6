//! Instance types in their zones, base images, key pairs.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as sdk;

use super::survey::Survey;
use crate::diagnostic::Diagnostic;
use crate::model::{InstanceAddress, LaunchMethod};
use crate::provider::aws::ami::Wanted;
use crate::provider::aws::call::{pages, send};
use crate::provider::aws::volumes::FILTER_VALUES;
use crate::provider::preflight::{Concern, WantedInstance};
use crate::provider::types::ProviderError;

impl Survey<'_> {
    pub(super) async fn machines(&self) -> Vec<Concern> {
        let (zones, keys, named, chosen) =
            tokio::join!(self.offerings(), self.key_pairs(), self.named_images(), self.chosen_images());
        let mut found = Vec::new();
        if let Some(zones) = self.unread.read("ec2", zones) {
            found.extend(
                self.typed()
                    .into_iter()
                    .filter_map(|(address, name)| self.not_offered(address, name, &zones)),
            );
        }
        if let Some(keys) = self.unread.read("ec2", keys) {
            found.extend(self.request.launches.iter().filter_map(|launch| missing_key(launch, &keys)));
        }
        if let Some(images) = self.unread.read("ec2", named) {
            found.extend(self.request.launches.iter().filter_map(|launch| self.named_image(launch, &images)));
        }
        found.extend(chosen);
        found
    }

    /// Who wants which type: launches, and changes of type.
    fn typed(&self) -> Vec<(&InstanceAddress, &str)> {
        let launches = self
            .request
            .launches
            .iter()
            .map(|launch| (&launch.address, launch.request.instance_type.as_str()));
        let changed = self.request.changes.instances.values();
        let changed =
            changed.filter_map(|changed| Some((&changed.address, changed.request.instance_type.as_deref()?)));
        // A type that does not exist is the plan's to say.
        launches.chain(changed).filter(|(_, name)| self.types.contains_key(*name)).collect()
    }

    /// The zones of the region that offer each type.
    async fn offerings(&self) -> Result<BTreeMap<String, BTreeSet<String>>, ProviderError> {
        let names: BTreeSet<String> = self.typed().into_iter().map(|(_, name)| name.to_owned()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let ec2 = self.cloud.ec2().await?;
        let mut zones: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for names in names.chunks(FILTER_VALUES) {
            let by_name =
                sdk::Filter::builder().name("instance-type").set_values(Some(names.to_vec())).build();
            let call = ec2
                .describe_instance_type_offerings()
                .location_type(sdk::LocationType::AvailabilityZone)
                .filters(by_name);
            let found: Vec<sdk::InstanceTypeOffering> =
                pages!("DescribeInstanceTypeOfferings", call, instance_type_offerings);
            for offering in &found {
                let Some((name, zone)) = offering.instance_type().zip(offering.location()) else { continue };
                zones.entry(name.as_str().to_owned()).or_default().insert(zone.to_owned());
            }
        }
        Ok(zones)
    }

    fn not_offered(
        &self,
        address: &InstanceAddress,
        name: &str,
        zones: &BTreeMap<String, BTreeSet<String>>,
    ) -> Option<Concern> {
        let zone = &self.node.node.zone;
        let offering = zones.get(name);
        if offering.is_some_and(|zones| zones.contains(zone)) {
            return None;
        }
        let others: Vec<&str> = offering.into_iter().flatten().map(String::as_str).collect();
        let diagnostic = Diagnostic::error("aws::type_not_offered", "An instance type that the zone does not offer")
            .detail(format!(
                "{address} wants {name} in {zone}, the zone of the access node, which does not offer it. {}",
                match others.as_slice() {
                    [] => "No other zone of the region offers it either.".to_owned(),
                    zones => format!("It is offered in {}.", zones.join(", ")),
                }
            ))
            .help("use another instance_type; see which there are:\naws ec2 describe-instance-type-offerings --location-type availability-zone");
        let diagnostic = match others.first() {
            Some(other) => {
                diagnostic.help(format!("or use an access node and a subnet in another zone, as {other}"))
            }
            None => diagnostic,
        };
        Some(Concern::at(address, "instance_type", diagnostic))
    }

    async fn key_pairs(&self) -> Result<BTreeSet<String>, ProviderError> {
        let launches = self.request.launches.iter();
        let names: BTreeSet<String> = launches.filter_map(|launch| launch.request.key_name.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let ec2 = self.cloud.ec2().await?;
        let mut found = BTreeSet::new();
        for names in names.chunks(FILTER_VALUES) {
            let by_name = sdk::Filter::builder().name("key-name").set_values(Some(names.to_vec())).build();
            let answer = send!("DescribeKeyPairs", ec2.describe_key_pairs().filters(by_name))?;
            found.extend(answer.key_pairs().iter().filter_map(|key| key.key_name().map(str::to_owned)));
        }
        Ok(found)
    }

    /// The base images that launches name.
    async fn named_images(&self) -> Result<BTreeMap<String, sdk::Image>, ProviderError> {
        let names: BTreeSet<String> = swapped(self.request.launches.iter())
            .filter_map(|launch| launch.request.base_ami.clone())
            .collect();
        let names: Vec<String> = names.into_iter().collect();
        let mut found = BTreeMap::new();
        for ids in names.chunks(FILTER_VALUES) {
            for image in self.cloud.images_of(ids.to_vec()).await? {
                found.extend(image.image_id().map(str::to_owned).map(|id| (id, image)));
            }
        }
        Ok(found)
    }

    fn named_image(&self, launch: &WantedInstance, images: &BTreeMap<String, sdk::Image>) -> Option<Concern> {
        let request = &launch.request;
        let id = request.base_ami.as_ref().filter(|_| launch.method == LaunchMethod::Swap)?;
        let diagnostic = match images.get(id) {
            None => Diagnostic::error("aws::base_ami_missing", "A base image that does not exist")
                .detail(format!(
                    "{} names {id}, which is not in this region, or not shared with this account.",
                    launch.address
                ))
                .help("leave base_ami out: Replant then chooses a public image that fits"),
            Some(image) => {
                let wanted = Wanted::of(request, self.types.get(&request.instance_type));
                let misfits = wanted.misfits(image, !launch.is_unknown("platform"));
                if misfits.is_empty() {
                    return None;
                }
                Diagnostic::error("aws::base_ami_unfit", "A base image that does not fit the guest")
                    .detail(format!("{} names {id}, which {}.", launch.address, misfits.join("; and it ")))
                    .help("leave base_ami out: Replant then chooses a public image that fits")
            }
        };
        Some(Concern::at(&launch.address, "launch.base_ami", diagnostic))
    }

    /// Launches for which no base image is named and none is found: one question for each kind.
    async fn chosen_images(&self) -> Vec<Concern> {
        let mut found = Vec::new();
        for launch in swapped(self.request.launches.iter()) {
            let request = &launch.request;
            let Some(facts) = self.types.get(&request.instance_type) else { continue };
            if request.base_ami.is_some() {
                continue;
            }
            match self.cloud.base_image(request, Some(facts)).await {
                Ok(_) => {}
                Err(error) if error.code == "NoBaseImage" => {
                    let diagnostic = Diagnostic::error("aws::no_base_ami", "No public base image fits the guest")
                        .detail(format!("{}: {}.", launch.address, error.message))
                        .help("name one of this architecture, boot mode and platform: launch { base_ami = \"ami-…\" }");
                    found.push(Concern::at(&launch.address, "launch.base_ami", diagnostic));
                }
                Err(error) => {
                    self.unread.read::<()>("ec2", Err(error));
                }
            }
        }
        found
    }
}

/// The launches that start from a base image.
fn swapped<'a>(
    launches: impl Iterator<Item = &'a WantedInstance>,
) -> impl Iterator<Item = &'a WantedInstance> {
    launches.filter(|launch| launch.method == LaunchMethod::Swap)
}

fn missing_key(launch: &WantedInstance, keys: &BTreeSet<String>) -> Option<Concern> {
    let name = launch.request.key_name.as_ref().filter(|name| !keys.contains(*name))?;
    let diagnostic = Diagnostic::error("aws::key_pair_missing", "A key pair that does not exist")
        .detail(format!("{} wants the key pair \"{name}\", which this region does not have.", launch.address))
        .help("see which there are:\naws ec2 describe-key-pairs --output table")
        .help("or leave key_name out: the restored guest has the accounts and keys that it had");
    Some(Concern::at(&launch.address, "key_name", diagnostic))
}
