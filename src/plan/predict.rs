//! How long the data will take, and which link is the slowest.

use super::{Node, Prediction, Step};
use crate::model::{Address, MIB, VolumeType};

/// What one core decodes and hashes, in MiB/s (measured: libdeflate inflates 750 MB/s of real
/// grains, with BLAKE3 and copying about 400).
const DECODE_PER_CORE: f64 = 400.0;
/// Reading and hashing of uncompressed images, in MiB/s per core (measured).
const PLAIN_PER_CORE: f64 = 1500.0;
/// What this machine's own disk is assumed to take, in MiB/s, for volumes that are files.
const LOCAL_DISK: f64 = 400.0;

/// What a prediction depends on.
#[derive(Debug, Clone, Copy)]
pub struct Links {
    /// Processors of the access node.
    pub cores: usize,
    /// The access node's EBS bandwidth in MiB/s; `None`: volumes are files of this machine.
    pub ebs_bandwidth: Option<u32>,
}

fn volume_throughput(volume_type: VolumeType, provisioned: Option<u32>) -> f64 {
    // EC2 User Guide, "Amazon EBS volume types": baseline or burst throughput of one volume.
    f64::from(provisioned.unwrap_or(match volume_type {
        VolumeType::Gp3 => 125,
        VolumeType::Gp2 => 250,
        VolumeType::Io1 | VolumeType::Io2 => 1000,
        VolumeType::St1 => 500,
        VolumeType::Sc1 => 250,
        VolumeType::Standard => 90,
    }))
}

/// A volume's type and provisioned throughput by the address of a step.
pub type VolumeTypeOf<'a> = dyn Fn(&Address) -> Option<(VolumeType, Option<u32>)> + 'a;

/// Predicts the writes of a plan; `None` when there are none.
#[must_use]
pub fn predict(nodes: &[Node], volume_type: &VolumeTypeOf<'_>, links: Links) -> Option<Prediction> {
    let cores = links.cores.max(1) as f64;
    let mut decode_seconds = 0.0;
    let mut total = 0.0;
    let mut slowest_volume: Option<(f64, String)> = None;
    for node in nodes {
        let Step::Write(write) = &node.step else { continue };
        let mib = write.data_bytes as f64 / MIB as f64;
        total += mib;
        let compressed = !matches!(write.image.format.as_str(), "raw" | "vhdx" | "vhd");
        decode_seconds += mib / (cores * if compressed { DECODE_PER_CORE } else { PLAIN_PER_CORE });
        if links.ebs_bandwidth.is_some()
            && let Some((kind, provisioned)) = volume_type(&node.address)
        {
            let speed = volume_throughput(kind, provisioned);
            let seconds = mib / speed;
            if slowest_volume.as_ref().is_none_or(|(most, _)| seconds > *most) {
                let words = format!(
                    "{} at {speed:.0} MiB/s",
                    node.address.instance.volume(node.address.part.disk().unwrap_or_default(),)
                );
                slowest_volume = Some((seconds, words));
            }
        }
    }
    if total == 0.0 {
        return None;
    }
    let mut slowest = (decode_seconds, format!("decoding and hashing on {} cores", links.cores.max(1)));
    let node = match links.ebs_bandwidth {
        Some(bandwidth) => {
            (total / f64::from(bandwidth), format!("the access node's EBS bandwidth of {bandwidth} MiB/s"))
        }
        None => (total / LOCAL_DISK, format!("this machine's disk, taken to write {LOCAL_DISK:.0} MiB/s")),
    };
    for link in [Some(node), slowest_volume].into_iter().flatten() {
        if link.0 > slowest.0 {
            slowest = link;
        }
    }
    Some(Prediction { seconds: slowest.0, slowest_link: slowest.1 })
}
