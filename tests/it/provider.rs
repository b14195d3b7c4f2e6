//! Providers: one suite of EC2's rules that every provider passes, and what only `local` does.

#[cfg(feature = "aws")]
mod aws;
mod boot;
mod conformance;
mod crash;
#[cfg(feature = "aws")]
mod ec2;
mod faulty;
mod guest;
mod images;
mod local;
mod options;
mod runs;

#[cfg(feature = "aws")]
pub use aws::Restore;
#[cfg(feature = "aws")]
pub use ec2::REGION;
