//! How planning and applying scale: 2,000 instances in the planner, 10,000 nodes in the executor.
//!
//! The images are facts, the provider answers at once: what is measured is the graph, the
//! planner, the executor and the journal, fsyncs included. `cargo bench --bench scale`; with
//! `terraform` on the machine, its plan of 10,000 chained resources is timed beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use replant::apply::{self, Cancel, Context, Event, Limits, Observer, Options, Specs, Tally};
use replant::copy::Budget;
use replant::diagnostic::Diagnostic;
use replant::model::{
    Architecture, BootMode, DesiredState, Digest, DiskSpec, Found, GuestSpec, Hypervisor, InstanceAddress,
    InstanceOptions, InstanceSpec, LaunchSpec, LifecycleSpec, Lookup, VolumeType,
};
use replant::observe::{DiskImage, Inspection, Machine, MachineDisk, Reality};
use replant::plan::{self, Mode, Overlays, Plan};
use replant::provider::preflight::{Concern, Preflight};
use replant::provider::{
    AccessNode, ConsoleOutput, CreateSnapshot, CreateVolume, DeviceFacts, Filter, ImageId, ImageView,
    InstanceId, InstanceTypeFacts, InstanceView, ModifyInstance, ModifyVolume, Provider, ProviderError,
    ProviderErrorKind, RegisterImage, RunInstance, SnapshotId, SnapshotView, StatusCheck, TagMap, VolumeId,
    VolumeState, VolumeView,
};
use replant::state::format::v1::Output;
use replant::state::{ImageFacts, Lock, Paths, State, Store};

fn spec(address: InstanceAddress, state: DesiredState) -> InstanceSpec {
    InstanceSpec {
        address,
        image: None,
        disks: Vec::new(),
        instance_type: "m6i.large".to_owned(),
        subnet_id: None,
        private_ip: None,
        security_group_ids: Vec::new(),
        key_name: None,
        iam_instance_profile: None,
        user_data: None,
        termination_protection: false,
        options: InstanceOptions::default(),
        state,
        guest: GuestSpec::default(),
        launch: LaunchSpec::default(),
        tags: BTreeMap::from([("Name".to_owned(), "machine".to_owned())]),
        depends_on: BTreeSet::new(),
        lifecycle: LifecycleSpec::default(),
        unknown: BTreeSet::new(),
        sensitive: BTreeSet::new(),
        spans: BTreeMap::new(),
    }
}

fn machines(
    count: usize,
    disks: usize,
    with_images: bool,
    state: DesiredState,
) -> BTreeMap<InstanceAddress, Machine> {
    (0..count)
        .map(|number| {
            let address = InstanceAddress::with_key("fleet", format!("machine-{number:05}"));
            let image = |disk: usize| DiskImage {
                facts: ImageFacts {
                    path: PathBuf::from(format!("backups/{number}-{disk}.vmdk")).into(),
                    member: None,
                    snapshot: None,
                    format: "vmdk".to_owned(),
                    size: 40 << 30,
                    identity: Digest::of(format!("{number}-{disk}").as_bytes()),
                },
                description: "vmdk streamOptimized".to_owned(),
                data_bytes: 9 << 30,
                zero_bytes: 31 << 30,
            };
            let disks = (0..disks)
                .map(|disk| MachineDisk {
                    spec: DiskSpec { size: Some(40), ..DiskSpec::new(format!("disk{disk}")) },
                    image: with_images.then(|| image(disk)),
                })
                .collect();
            let machine = Machine {
                spec: spec(address.clone(), state),
                disks,
                hardware: None,
                inspection: Inspection::Skipped,
            };
            (address, machine)
        })
        .collect()
}

fn access_node() -> AccessNode {
    AccessNode {
        instance_id: InstanceId("i-00000000000000000".to_owned()),
        zone: "local-1a".to_owned(),
        instance_type: "m6i.large".to_owned(),
        hypervisor: Hypervisor::Nitro,
        free_slots: ('f'..='z').map(|letter| format!("xvd{letter}")).collect(),
        ebs_bandwidth: None,
    }
}

fn reality() -> Reality {
    let facts = InstanceTypeFacts {
        name: "m6i.large".to_owned(),
        hypervisor: Hypervisor::Nitro,
        architecture: Architecture::X86_64,
        boot_modes: BTreeSet::from([BootMode::LegacyBios, BootMode::Uefi]),
        ena_required: true,
        vcpus: 2,
        memory: 8192,
        max_volumes: Some(27),
        max_interfaces: Some(3),
        shares_limit: false,
        ebs_bandwidth: None,
    };
    Reality {
        access_node: access_node(),
        instance_types: BTreeMap::from([(facts.name.clone(), facts)]),
        volumes: BTreeMap::new(),
        instances: BTreeMap::new(),
        snapshots: BTreeMap::new(),
        images: BTreeMap::new(),
        keys: BTreeMap::new(),
        statuses: BTreeMap::new(),
        refreshed: true,
        preflight: Vec::new(),
    }
}

fn plan_of(machines: &BTreeMap<InstanceAddress, Machine>, state: &State) -> Plan {
    plan::plan(&plan::Request {
        mode: Mode::Restore,
        machines,
        state,
        has_state: !state.lineage.is_empty(),
        reality: &reality(),
        outputs: &BTreeMap::new(),
        configuration: Digest::of(b"bench"),
        provider: "bench",
        replace: &BTreeSet::new(),
        targets: &BTreeSet::new(),
        allow_missing: false,
        cores: 2,
    })
    .expect("a plan")
}

/// A cloud that answers at once and forgets nothing but in memory.
#[derive(Default)]
struct Instant0 {
    next: AtomicU64,
    volumes: Mutex<BTreeMap<String, VolumeView>>,
}

fn unused<T>(operation: &'static str) -> Result<T, ProviderError> {
    Err(ProviderError::new(operation, ProviderErrorKind::InvalidParameter, "Unused", "not in this benchmark"))
}

#[async_trait]
impl Provider for Instant0 {
    fn name(&self) -> &'static str {
        "bench"
    }
    async fn preflight(&self, _: &Preflight) -> Vec<Concern> {
        Vec::new()
    }
    async fn access_node(&self) -> Result<AccessNode, ProviderError> {
        Ok(access_node())
    }
    async fn instance_types(
        &self,
        _: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, InstanceTypeFacts>, ProviderError> {
        Ok(BTreeMap::new())
    }
    async fn lookup(&self, _: &Lookup) -> Result<Vec<Found>, ProviderError> {
        unused("DescribeSubnets")
    }
    async fn create_volume(&self, request: &CreateVolume) -> Result<VolumeView, ProviderError> {
        let id = format!("vol-{:017x}", self.next.fetch_add(1, Ordering::Relaxed));
        let view = VolumeView {
            id: VolumeId(id.clone()),
            zone: request.zone.clone(),
            size: request.size,
            volume_type: VolumeType::Gp3,
            iops: None,
            throughput: None,
            encrypted: false,
            kms_key_id: None,
            state: VolumeState::Available,
            attachment: None,
            tags: request.tags.clone(),
        };
        self.volumes.lock().unwrap().insert(id, view.clone());
        Ok(view)
    }
    async fn volumes(&self, filter: &Filter) -> Result<Vec<VolumeView>, ProviderError> {
        let volumes = self.volumes.lock().unwrap();
        Ok(filter.ids.iter().filter_map(|id| volumes.get(id).cloned()).collect())
    }
    async fn modify_volume(&self, _: &VolumeId, _: &ModifyVolume) -> Result<(), ProviderError> {
        unused("ModifyVolume")
    }
    async fn delete_volume(&self, _: &VolumeId) -> Result<(), ProviderError> {
        unused("DeleteVolume")
    }
    async fn attach_volume(&self, _: &VolumeId, _: &InstanceId, _: &str) -> Result<(), ProviderError> {
        unused("AttachVolume")
    }
    async fn detach_volume(&self, _: &VolumeId, _: &InstanceId) -> Result<(), ProviderError> {
        unused("DetachVolume")
    }
    async fn device(&self, _: &VolumeId) -> Result<DeviceFacts, ProviderError> {
        unused("Device")
    }
    async fn run_instance(&self, _: &RunInstance) -> Result<InstanceView, ProviderError> {
        unused("RunInstances")
    }
    async fn instances(&self, _: &Filter) -> Result<Vec<InstanceView>, ProviderError> {
        Ok(Vec::new())
    }
    async fn start_instance(&self, _: &InstanceId) -> Result<(), ProviderError> {
        unused("StartInstances")
    }
    async fn stop_instance(&self, _: &InstanceId) -> Result<(), ProviderError> {
        unused("StopInstances")
    }
    async fn terminate_instance(&self, _: &InstanceId) -> Result<(), ProviderError> {
        unused("TerminateInstances")
    }
    async fn modify_instance(&self, _: &InstanceId, _: &ModifyInstance) -> Result<(), ProviderError> {
        unused("ModifyInstanceAttribute")
    }
    async fn instance_status(&self, _: &InstanceId) -> Result<StatusCheck, ProviderError> {
        unused("DescribeInstanceStatus")
    }
    async fn console_output(&self, _: &InstanceId) -> Result<ConsoleOutput, ProviderError> {
        unused("GetConsoleOutput")
    }
    async fn change_tags(&self, _: &str, _: &TagMap, _: &BTreeSet<String>) -> Result<(), ProviderError> {
        unused("CreateTags")
    }
    async fn create_snapshot(&self, _: &CreateSnapshot) -> Result<SnapshotView, ProviderError> {
        unused("CreateSnapshot")
    }
    async fn snapshots(&self, _: &Filter) -> Result<Vec<SnapshotView>, ProviderError> {
        Ok(Vec::new())
    }
    async fn delete_snapshot(&self, _: &SnapshotId) -> Result<(), ProviderError> {
        unused("DeleteSnapshot")
    }
    async fn register_image(&self, _: &RegisterImage) -> Result<ImageView, ProviderError> {
        unused("RegisterImage")
    }
    async fn images(&self, _: &Filter) -> Result<Vec<ImageView>, ProviderError> {
        Ok(Vec::new())
    }
    async fn deregister_image(&self, _: &ImageId) -> Result<(), ProviderError> {
        unused("DeregisterImage")
    }
    fn console_log(&self, _: &InstanceId) -> Option<PathBuf> {
        None
    }
}

struct Quiet;

impl Observer for Quiet {
    fn event(&self, _: &Event) {}
}

struct NoSpecs;

impl Specs for NoSpecs {
    fn instance(&self, _: &InstanceAddress, _: &State) -> Result<InstanceSpec, Diagnostic> {
        Err(Diagnostic::error("bench::unused", "not in this benchmark"))
    }
    fn outputs(&self, _: &State) -> Result<BTreeMap<String, Output>, Diagnostic> {
        Ok(BTreeMap::new())
    }
}

fn apply_now(directory: &Path, provider: &Arc<Instant0>, machines: &BTreeMap<InstanceAddress, Machine>) {
    let paths = Paths::in_directory(directory);
    let lock = Lock::acquire(&paths, "bench").unwrap();
    let store = Arc::new(Store::open(&paths, &lock).unwrap());
    let plan = plan_of(machines, &store.state());
    let nodes = plan.nodes.len();
    let context = Context {
        plan: Arc::new(plan),
        overlays: Overlays::new(),
        provider: Arc::clone(provider) as Arc<dyn Provider>,
        store,
        specs: Arc::new(NoSpecs),
        observer: Arc::new(Quiet),
        cancel: Cancel::default(),
        options: Options {
            parallelism: 10,
            verify: false,
            directory: directory.to_owned(),
            threads: None,
            limits: Limits::default(),
        },
        budget: Arc::new(Budget::default()),
        writers: tokio::sync::Semaphore::new(3),
        tally: Mutex::new(Tally::default()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let receipt = runtime.block_on(apply::run(Arc::new(context))).unwrap();
    assert!(receipt.complete);
    println!(
        "apply of {nodes} nodes (intent and result of each fsynced): {:.2} s",
        begun.elapsed().as_secs_f64()
    );
}

fn terraform(directory: &Path) {
    let mut text = String::from("resource \"terraform_data\" \"n0\" {}\n");
    for number in 1..10_000 {
        writeln!(
            text,
            "resource \"terraform_data\" \"n{number}\" {{\n  depends_on = [terraform_data.n{}]\n}}",
            number - 1
        )
        .unwrap();
    }
    std::fs::write(directory.join("main.tf"), text).unwrap();
    let run = |arguments: &[&str]| Command::new("terraform").args(arguments).current_dir(directory).output();
    if !run(&["init", "-no-color"]).is_ok_and(|output| output.status.success()) {
        println!("terraform: not on this machine");
        return;
    }
    let begun = Instant::now();
    let planned = Command::new("timeout")
        .args(["180", "terraform", "plan", "-no-color", "-refresh=false"])
        .current_dir(directory)
        .output()
        .unwrap();
    let ended = if planned.status.success() { "" } else { " (ended by the benchmark, unfinished)" };
    println!("terraform plan of 10000 chained terraform_data: {:.2} s{ended}", begun.elapsed().as_secs_f64());
}

fn main() {
    let state = {
        let empty = tempfile::tempdir().unwrap();
        Store::read(&Paths::in_directory(empty.path())).unwrap()
    };
    let fleet = machines(2000, 1, true, DesiredState::Stopped);
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let begun = Instant::now();
            let plan = plan_of(&fleet, &state);
            assert_eq!(plan.nodes.len(), 12_000);
            begun.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("plan of 2000 instances of one disk, 12000 nodes: {:.3} s (median of 5)", times[2]);

    let directory = tempfile::tempdir().unwrap();
    let provider = Arc::new(Instant0::default());
    let standbys = machines(2000, 5, false, DesiredState::Standby);
    apply_now(directory.path(), &provider, &standbys);

    let directory = tempfile::tempdir().unwrap();
    terraform(directory.path());
}
