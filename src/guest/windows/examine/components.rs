//! From the user's components and wishes to what is put into a guest.

use crate::guest::disk::layout::Layout;
use crate::guest::findings::{Findings, blocks};
use crate::guest::report::RecipeInputs;
use crate::guest::windows::components::Inventory;
use crate::guest::windows::drives;
use crate::guest::windows::firstboot::{Ems, Script};
use crate::guest::windows::inject::{self, InjectError, Injection, Wishes};
use crate::guest::windows::look::Look;

/// What else is edited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edited {
    /// Whether anything of the registry is.
    pub registry: bool,
    /// The switches of the serial console that are off; `None`: it cannot be turned on.
    pub ems: Option<Ems>,
}

/// What is put into a guest; `None` when that cannot be, which is a finding that blocks.
pub(super) fn injection(
    look: &Look,
    inputs: &RecipeInputs,
    components: Option<&Inventory>,
    layout: &Layout,
    edited: Edited,
    findings: &mut Findings,
) -> Option<Injection> {
    let script = match inputs.changes.first_boot.as_ref().map(Script::new).transpose() {
        Ok(script) => script,
        Err(error) => {
            findings.push(
                blocks("first_boot_impossible", "your script cannot be run at the guest's first boot")
                    .seen(error.to_string())
                    .advice("Begin the script with the line\n#!powershell"),
            );
            return None;
        }
    };
    let (extend, _) = drives::growing(&look.letters, layout);
    // Those that an earlier preparation turned on are turned off with the others.
    let ems = edited.ems.map(|off| off.or(look.ems));
    let wishes = Wishes { disks: layout.disks.len(), extend, script, is_edited: edited.registry, ems };
    let made = inject::choose(look, components, inputs.hypervisor)
        .map_err(InjectError::from)
        .and_then(|choice| Ok((inject::inject(look, &choice, wishes)?, choice)));
    match made {
        Ok((injection, choice)) => {
            inject::chosen(look, &choice, &injection, inputs.hypervisor, findings);
            Some(injection)
        }
        Err(error) => {
            findings.push(inject::unreadable(&error));
            None
        }
    }
}
