//! Everything that is known to stand in a plan's way before anything is made. All of it only reads
//! or tries (`DryRun`); the calls run side by side, and none of them is made for each instance.
//!
//! | file | its concern |
//! |---|---|
//! | `survey` | what is asked, and in which order |
//! | `unread` | what could not be looked at, said once |
//! | `node` | the access node, and whether this machine is it |
//! | `network` | subnets, private addresses, security groups |
//! | `machines` | types in their zones, base images, key pairs |
//! | `keys` | KMS keys |
//! | `quotas` | quotas of processors and storage |
//! | `permissions` | IAM's permissions, and what else EC2 says to a launch that is only tried |

mod keys;
mod machines;
mod network;
mod node;
mod permissions;
mod quotas;
mod survey;
mod unread;
