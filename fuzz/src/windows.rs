//! Drivers of Windows guests: setup information, programs, archives.

use std::fs;

use replant::guest::windows::components::{Inventory, Kind};
use replant::guest::windows::inf::{Inf, Product, Target};
use replant::guest::windows::pe::Pe;
use replant::model::Hypervisor;

use super::directory::directory;
use super::memory::bounded;

/// The Windows that a file is read for: one before and one after build numbers.
fn targets() -> [Target; 2] {
    [Target::amd64(6, 1, 7601, Product::Server), Target::amd64(10, 0, 20348, Product::DomainController)]
}

/// A setup information file: its models for each Windows, and what installing them does.
pub fn inf(input: &[u8]) {
    bounded(input.len() as u64, || {
        let inf = match Inf::parse(input) {
            Ok(inf) => inf,
            Err(error) => return drop(error.to_string()),
        };
        for target in targets() {
            let _ = inf.version(&target).map_err(|error| error.to_string());
            let Ok(models) = inf.models(&target) else { continue };
            for model in models.iter().take(16) {
                assert!(model.ids().all(|id| id.len() <= 200), "an id as Windows takes it");
                let Ok(install) = inf.install(model, &target) else { continue };
                let _ = install.service().map(|service| service.name.len());
                let _ = install.files.iter().filter_map(|file| file.destination.path()).count();
            }
        }
    });
}

/// A program: its machine, version and signatures.
pub fn pe(input: &[u8]) {
    bounded(input.len() as u64, || match Pe::read(input) {
        Ok(pe) => {
            let _ = (pe.machine(), pe.file_version());
            match pe.signatures() {
                Ok(signatures) => {
                    for signature in signatures {
                        let whole = !signature.matches || signature.digest.len() >= 20;
                        assert!(whole, "a digest that matches is no shorter than SHA-1");
                    }
                }
                Err(error) => drop(error.to_string()),
            }
        }
        Err(error) => drop(error.to_string()),
    });
}

/// A folder with an archive: what is in it, read and chosen from.
pub fn components(input: &[u8]) {
    let folder = directory("components").join("folder");
    fs::create_dir_all(&folder).expect("directories in memory can be made");
    fs::write(folder.join("x.zip"), input).expect("files in memory can be written");
    bounded(input.len() as u64, || {
        let inventory = match Inventory::read(&folder) {
            Ok(inventory) => inventory,
            Err(error) => return drop(error.to_string()),
        };
        for package in &inventory.packages {
            let path = &package.file.path;
            let inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            assert!(path.starts_with("x.zip/") && inside, "{path} stays in its archive");
        }
        for target in targets() {
            if let Ok(selected) = inventory.select(&target, Hypervisor::Nitro) {
                let _ = (selected.driver(Kind::Nvme).is_some(), selected.notes.len());
            }
        }
    });
}
