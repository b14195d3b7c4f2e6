//! Appliances' manifests, made by other people's programs: a damaged appliance is found.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use replant::image::ova::{self, ManifestError};

use super::appliance::{Parts, member};
use super::fixture::{run, text};
use crate::support::Workspace;
use crate::support::command::replant;

const ALGORITHMS: [(&str, &str); 4] =
    [("sha1sum", "SHA1"), ("sha256sum", "SHA256"), ("sha384sum", "SHA384"), ("sha512sum", "SHA512")];

/// An appliance with a manifest as VMware's tools write it.
fn parts(program: &str, name: &str) -> Parts {
    let parts = Parts::new("a.vmdk", "b.vmdk");
    let lines: Vec<String> = ["web.ovf", "a.vmdk", "b.vmdk"]
        .iter()
        .map(|file| {
            let sum = run(program, &[text(&parts.path(file))]);
            format!("{name}({file})= {}\n", sum.split(' ').next().unwrap())
        })
        .collect();
    fs::write(parts.path("web.mf"), lines.concat()).unwrap();
    parts
}

fn ova(parts: &Parts) -> PathBuf {
    parts.tar(&["--format=ustar"], &["web.ovf", "web.mf", "a.vmdk", "b.vmdk"])
}

fn check(path: &Path) -> Result<Vec<ova::FileDigest>, ManifestError> {
    ova::check_manifest(path, &|| false)
}

/// Changes a byte that decoding does not miss: the grain of a table becomes one of zeros.
fn damage(path: &Path) {
    let bytes = fs::read(path).unwrap();
    // From the end backwards: markers, the directory; before them the last table, whose entries
    // are sectors of grains.
    let sector = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let directory = u64::from_le_bytes(bytes[56..64].try_into().unwrap()) as usize * 512;
    let table = sector(directory) as usize * 512;
    let entry = (0..512).map(|entry| table + entry * 4).find(|entry| sector(*entry) != 0).unwrap();
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[0; 4], entry as u64).unwrap();
}

#[test]
fn every_algorithm_is_checked() {
    for (program, name) in ALGORITHMS {
        let parts = parts(program, name);
        let path = ova(&parts);
        let appliance = ova::read(&path).unwrap();
        assert_eq!(appliance.digests.len(), 3);
        assert_eq!(appliance.digests[2].file, "b.vmdk");
        for path in [&path, &parts.path("web.ovf")] {
            assert_eq!(check(path).unwrap().len(), 3);
            let image = member(path, "root").unwrap();
            assert_eq!(image.manifest_line().unwrap().algorithm, name);
            assert!(image.check_manifest(&|| false).unwrap());
            assert!(!image.check_manifest(&|| true).unwrap(), "it was stopped");
        }

        damage(&parts.path("a.vmdk"));
        for path in [ova(&parts), parts.path("web.ovf")] {
            assert!(matches!(check(&path), Err(ManifestError::Differs { file, .. }) if file == "a.vmdk"));
            let error = member(&path, "root").unwrap().check_manifest(&|| false).unwrap_err();
            assert!(matches!(error, ManifestError::Differs { .. }), "{error:?}");
            assert!(member(&path, "data1").unwrap().check_manifest(&|| false).unwrap());
        }
    }
}

#[test]
fn manifests_that_cannot_be_checked_say_so() {
    let parts = parts("sha256sum", "SHA256");
    let manifest = fs::read_to_string(parts.path("web.mf")).unwrap();
    fs::write(parts.path("web.mf"), manifest.replace("SHA256(a.vmdk)", "MD5(a.vmdk)")).unwrap();
    let error = check(&ova(&parts)).unwrap_err();
    assert!(matches!(&error, ManifestError::Algorithm { algorithm, .. } if algorithm == "MD5"), "{error:?}");
    let image = member(&ova(&parts), "root").unwrap();
    assert!(matches!(image.check_manifest(&|| false), Err(ManifestError::Algorithm { .. })));
    fs::write(parts.path("web.mf"), manifest.replace("a.vmdk", "c.vmdk")).unwrap();
    assert!(matches!(check(&ova(&parts)), Err(ManifestError::NoFile { file }) if file == "c.vmdk"));
    assert!(!member(&ova(&parts), "root").unwrap().check_manifest(&|| false).unwrap());
    fs::remove_file(parts.path("web.mf")).unwrap();
    for path in [parts.ova(), parts.path("web.ovf")] {
        assert!(matches!(check(&path), Err(ManifestError::Missing { .. })));
        assert!(member(&path, "root").unwrap().manifest_line().is_none());
    }
}

/// On the worst day: a table of the appliance's disk lost an entry on its way, which decoding
/// cannot notice. Whoever asks for certainty gets an error, and nothing on the target.
#[test]
fn a_damaged_appliance_is_never_written_with_verify() {
    let parts = parts("sha1sum", "SHA1");
    ova(&parts);
    let directory = parts.directory.path();
    let sound = replant(directory, ["check", "web.ova"]).success();
    for part in ["web.ova is sound", "3 files are what it says (SHA1)", "root", "data1", "streamOptimized"] {
        assert!(sound.stdout.contains(part), "{part}: {}", sound.both());
    }
    replant(directory, ["write", "web.ova", "sound", "--member", "root", "--verify"]).success();
    assert!(fs::read(directory.join("sound")).unwrap() == parts.raw("a.vmdk"));

    damage(&parts.path("a.vmdk"));
    ova(&parts);
    let refused = replant(directory, ["check", "web.ova"]).code(1);
    assert!(refused.stderr.contains("image::manifest_differs"), "{}", refused.both());
    let refused = replant(directory, ["write", "web.ova", "out", "--member", "root", "--verify"]).code(1);
    assert!(refused.stderr.contains("image::manifest_differs"), "{}", refused.both());
    assert!(refused.stderr.contains("a.vmdk"), "{}", refused.both());
    assert!(!directory.join("out").exists());
    // The other disk is as it was.
    replant(directory, ["write", "web.ova", "data", "--member", "data1", "--verify"]).success();
    replant(directory, ["check", "web.ova", "--member", "data1"]).success();

    let workspace = Workspace::new(&format!(
        "instance \"web\" {{\n  image = \"{}\"\n  instance_type = \"m6i.large\"\n  state = \"stopped\"\n  guest {{ drivers = \"none\" }}\n}}\n",
        directory.join("web.ova").display()
    ));
    let applied = workspace.run(&["apply", "--auto-approve", "--verify"]).code(1);
    assert!(applied.both().contains("image::manifest_differs"), "{}", applied.both());
    assert!(workspace.state()["resources"]["instance.web.volume.root"]["write"].is_null());
}

/// What has no manifest is read and decoded all the same.
#[test]
fn check_reads_all_data_of_any_image() {
    let directory = tempfile::tempdir().unwrap();
    let raw = super::fixture::raw_disk(directory.path(), 9 << 20, 3);
    for (name, format, options) in [
        ("disk.vmdk", "vmdk", "subformat=streamOptimized"),
        ("disk.qcow2", "qcow2", "compression_type=zstd"),
        ("disk.vhdx", "vhdx", "subformat=dynamic"),
    ] {
        let path = directory.path().join(name);
        run("qemu-img", &["convert", "-O", format, "-o", options, text(&raw), text(&path)]);
        if format == "qcow2" {
            run("qemu-img", &["convert", "-c", "-O", format, "-o", options, text(&raw), text(&path)]);
        }
        let output = replant(directory.path(), ["check", name, "--json"]).success();
        let value: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(value["disks"][0]["size"], 9 << 20);
        assert!(value["manifest"].is_null());
        let data = value["disks"][0]["data_bytes"].as_u64().unwrap();
        assert!((700_000..=9 << 20).contains(&data), "{data}");
        if format == "vmdk" {
            // Every grain is compressed, and has a checksum.
            let length = fs::metadata(&path).unwrap().len();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[0xee; 8192], length / 2 / 512 * 512).unwrap();
            let refused = replant(directory.path(), ["check", name]).code(1);
            assert!(refused.stderr.contains("image::damaged"), "{}", refused.both());
        }
    }
}
