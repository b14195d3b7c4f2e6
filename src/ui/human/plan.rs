//! A plan for people, in Terraform's habits.

mod attributes;
pub mod diff;
mod guest;
pub mod render;
mod work;

pub use render::{render_plan, render_plan_as};
