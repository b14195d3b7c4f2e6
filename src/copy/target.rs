//! Where content goes: a regular file or a block device that was proven safe to write.
//!
//! [`Target::open`] writes nothing to an existing file's data or to a device; everything that
//! may be refused is refused there. The checks follow what Linux says of a device: its node and
//! size, `/proc/self/mountinfo`, `/proc/swaps`, and `holders`, `slaves` and partitions in sysfs;
//! then it is opened with `O_EXCL`, which the kernel refuses while anything (in whatever mount
//! namespace) has claimed the device or one of its partitions.

mod device;
mod error;
mod file;
mod io;
mod locking;
mod open;
mod signature;

pub use error::TargetError;
pub use io::Target;
pub use open::{Existing, TargetOptions};
