//! Making volumes and instances, once for each client token.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;

use super::cloud::Desk;
use super::failure::Failure;
use super::id;
use super::instance_types::instance_type;
use super::options;
use super::record::{
    AttachmentPhase, AttachmentRecord, InstancePhase, InstanceRecord, NameRecord, Record, VolumePhase,
    VolumeRecord,
};
use super::rules::{self, Shape};
use super::settle::token_key;
use super::store::{ADDRESSES, TOKENS, create, remove_file, temporary};
use super::views::volume_view;
use crate::model::{Architecture, ClientToken, Digest, GIB, InstanceOptions, VolumeType};
use crate::provider::types::{CreateVolume, InstanceId, InstanceView, RunInstance, VolumeId, VolumeView};

/// GiB of a stub's root volume, as most base AMIs have.
const STUB_ROOT: u64 = 8;

impl Desk<'_> {
    /// The id that a token was given to, else a new one that it is given to now. It is written
    /// before the resource: after a crash the retry goes on with the same id.
    pub(super) fn claim<R: Record>(&self, operation: &str, token: &ClientToken) -> Result<String, Failure> {
        match self.store.name(TOKENS, &token_key(operation, token))? {
            Some(name) if id::is_id(R::PREFIX, &name.id) => Ok(name.id),
            _ => self.claim_anew::<R>(operation, token),
        }
    }

    fn claim_anew<R: Record>(&self, operation: &str, token: &ClientToken) -> Result<String, Failure> {
        let id = id::random(R::PREFIX)?;
        let name = NameRecord { token: Some(token.clone()), address: None, id: id.clone() };
        self.store.set_name(TOKENS, &token_key(operation, token), &name)?;
        Ok(id)
    }

    pub(super) fn create_volume(&self, request: &CreateVolume) -> Result<VolumeView, Failure> {
        rules::token(&request.token.0)?;
        rules::zone(&request.zone, &self.spec.zone)?;
        rules::tags(&request.tags)?;
        if request.kms_key_id.is_some() && request.encrypted != Some(true) {
            return Err(Failure::parameter(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        let shape = Shape {
            volume_type: request.volume_type,
            size: request.size,
            iops: request.iops,
            throughput: request.throughput,
        }
        .checked()?;
        let mut id = self.claim::<VolumeRecord>("CreateVolume", &request.token)?;
        match self.volume_by_id(&id)? {
            None => {}
            Some(made) if matches!(made.phase, VolumePhase::Deleting | VolumePhase::Deleted) => {
                id = self.claim_anew::<VolumeRecord>("CreateVolume", &request.token)?;
            }
            Some(made) if made.request.as_ref() == Some(request) => return Ok(volume_view(&made)),
            Some(_) => return Err(mismatch(&request.token)),
        }
        let volume = VolumeRecord {
            inode: self.new_content(&id, shape.size)?,
            id: VolumeId(id),
            request: Some(request.clone()),
            zone: request.zone.clone(),
            size: shape.size,
            volume_type: shape.volume_type,
            iops: shape.iops,
            throughput: shape.throughput,
            encrypted: request.encrypted.unwrap_or(false),
            kms_key_id: request.kms_key_id.clone(),
            phase: VolumePhase::Creating,
            since: self.now,
            attachment: None,
            growing: false,
            modified: None,
            tags: request.tags.clone(),
        };
        self.store.write(&volume)?;
        Ok(volume_view(&volume))
    }

    /// A volume's file, empty; its inode.
    fn new_content(&self, id: &str, gib: u64) -> Result<u64, Failure> {
        let path = self.store.content::<VolumeRecord>(id);
        let fail = |error| Failure::file("make", &path, error);
        let size = gib.checked_mul(GIB).ok_or_else(|| Failure::value(format!("{gib} GiB is too large")))?;
        // What lies there is of an attempt that was killed before its record was written.
        remove_file(&path)?;
        let temporary = temporary(&path);
        let file = create(&temporary).map_err(fail)?;
        file.set_len(size).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        let inode = file.metadata().map_err(fail)?.ino();
        // The record's own write makes the directory last.
        fs::rename(&temporary, &path).map_err(fail)?;
        Ok(inode)
    }

    pub(super) fn run_instance(&self, request: &RunInstance) -> Result<InstanceView, Failure> {
        self.check_run(request)?;
        let id = self.claim::<InstanceRecord>("RunInstances", &request.token)?;
        if let Some(made) = self.instance_by_id(&id)? {
            if made.request.as_ref() != Some(&without_user_data(request)) {
                return Err(mismatch(&request.token));
            }
            if made.phase == InstancePhase::Terminated {
                return Err(Failure::state(
                    "IdempotentInstanceTerminated",
                    format!("The client token '{}' launched {id}, which is terminated", request.token),
                ));
            }
            return self.instance_view(&made);
        }
        self.check_interfaces(&request.options)?;
        if let Some(image) = &request.image_id {
            return self.run_image(request, image, id);
        }
        let address = self.claim_address(request.private_ip, &id)?;
        let root_device = if request.platform == "windows" { "/dev/sda1" } else { "/dev/xvda" };
        let stub_root = VolumeId(id::random(VolumeRecord::PREFIX)?);
        let instance = InstanceRecord {
            slots: [(rules::slot(root_device)?, stub_root.clone())].into(),
            stub_root: Some(stub_root),
            ..self.launched(id, request, address, root_device)
        };
        self.store.write(&instance)?;
        self.finish_stub(&instance)?;
        self.instance_view(&instance)
    }

    /// An instance as it begins, without volumes.
    pub(super) fn launched(
        &self,
        id: String,
        request: &RunInstance,
        address: Ipv4Addr,
        root_device: &str,
    ) -> InstanceRecord {
        InstanceRecord {
            slots: BTreeMap::new(),
            id: InstanceId(id),
            request: Some(without_user_data(request)),
            instance_type: request.instance_type.clone(),
            zone: request.zone.clone(),
            subnet_id: request.subnet_id.clone(),
            private_ip: Some(address),
            security_group_ids: request.security_group_ids.clone(),
            boot_mode: request.boot_mode,
            phase: InstancePhase::Pending,
            since: self.now,
            root_device: root_device.to_owned(),
            stub_root: None,
            image_volumes: Vec::new(),
            termination_protection: false,
            profile: None,
            // A swap stops it; it is set after the launch.
            options: InstanceOptions { disable_api_stop: false, ..request.options.clone() },
            console_pattern: request.console_pattern.clone(),
            boot_timeout: request.boot_timeout,
            boot: None,
            paused: false,
            ended: None,
            tags: request.tags.clone(),
        }
    }

    fn check_run(&self, request: &RunInstance) -> Result<(), Failure> {
        rules::token(&request.token.0)?;
        rules::zone(&request.zone, &self.spec.zone)?;
        rules::tags(&request.tags)?;
        let name = &request.instance_type;
        let facts = instance_type(name)
            .ok_or_else(|| Failure::value(format!("Invalid value '{name}' for InstanceType.")))?;
        let wanted = match request.architecture {
            Architecture::I386 => Architecture::X86_64,
            other => other,
        };
        if facts.architecture != wanted {
            return Err(Failure::value(format!(
                "The architecture of instance type {name} does not match the architecture of the guest."
            )));
        }
        if !facts.boot_modes.contains(&request.boot_mode) {
            return Err(Failure::parameter(
                "InvalidParameterCombination",
                format!(
                    "The instance type {name} does not support the boot mode '{}'.",
                    request.boot_mode.as_str()
                ),
            ));
        }
        if !matches!(request.platform.as_str(), "linux" | "windows") {
            return Err(Failure::value(format!("Invalid value '{}' for platform.", request.platform)));
        }
        if let Some(ami) = &request.base_ami
            && !ami.starts_with("ami-")
        {
            return Err(Failure::parameter("InvalidAMIID.Malformed", format!("Invalid id: \"{ami}\"")));
        }
        if let Some(subnet) = &request.subnet_id
            && !subnet.starts_with("subnet-")
        {
            return Err(Failure::parameter(
                "InvalidSubnetID.NotFound",
                format!("The subnet ID '{subnet}' does not exist"),
            ));
        }
        rules::security_groups(&request.security_group_ids)?;
        options::check(&request.options, name, facts.max_interfaces)?;
        if let Some(pattern) = &request.console_pattern {
            rules::pattern(pattern)?;
        }
        request.private_ip.map_or(Ok(()), rules::private_ip)
    }

    /// Takes the address that is wanted, or a free one of 172.31.0.0/16, for an instance.
    pub(super) fn claim_address(&self, wanted: Option<Ipv4Addr>, id: &str) -> Result<Ipv4Addr, Failure> {
        if let Some(address) = wanted {
            if let Some(holder) = self.holder(address)?
                && holder != id
            {
                return Err(Failure::state(
                    "InvalidIPAddress.InUse",
                    format!("Address {address} is in use by {holder}."),
                ));
            }
            return self.give_address(address, id);
        }
        let digest = Digest::of(id.as_bytes()).0;
        let start = u16::from_be_bytes([digest[0], digest[1]]);
        for offset in 0..=u16::MAX {
            let [third, last] = start.wrapping_add(offset).to_be_bytes();
            let address = Ipv4Addr::new(172, 31, third, last);
            // The ends of every /24 stay free, whatever the subnets may be.
            if (4..255).contains(&last) && self.holder(address)?.is_none_or(|holder| holder == id) {
                return self.give_address(address, id);
            }
        }
        Err(Failure::limit("InsufficientFreeAddressesInSubnet", "172.31.0.0/16 has no free address"))
    }

    fn give_address(&self, address: Ipv4Addr, id: &str) -> Result<Ipv4Addr, Failure> {
        let name = NameRecord { token: None, address: Some(address), id: id.to_owned() };
        self.store.set_name(ADDRESSES, &address.to_string(), &name)?;
        Ok(address)
    }

    /// The live instance that has an address.
    fn holder(&self, address: Ipv4Addr) -> Result<Option<String>, Failure> {
        let Some(name) = self.store.name(ADDRESSES, &address.to_string())? else { return Ok(None) };
        let instance = self.instance_by_id(&name.id)?;
        Ok(instance
            .filter(|instance| {
                instance.private_ip == Some(address) && instance.phase != InstancePhase::Terminated
            })
            .map(|instance| instance.id.0))
    }

    /// Makes the stub's root volume unless it was made. It carries the instance's tags, so that a
    /// run that died after the swap finds it.
    pub(super) fn finish_stub(&self, instance: &InstanceRecord) -> Result<(), Failure> {
        let Some(id) = &instance.stub_root else { return Ok(()) };
        if self.store.read::<VolumeRecord>(&id.0)?.is_some() {
            return Ok(());
        }
        let shape = Shape { volume_type: VolumeType::Gp3, size: STUB_ROOT, iops: None, throughput: None }
            .checked()?;
        self.store.write(&VolumeRecord {
            inode: self.new_content(&id.0, shape.size)?,
            id: id.clone(),
            request: None,
            zone: instance.zone.clone(),
            size: shape.size,
            volume_type: shape.volume_type,
            iops: shape.iops,
            throughput: shape.throughput,
            encrypted: false,
            kms_key_id: None,
            phase: VolumePhase::Available,
            since: instance.since,
            attachment: Some(AttachmentRecord {
                instance: instance.id.clone(),
                device: instance.root_device.clone(),
                phase: AttachmentPhase::Attaching,
                since: instance.since,
                delete_on_termination: true,
            }),
            growing: false,
            modified: None,
            tags: instance.tags.clone(),
        })
    }
}

/// User data is nowhere kept.
fn without_user_data(request: &RunInstance) -> RunInstance {
    RunInstance { user_data: None, ..request.clone() }
}

fn mismatch(token: &ClientToken) -> Failure {
    Failure::parameter(
        "IdempotentParameterMismatch",
        format!("The client token '{token}' was used with other parameters"),
    )
}
