//! The `aws` provider: Amazon EC2 through its SDK.
//!
//! | file | its concern |
//! |---|---|
//! | `client`, `proxy` | region, credentials, retries, proxies: the connection, made at the first call |
//! | `call` | one call: how often it was tried, and whether it may have taken effect unseen |
//! | `errors` | EC2's error codes as kinds |
//! | `fresh` | ids that EC2 gave and does not know everywhere yet |
//! | `volumes`, `attach`, `snapshots`, `instances`, `launch`, `modify`, `status`, `tags`, `offers`, `options`, `lookup` | EC2's calls |
//! | `ami` | the stub's base image |
//! | `access`, `imds` | the access node, and whether this machine is it |
//! | `preflight` | everything that is known to stand in a plan's way before anything is made |
//! | `signed` | calls of services whose SDK would cost minutes to build: KMS |
//! | `device` | the proof that a device is a volume (promise 1) |
//! | `udev` | that nothing else on the access node puts a guest's disk to use |
//! | `views` | the SDK's shapes as the trait's |
//!
//! Nothing but this module names the SDK. It keeps no state that a later process would need: what
//! it remembers (ids that are new, the chosen base image) only saves calls and waiting.

mod access;
mod ami;
mod attach;
mod call;
mod client;
mod device;
mod errors;
mod fresh;
mod images;
mod imds;
mod instances;
mod launch;
mod lookup;
mod modify;
mod offers;
mod options;
mod preflight;
mod profile;
mod provider;
mod proxy;
mod screenshot;
mod signed;
mod snapshots;
mod status;
mod tags;
mod udev;
mod views;
mod volumes;

pub use provider::AwsProvider;
