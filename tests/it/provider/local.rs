//! The `local` provider: the suite, and what its directory must withstand.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use replant::model::{AccessNodeSpec, LocalProviderSpec};
use replant::provider::local::{Delays, LocalProvider, Settings};
use replant::provider::{
    CreateSnapshot, CreateVolume, Filter, InstanceState, ModifyVolume, Provider, ProviderErrorKind,
    RunInstance, SnapshotState, TagMap, VolumeId, VolumeState,
};
use tempfile::TempDir;

use super::conformance::{Subject, conforms, refused, run, run_request, token, until, volume_request};

pub fn spec() -> LocalProviderSpec {
    LocalProviderSpec {
        directory: PathBuf::from("cloud"),
        accelerator: "tcg".to_owned(),
        ..Default::default()
    }
}

pub fn access_node() -> AccessNodeSpec {
    AccessNodeSpec { name: "dr".to_owned(), instance_id: "self".to_owned(), max_attachments: None }
}

pub fn quick() -> Settings {
    Settings { delays: Delays::all(Duration::from_millis(40)), ..Settings::default() }
}

pub fn open(base: &Path) -> Arc<LocalProvider> {
    Arc::new(LocalProvider::open_with(&spec(), &access_node(), base, quick()).unwrap())
}

/// A cloud's directory; ends what a failed test left running in it.
struct Machines(TempDir);

impl Drop for Machines {
    fn drop(&mut self) {
        super::boot::end_processes(self.0.path());
    }
}

/// The suite looks at states between: they must last while a busy machine answers.
pub fn subject() -> Subject {
    let base = Machines(TempDir::new().unwrap());
    let settings = Settings { delays: Delays::all(Duration::from_millis(300)), ..Settings::default() };
    let provider = LocalProvider::open_with(&spec(), &access_node(), base.0.path(), settings).unwrap();
    Subject {
        provider: Arc::new(provider),
        zone: "local-1a".to_owned(),
        other_zone: "local-1b".to_owned(),
        address: "10.20.1.15".parse().unwrap(),
        foreign: std::collections::BTreeSet::new(),
        keep: Box::new(base),
    }
}

fn subject_in(base: &TempDir) -> Subject {
    Subject { provider: open(base.path()), keep: Box::new(()), ..subject() }
}

conforms!(subject);

fn content(base: &TempDir, volume: &VolumeId) -> PathBuf {
    base.path().join("cloud/volumes").join(format!("{volume}.raw"))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn everything_survives_its_process() {
    let base = TempDir::new().unwrap();
    run(async {
        let subject = subject_in(&base);
        let node = subject.node().await;
        let volume = subject.volume().await;
        subject.attach(&volume, &node, "xvdk").await;
        let instance = subject.running().await;
        let again = subject_in(&base);
        assert_eq!(again.node().await, node);
        assert_eq!(again.described(&volume).await, subject.described(&volume).await);
        assert_eq!(again.instance(&instance.id).await.unwrap(), instance);
        assert_eq!(again.provider.device(&volume).await.unwrap().path, content(&base, &volume));
    });
}

#[test]
fn a_device_is_its_volumes_own_file() {
    let base = TempDir::new().unwrap();
    run(async {
        let subject = subject_in(&base);
        let node = subject.node().await;
        let (volume, other) = (subject.volume().await, subject.volume().await);
        subject.attach(&volume, &node, "xvdf").await;
        subject.attach(&other, &node, "xvdg").await;
        let path = content(&base, &volume);
        let aside = path.with_extension("aside");
        let refused_now = async |why: &str| {
            let error = subject.provider.device(&volume).await.unwrap_err();
            assert_eq!(error.kind, ProviderErrorKind::DeviceRefused);
            assert!(error.message.contains(why), "{why}: {error}");
        };
        assert!(subject.provider.device(&volume).await.unwrap().is_file);

        fs::rename(&path, &aside).unwrap();
        refused_now("cannot open it").await;
        symlink(&aside, &path).unwrap();
        refused_now("cannot open it").await;
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused_now("no regular file").await;
        fs::remove_dir(&path).unwrap();
        fs::copy(&aside, &path).unwrap();
        refused_now("another file").await;
        fs::remove_file(&path).unwrap();
        fs::hard_link(content(&base, &other), &path).unwrap();
        refused_now("another file").await;
        fs::remove_file(&path).unwrap();
        fs::hard_link(&aside, &path).unwrap();
        refused_now("2 names").await;
        fs::remove_file(&aside).unwrap();
        assert!(subject.provider.device(&volume).await.is_ok());
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 29).unwrap();
        refused_now("536870912 bytes").await;
    });
}

#[test]
fn a_device_that_qemu_holds_is_refused() {
    let base = TempDir::new().unwrap();
    run(async {
        let subject = subject_in(&base);
        let volume = subject.volume().await;
        subject.attach(&volume, &subject.node().await, "xvdf").await;
        let device = subject.provider.device(&volume).await.unwrap();
        // Somebody else's QEMU, of which the cloud knows nothing.
        let mut qemu = std::process::Command::new("qemu-io")
            .args(["-f", "raw"])
            .arg(&device.path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("the lock", Duration::from_secs(10), || async {
            let error = subject.provider.device(&volume).await.err()?;
            assert!(error.message.contains("locked"), "{error}");
            Some(())
        })
        .await;
        drop(qemu.stdin.take());
        qemu.wait().unwrap();
        assert!(subject.provider.device(&volume).await.is_ok());
    });
}

#[test]
fn the_access_node_takes_what_it_is_allowed_to() {
    let base = TempDir::new().unwrap();
    run(async {
        let node = AccessNodeSpec { max_attachments: Some(2), ..access_node() };
        let provider = LocalProvider::open_with(&spec(), &node, base.path(), quick()).unwrap();
        let subject = Subject { provider: Arc::new(provider), ..subject() };
        let id = subject.node().await;
        assert_eq!(subject.provider.access_node().await.unwrap().free_slots, ["xvdf", "xvdg"]);
        subject.attach(&subject.volume().await, &id, "xvdz").await;
        assert_eq!(subject.provider.access_node().await.unwrap().free_slots, ["xvdf"]);
        subject.attach(&subject.volume().await, &id, "xvdf").await;
        let third = subject.volume().await;
        refused(
            subject.provider.attach_volume(&third, &id, "xvdg").await,
            ProviderErrorKind::LimitExceeded,
            "AttachmentLimitExceeded",
        );
        refused(
            subject.provider.terminate_instance(&id).await,
            ProviderErrorKind::IncorrectState,
            "OperationNotPermitted",
        );
        assert!(subject.provider.instances(&Filter::default()).await.unwrap().is_empty());
    });
}

#[test]
fn a_snapshot_is_a_sparse_copy_of_its_moment() {
    let base = TempDir::new().unwrap();
    run(async {
        let subject = subject_in(&base);
        let volume = subject.volume().await;
        let file = fs::OpenOptions::new().write(true).open(content(&base, &volume)).unwrap();
        file.write_all_at(&[7; 3 << 20], 100 << 20).unwrap();
        file.write_all_at(b"the end", (1 << 30) - 7).unwrap();
        let request = CreateSnapshot {
            token: token(),
            volume_id: volume.clone(),
            description: String::new(),
            tags: TagMap::new(),
        };
        let made = subject.provider.create_snapshot(&request).await.unwrap();
        assert_eq!(made.state, SnapshotState::Pending);
        let copy = base.path().join(format!("cloud/snapshots/{}.raw", made.id));
        let compared = std::process::Command::new("qemu-img")
            .args(["compare", "-s", "-f", "raw", "-F", "raw"])
            .args([&content(&base, &volume), &copy])
            .output()
            .unwrap();
        assert!(compared.status.success(), "{compared:?}");
        use std::os::unix::fs::MetadataExt;
        assert!(fs::metadata(&copy).unwrap().blocks() < (8 << 20) / 512);
        file.write_all_at(&[9; 4096], 100 << 20).unwrap();
        let mut byte = [0];
        fs::File::open(&copy).unwrap().read_exact_at(&mut byte, 100 << 20).unwrap();
        assert_eq!(byte, [7]);
    });
}

#[test]
fn modifications_can_have_a_cooldown() {
    let base = TempDir::new().unwrap();
    run(async {
        let settings = Settings { modify_cooldown: Some(Duration::from_secs(3600)), ..quick() };
        let provider = LocalProvider::open_with(&spec(), &access_node(), base.path(), settings).unwrap();
        let subject = Subject { provider: Arc::new(provider), ..subject() };
        let volume = subject.volume().await;
        let grow = |size| ModifyVolume { size: Some(size), ..ModifyVolume::default() };
        subject.provider.modify_volume(&volume, &grow(2)).await.unwrap();
        refused(
            subject.provider.modify_volume(&volume, &grow(3)).await,
            ProviderErrorKind::LimitExceeded,
            "VolumeModificationRateExceeded",
        );
    });
}

#[test]
fn what_is_gone_is_forgotten_after_a_while() {
    let base = TempDir::new().unwrap();
    run(async {
        let settings = Settings { remember: Duration::from_millis(150), ..quick() };
        let provider = LocalProvider::open_with(&spec(), &access_node(), base.path(), settings).unwrap();
        let subject = Subject { provider: Arc::new(provider), ..subject() };
        let instance = subject.running().await.id;
        let volume = subject.volume().await;
        subject.provider.delete_volume(&volume).await.unwrap();
        subject.provider.terminate_instance(&instance).await.unwrap();
        subject.instance_state(&instance, InstanceState::Terminated).await;
        until("oblivion", Duration::from_secs(10), || async {
            subject.instance(&instance).await.is_none().then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(subject.provider.volumes(&Filter::default()).await.unwrap().is_empty());
        for directory in ["volumes", "instances", "machines", "tokens", "addresses"] {
            assert_eq!(names(&base.path().join("cloud").join(directory)), [""; 0], "{directory}");
        }
    });
}

#[test]
fn opening_cleans_up_and_keeps_data() {
    let base = TempDir::new().unwrap();
    let volumes = base.path().join("cloud/volumes");
    run(async {
        let subject = subject_in(&base);
        let volume = subject.volume().await;
        let empty = volumes.join("vol-00000000000000001.raw");
        fs::File::create(&empty).unwrap().set_len(1 << 30).unwrap();
        let full = volumes.join("vol-00000000000000002.raw");
        fs::write(&full, "somebody's data").unwrap();
        let half = volumes.join(".new-vol-00000000000000003.json");
        fs::write(&half, "{").unwrap();
        let again = subject_in(&base);
        assert!(!empty.exists() && full.exists() && !half.exists());
        assert_eq!(again.described(&volume).await.unwrap().state, VolumeState::Available);
    });
}

#[test]
fn a_damaged_record_is_said_and_nothing_is_lost() {
    let base = TempDir::new().unwrap();
    run(async {
        let subject = subject_in(&base);
        let volume = subject.volume().await;
        let record = base.path().join(format!("cloud/volumes/{volume}.json"));
        let good = fs::read_to_string(&record).unwrap();
        let other = "vol-00000000000000001";
        for bad in ["", "{}", "[1", "\u{0}", &good.replace(&volume.0, other), &"[".repeat(100_000)] {
            fs::write(&record, bad).unwrap();
            let error = subject.provider.volumes(&Filter::id(&volume)).await.unwrap_err();
            assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Io, "LocalRecord"));
            assert!(error.message.contains(&volume.0), "{error}");
        }
        fs::write(base.path().join("cloud/cloud.json"), r#"{"version":2,"access_node":"i-0"}"#).unwrap();
        let newer = LocalProvider::open_with(&spec(), &access_node(), base.path(), quick()).unwrap_err();
        assert_eq!(newer.code, "LocalVersion");
        assert!(content(&base, &volume).exists());
    });
}

/// Two processes' worth of providers race for the same tokens, slots and addresses.
#[test]
fn many_callers_at_once_get_one_answer() {
    let base = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = volume_request("local-1a");
        let launch = RunInstance { private_ip: "10.0.0.9".parse().ok(), ..run_request("local-1a") };
        let mut tasks = Vec::new();
        for _ in 0..8 {
            let provider = open(base.path());
            let (request, launch) = (request.clone(), launch.clone());
            tasks.push(tokio::spawn(async move {
                let volume = provider.create_volume(&request).await.unwrap().id;
                let instance = provider.run_instance(&launch).await.unwrap().id;
                let rival = RunInstance { token: token(), ..launch };
                let error = provider.run_instance(&rival).await.unwrap_err();
                assert_eq!(error.code, "InvalidIPAddress.InUse");
                (volume, instance)
            }));
        }
        let mut answers = std::collections::BTreeSet::new();
        for task in tasks {
            answers.insert(task.await.unwrap());
        }
        assert_eq!(answers.len(), 1);
        let subject = subject_in(&base);
        let (volume, _) = answers.first().unwrap();
        subject.state(volume, VolumeState::Available).await;
        let node = subject.node().await;
        let mut tasks = Vec::new();
        for slot in ["xvdf", "xvdg", "xvdh", "xvdi"] {
            let (provider, volume, node) = (open(base.path()), volume.clone(), node.clone());
            tasks.push(tokio::spawn(
                async move { provider.attach_volume(&volume, &node, slot).await.is_ok() },
            ));
        }
        let mut attached = 0;
        for task in tasks {
            attached += usize::from(task.await.unwrap());
        }
        assert_eq!(attached, 1);
    });
}

#[test]
fn a_large_cloud_stays_quick() {
    let base = TempDir::new().unwrap();
    run(async {
        let settings = Settings { delays: Delays::all(Duration::ZERO), ..Settings::default() };
        let provider = LocalProvider::open_with(&spec(), &access_node(), base.path(), settings).unwrap();
        let begun = Instant::now();
        let mut last = None;
        for number in 0..200 {
            let tags = TagMap::from([("number".to_owned(), number.to_string())]);
            let request = CreateVolume { tags, ..volume_request("local-1a") };
            last = Some(provider.create_volume(&request).await.unwrap().id);
        }
        let made = begun.elapsed();
        let begun = Instant::now();
        assert_eq!(provider.volumes(&Filter::tag("number", 77)).await.unwrap().len(), 1);
        let listed = begun.elapsed();
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(provider.volumes(&Filter::id(last.as_ref().unwrap())).await.unwrap().len(), 1);
        }
        eprintln!("200 made {made:?}, one listing {listed:?}, 100 described {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(5), "describing by id must not read the others");
    });
}

#[test]
fn ids_never_lead_out_of_the_directory() {
    let base = TempDir::new().unwrap();
    run(async {
        let subject = subject_in(&base);
        let node = subject.node().await;
        fs::write(base.path().join("cloud/secret.json"), "{}").unwrap();
        for id in ["", "vol-", "vol-../secret", "../secret", "vol-/etc/passwd", "vol-0123456789ABCDEF0"] {
            let volume = VolumeId(id.to_owned());
            let not_found = ProviderErrorKind::NotFound;
            assert_eq!(subject.provider.device(&volume).await.unwrap_err().kind, not_found);
            assert_eq!(subject.provider.delete_volume(&volume).await.unwrap_err().kind, not_found);
            assert_eq!(
                subject.provider.attach_volume(&volume, &node, "xvdf").await.unwrap_err().kind,
                not_found
            );
            assert!(subject.provider.volumes(&Filter::id(id)).await.unwrap().is_empty());
            let instance = replant::provider::InstanceId(id.replace("vol", "i"));
            assert_eq!(subject.provider.start_instance(&instance).await.unwrap_err().kind, not_found);
            assert_eq!(subject.provider.console_log(&instance), None);
        }
        // Nor do records that somebody edited.
        let made = subject.running().await;
        let record = base.path().join(format!("cloud/instances/{}.json", made.id));
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replace(&made.volumes["/dev/xvda"].0, "../../../secret")).unwrap();
        let error = subject.provider.instances(&Filter::id(&made.id)).await.unwrap_err();
        assert_eq!(error.code, "LocalRecord");
        assert!(error.message.contains("no id"), "{error}");
    });
}
