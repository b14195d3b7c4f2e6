//! Instances that really start: from NVMe, from IDE, by BIOS and by UEFI; and those that do not
//! come up, with the reason.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use replant::model::BootMode;
use replant::provider::local::{Delays, LocalProvider, Settings};
use replant::provider::{
    CreateSnapshot, CreateVolume, Filter, InstanceId, InstanceState, ModifyInstance, Provider, RunInstance,
    StatusCheck, TagMap, VolumeId, VolumeState,
};
use tempfile::TempDir;

use super::conformance::{Subject, run, run_request, token, until, volume_request};
use super::guest::{Guest, dd, image};
use super::local::{access_node, spec};

/// A guest takes about 4 s to its prompt on a quiet machine, 20 times that on a very busy one.
const BOOT: Duration = Duration::from_secs(300);

pub struct Cloud {
    pub base: TempDir,
    subject: Subject,
}

/// Ends what a failed test left running.
impl Drop for Cloud {
    fn drop(&mut self) {
        end_processes(self.base.path());
    }
}

/// Ends the QEMU processes of the cloud below a directory.
pub fn end_processes(base: &Path) {
    for process in processes(base) {
        drop(std::process::Command::new("kill").arg("-9").arg(process.to_string()).status());
    }
}

/// The QEMU processes of the cloud below a directory, found by their command lines.
fn processes(base: &Path) -> Vec<u32> {
    let base = base.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("qemu-system") && line.contains(&base) {
            found.push(pid);
        }
    }
    found
}

fn provider(base: &TempDir, power_off: Duration) -> Arc<LocalProvider> {
    let settings =
        Settings { delays: Delays::all(Duration::from_millis(20)), power_off, ..Settings::default() };
    Arc::new(LocalProvider::open_with(&spec(), &access_node(), base.path(), settings).unwrap())
}

pub fn cloud() -> Cloud {
    cloud_with(BOOT)
}

/// `power_off`: how long a guest may take to power off.
fn cloud_with(power_off: Duration) -> Cloud {
    let base = TempDir::new().unwrap();
    let subject = Subject {
        provider: provider(&base, power_off),
        zone: "local-1a".to_owned(),
        other_zone: "local-1b".to_owned(),
        address: "10.20.1.15".parse().unwrap(),
        foreign: std::collections::BTreeSet::new(),
        keep: Box::new(()),
    };
    Cloud { base, subject }
}

impl Cloud {
    /// The QEMU processes of this cloud.
    pub fn processes(&self) -> Vec<u32> {
        processes(self.base.path())
    }

    /// A volume with a guest's image on it, written as `apply` would.
    async fn restored(&self, guest: Option<Guest>) -> VolumeId {
        let volume = self.subject.volume().await;
        let node = self.subject.node().await;
        self.subject.attach(&volume, &node, "xvdf").await;
        let device = self.subject.provider.device(&volume).await.unwrap();
        if let Some(guest) = guest {
            dd(image(guest), &device.path, 0, &[]);
        }
        self.subject.detach(&volume, &node).await;
        volume
    }

    /// A stub whose root is swapped for `root`; more volumes beside it; started.
    async fn started(&self, request: &RunInstance, root: &VolumeId, data: &[VolumeId]) -> InstanceId {
        let made = self.subject.provider.run_instance(request).await.unwrap();
        self.subject.instance_state(&made.id, InstanceState::Running).await;
        self.subject.stop(&made.id).await;
        let stub = &made.volumes[&made.root_device];
        self.subject.detach(stub, &made.id).await;
        self.subject.provider.delete_volume(stub).await.unwrap();
        self.subject.attach(root, &made.id, &made.root_device).await;
        for (index, volume) in data.iter().enumerate() {
            let letter = char::from(b'f' + u8::try_from(index).unwrap());
            self.subject.attach(volume, &made.id, &format!("/dev/sd{letter}")).await;
        }
        self.subject.provider.start_instance(&made.id).await.unwrap();
        made.id
    }

    async fn status(&self, id: &InstanceId) -> StatusCheck {
        until("a verdict", BOOT, || async {
            let status = self.subject.provider.instance_status(id).await.unwrap();
            (status != StatusCheck::Initializing).then_some(status)
        })
        .await
    }

    #[track_caller]
    fn up(&self, id: &InstanceId) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move {
            match self.status(id).await {
                StatusCheck::Ok { evidence } => assert_eq!(evidence, "guest login:"),
                other => panic!("{place}: {other:#?}"),
            }
            self.subject.provider.console_output(id).await.unwrap().text
        }
    }

    async fn impaired(&self, id: &InstanceId) -> (String, String) {
        match self.status(id).await {
            StatusCheck::Impaired { reason, evidence } => (reason, evidence),
            other => panic!("{other:#?}"),
        }
    }

    async fn terminated(&self, id: &InstanceId) {
        let keep = ModifyInstance { termination_protection: Some(false), ..ModifyInstance::default() };
        self.subject.provider.modify_instance(id, &keep).await.unwrap();
        self.subject.provider.terminate_instance(id).await.unwrap();
        self.subject.instance_state(id, InstanceState::Terminated).await;
        assert_eq!(self.processes(), [0; 0], "a QEMU was left");
    }
}

fn serial(volume: &VolumeId) -> String {
    volume.0.replace('-', "")
}

#[test]
fn a_nitro_instance_boots_from_nvme_and_lives() {
    let cloud = cloud();
    run(async {
        let root = cloud.restored(Some(Guest::Bios)).await;
        let data = cloud.subject.volume().await;
        let id = cloud.started(&run_request("local-1a"), &root, std::slice::from_ref(&data)).await;
        let console = cloud.up(&id).await;
        assert!(console.contains(&format!("disk nvme0n1 serial {}", serial(&root))), "{console}");
        assert!(console.contains(&format!("disk nvme1n1 serial {}", serial(&data))), "{console}");
        assert!(!console.contains("disk sda") && console.contains("firmware bios"), "{console}");
        assert!(cloud.subject.provider.console_log(&id).unwrap().is_file());

        // It is a process of its own, in its own session, and keeps nothing of ours but its lock.
        let processes = cloud.processes();
        assert_eq!(processes.len(), 1);
        let stat = fs::read_to_string(format!("/proc/{}/stat", processes[0])).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        assert_eq!(fields[3], processes[0].to_string(), "{stat}");
        let descriptors: Vec<String> = fs::read_dir(format!("/proc/{}/fd", processes[0]))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .filter(|target| target.starts_with('/') && !target.starts_with("/dev/"))
            .collect();
        let own = cloud.base.path().to_string_lossy().into_owned();
        assert!(descriptors.iter().all(|target| target.starts_with(&own)), "{descriptors:?}");
        // Its volumes are nobody else's to touch.
        assert_eq!(
            cloud.subject.provider.detach_volume(&data, &id).await.unwrap_err().code,
            "UnsupportedOperation"
        );

        // Another process finds it, snapshots it while it runs, and stops it cleanly.
        let again = Subject { provider: provider(&cloud.base, BOOT), keep: Box::new(()), ..cloud_of(&cloud) };
        assert!(matches!(again.provider.instance_status(&id).await.unwrap(), StatusCheck::Ok { .. }));
        let snapshot = CreateSnapshot {
            token: token(),
            volume_id: root.clone(),
            description: String::new(),
            tags: TagMap::new(),
        };
        again.provider.create_snapshot(&snapshot).await.unwrap();
        again.stop(&id).await;
        let console = again.provider.console_output(&id).await.unwrap().text;
        assert!(console.contains("power button"), "{console}");
        assert_eq!(cloud.processes(), [0; 0]);
        assert_eq!(again.provider.instance_status(&id).await.unwrap(), StatusCheck::Initializing);

        // It starts again, and goes with what may go; the data volume stays.
        again.provider.start_instance(&id).await.unwrap();
        again.instance_state(&id, InstanceState::Running).await;
        assert_eq!(cloud.processes().len(), 1);
        let change = ModifyInstance {
            delete_on_termination: [("/dev/xvda".to_owned(), true), ("/dev/sdf".to_owned(), false)].into(),
            ..ModifyInstance::default()
        };
        again.provider.modify_instance(&id, &change).await.unwrap();
        again.provider.terminate_instance(&id).await.unwrap();
        let impatient = provider(&cloud.base, Duration::from_secs(1));
        until("its end", BOOT, || async {
            let found = impatient.instances(&Filter::id(&id)).await.unwrap();
            (found[0].state == InstanceState::Terminated).then_some(())
        })
        .await;
        assert_eq!(cloud.processes(), [0; 0]);
        again.state(&data, VolumeState::Available).await;
        until("the root volume's end", BOOT, || async {
            again.described(&root).await.is_none().then_some(())
        })
        .await;
    });
}

fn cloud_of(cloud: &Cloud) -> Subject {
    Subject {
        provider: Arc::clone(&cloud.subject.provider),
        zone: cloud.subject.zone.clone(),
        other_zone: cloud.subject.other_zone.clone(),
        address: cloud.subject.address,
        foreign: cloud.subject.foreign.clone(),
        keep: Box::new(()),
    }
}

#[test]
fn a_xen_instance_sees_ide_and_ahci() {
    let cloud = cloud_with(Duration::from_secs(1));
    run(async {
        let root = cloud.restored(Some(Guest::Bios)).await;
        let mut data = Vec::new();
        for _ in 0..5 {
            data.push(cloud.subject.volume().await);
        }
        let request = RunInstance {
            instance_type: "t2.micro".to_owned(),
            console_pattern: Some("^never".to_owned()),
            boot_timeout: Some(1),
            ..run_request("local-1a")
        };
        let id = cloud.started(&request, &root, &data).await;
        // A guest that says nothing of what is waited for runs out of time.
        let (reason, _) = cloud.impaired(&id).await;
        assert_eq!(reason, "nothing on its console matched '^never' within 1 s");
        // Waiting longer, for something else, is a modification away.
        let change = ModifyInstance {
            console_pattern: Some("^guest login: $".to_owned()),
            boot_timeout: Some(600),
            ..ModifyInstance::default()
        };
        cloud.subject.provider.modify_instance(&id, &change).await.unwrap();
        let console = cloud.up(&id).await;
        // Which is sda is not certain: the kernel asks them side by side.
        for volume in [&root, &data[0], &data[1], &data[2]] {
            assert!(console.contains(&format!("serial {}", serial(volume))), "{console}");
        }
        assert!(console.contains("disk sda") && console.contains("disk sdd"), "{console}");
        // The fifth and sixth hang on AHCI, for which this kernel has no driver.
        assert!(console.contains("controller 0x010601"), "{console}");
        assert!(!console.contains("nvme"), "{console}");
        cloud.terminated(&id).await;
    });
}

#[test]
fn a_uefi_instance_boots_by_uefi() {
    let cloud = cloud_with(Duration::from_secs(1));
    run(async {
        let root = cloud.restored(Some(Guest::Uefi)).await;
        let request = RunInstance { boot_mode: BootMode::Uefi, ..run_request("local-1a") };
        let id = cloud.started(&request, &root, &[]).await;
        let console = cloud.up(&id).await;
        assert!(console.contains("firmware uefi"), "{console}");
        cloud.terminated(&id).await;
    });
}

#[test]
fn a_guest_that_does_not_come_up_is_explained() {
    let cloud = cloud_with(Duration::from_secs(1));
    run(async {
        // The kernel's own words.
        let root = cloud.restored(Some(Guest::NoRoot)).await;
        let id = cloud.started(&run_request("local-1a"), &root, &[]).await;
        let (reason, evidence) = cloud.impaired(&id).await;
        assert!(reason.contains("no root filesystem"), "{reason}");
        assert!(evidence.contains("Unable to mount root fs"), "{evidence}");
        assert!(evidence.lines().count() <= 20);
        cloud.terminated(&id).await;

        // The firmware's.
        let empty = cloud.restored(None).await;
        let id = cloud.started(&run_request("local-1a"), &empty, &[]).await;
        let (reason, evidence) = cloud.impaired(&id).await;
        assert!(reason.contains("firmware found nothing to boot"), "{reason}");
        assert!(evidence.contains("No bootable device"), "{evidence}");
        cloud.terminated(&id).await;
    });
}

#[test]
fn a_machine_that_ends_by_itself_is_stopped() {
    let cloud = cloud_with(Duration::from_secs(1));
    run(async {
        let root = cloud.restored(Some(Guest::PowersOff)).await;
        let id = cloud.started(&run_request("local-1a"), &root, &[]).await;
        let (reason, evidence) = cloud.impaired(&id).await;
        assert!(reason.contains("powered it off"), "{reason}");
        assert!(evidence.contains("firmware bios"), "{evidence}");
        assert_eq!(cloud.subject.instance(&id).await.unwrap().state, InstanceState::Stopped);
        assert_eq!(cloud.processes(), [0; 0]);
        cloud.terminated(&id).await;
    });
}

/// A caller that dies between the steps of a start leaves a record, a process, or both; the next
/// one adopts the process or begins it, and never runs two.
#[test]
fn a_start_that_was_cut_off_is_finished() {
    let cloud = cloud();
    run(async {
        let root = cloud.subject.volume().await;
        let id = cloud.started(&run_request("local-1a"), &root, &[]).await;
        let record = cloud.base.path().join(format!("cloud/instances/{id}.json"));
        let forget = || {
            let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
            let process = value["boot"]["process"].take();
            value["phase"] = "pending".into();
            fs::write(&record, value.to_string()).unwrap();
            process
        };
        let first = cloud.processes();
        let process = forget();
        assert_eq!(process["pid"], first[0]);
        assert_eq!(cloud.subject.instance(&id).await.unwrap().state, InstanceState::Running);
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        assert_eq!((&value["boot"]["process"], cloud.processes()), (&process, first.clone()));

        forget();
        std::process::Command::new("kill").arg("-9").arg(first[0].to_string()).status().unwrap();
        until("its end", BOOT, || async { cloud.processes().is_empty().then_some(()) }).await;
        cloud.subject.instance_state(&id, InstanceState::Running).await;
        let second = cloud.processes();
        assert!(second.len() == 1 && second != first);

        // Somebody ends it: EC2 would call it stopped, and so do we, with the reason.
        std::process::Command::new("kill").arg("-9").arg(second[0].to_string()).status().unwrap();
        cloud.subject.instance_state(&id, InstanceState::Stopped).await;
        assert!(cloud.impaired(&id).await.0.contains("ended"));

        // An instance whose record is lost leaves no process behind either.
        cloud.subject.provider.start_instance(&id).await.unwrap();
        assert_eq!(cloud.processes().len(), 1);
        fs::remove_file(&record).unwrap();
        provider(&cloud.base, BOOT);
        assert_eq!(cloud.processes(), [0; 0]);
    });
}

#[test]
fn a_running_volume_is_locked_and_given_back() {
    let power_off = Duration::from_secs(1);
    let cloud = cloud_with(power_off);
    run(async {
        let tags = TagMap::from([("whose".to_owned(), "mine".to_owned())]);
        let request = CreateVolume { tags, ..volume_request("local-1a") };
        let root = cloud.subject.provider.create_volume(&request).await.unwrap().id;
        cloud.subject.state(&root, VolumeState::Available).await;
        let id = cloud.started(&run_request("local-1a"), &root, &[]).await;
        // Its file is locked: QEMU itself would refuse a second one.
        let file = cloud.base.path().join(format!("cloud/volumes/{root}.raw"));
        let second =
            std::process::Command::new("qemu-io").args(["-f", "raw", "-c", "read 0 512"]).arg(&file).output();
        assert!(String::from_utf8_lossy(&second.unwrap().stderr).contains("lock"));
        assert_eq!(cloud.subject.provider.volumes(&Filter::tag("whose", "mine")).await.unwrap().len(), 1);
        // With a volume that stays, termination gives the guest its time; here there is none to use it.
        let begun = Instant::now();
        cloud.terminated(&id).await;
        assert!(begun.elapsed() >= power_off);
        cloud.subject.state(&root, VolumeState::Available).await;
    });
}
