//! Providers: one suite of EC2's rules that every provider passes, and what only `local` does.

mod boot;
mod conformance;
mod crash;
mod faulty;
mod guest;
mod local;
