//! The vocabulary every other module speaks: addresses, sizes, digests, specs. A leaf.

pub mod address;
pub mod digest;
pub mod guest;
pub mod hardware;
pub mod location;
pub mod lookup;
pub mod node;
pub mod options;
pub mod size;
pub mod spec;
pub mod volume_limits;
pub mod waiting;
pub mod windows_name;

pub use address::{Address, InstanceAddress, InstanceKey, ParseAddressError, Part};
pub use digest::{ClientToken, Digest, ParseDigestError};
pub use guest::{Content, FirstBoot, GuestChanges, GuestFile, IdentityPolicy};
pub use hardware::{Architecture, BootMode, Firmware, Hypervisor};
pub use location::{HttpLocation, Location, NbdLocation, NbdServer, ParseLocationError, S3Location};
pub use lookup::{DataRead, Found, Lookup, LookupFilter, LookupKind};
pub use node::FileNode;
pub use options::{CpuCredits, InstanceOptions, InterfaceSpec, MetadataOptions, PlacementSpec, Tenancy};
pub use size::{Bytes, GIB, KIB, MIB, TIB};
pub use spec::{
    AccessNodeSpec, AssumeRoleSpec, AttributePath, AwsProviderSpec, ComponentsFacts, DesiredState, DiskSpec,
    DriversPolicy, GP3_BASE, GuestSpec, ImageSpec, InstanceSpec, LaunchMethod, LaunchSpec, LifecycleSpec,
    LocalProviderSpec, NetworkPolicy, OutputSpec, ProviderSpec, VolumeType, WindowsSpec,
};
pub use volume_limits::VolumeLimits;
pub use windows_name::windows_name_mistake;
