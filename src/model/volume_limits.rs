//! What EBS's volume types allow (EBS User Guide, "Amazon EBS volume types", 2026).

use super::VolumeType;

/// What a volume type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeLimits {
    /// GiB, from and to.
    pub size: (u64, u64),
    /// IOPS that can be provisioned, from and to; `None`: none can be.
    pub iops: Option<(u32, u32)>,
    /// Most IOPS for each GiB; every size can have the least of [`Self::iops`].
    pub iops_per_gib: u64,
    /// Whether EC2 boots from it.
    pub boots: bool,
}

impl VolumeType {
    /// What the type allows.
    #[must_use]
    pub fn limits(self) -> VolumeLimits {
        let (size, iops, iops_per_gib, boots) = match self {
            Self::Gp3 => ((1, 65_536), Some((3_000, 80_000)), 500, true),
            Self::Gp2 => ((1, 16_384), None, 0, true),
            Self::Io1 => ((4, 16_384), Some((100, 64_000)), 50, true),
            Self::Io2 => ((4, 65_536), Some((100, 256_000)), 1_000, true),
            Self::St1 | Self::Sc1 => ((125, 16_384), None, 0, false),
            Self::Standard => ((1, 1_024), None, 0, true),
        };
        VolumeLimits { size, iops, iops_per_gib, boots }
    }
}

impl VolumeLimits {
    /// The most IOPS that a volume of that size (GiB) can be given; `None`: none can be.
    #[must_use]
    pub fn most_iops(&self, size: u64) -> Option<u64> {
        let (least, most) = self.iops?;
        Some(size.saturating_mul(self.iops_per_gib).clamp(u64::from(least), u64::from(most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iops_follow_the_size_between_the_type_s_ends() {
        assert_eq!(VolumeType::Gp3.limits().most_iops(1), Some(3_000));
        assert_eq!(VolumeType::Gp3.limits().most_iops(20), Some(10_000));
        assert_eq!(VolumeType::Gp3.limits().most_iops(u64::MAX), Some(80_000));
        assert_eq!(VolumeType::Io1.limits().most_iops(10), Some(500));
        assert_eq!(VolumeType::St1.limits().most_iops(500), None);
    }
}
