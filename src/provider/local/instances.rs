//! Starting, stopping, terminating instances, and whether they came up.

use std::time::Duration;

use super::cloud::Desk;
use super::failure::Failure;
use super::machine;
use super::record::{AttachmentPhase, BootRecord, InstancePhase, InstanceRecord};
use super::rules;
use crate::provider::console::{self, Verdict};
use crate::provider::types::{ConsoleOutput, InstanceId, StatusCheck};

impl Desk<'_> {
    pub(super) fn refuse_access_node(&self, instance: &InstanceRecord) -> Result<(), Failure> {
        if instance.is_access_node() {
            return Err(Failure::state(
                "OperationNotPermitted",
                format!("'{}' is the access node: this machine", instance.id),
            ));
        }
        Ok(())
    }

    pub(super) fn start_instance(&self, id: &InstanceId) -> Result<(), Failure> {
        let mut instance = self.instance(id)?;
        match instance.phase {
            InstancePhase::Pending | InstancePhase::Running => return Ok(()),
            InstancePhase::Stopped => {}
            _ => {
                return Err(Failure::state(
                    "IncorrectInstanceState",
                    format!("The instance '{id}' is not in a state from which it can be started."),
                ));
            }
        }
        let attached = self.attached(&instance)?;
        for volume in attached.values() {
            if volume.attachment.as_ref().is_some_and(|held| held.phase != AttachmentPhase::Attached) {
                return Err(Failure::state(
                    "IncorrectState",
                    format!("Volume '{}' of '{id}' is not 'attached'.", volume.id),
                ));
            }
        }
        let root = attached
            .iter()
            .find(|(device, _)| rules::slot(device).ok() == rules::slot(&instance.root_device).ok())
            .map(|(_, volume)| volume.id.clone())
            .ok_or_else(|| {
                Failure::value(format!(
                    "Invalid value '{id}' for instanceId. Instance does not have a volume attached at root ({})",
                    instance.root_device
                ))
            })?;
        if instance.stub_root.as_ref() != Some(&root) {
            return self.launch(&mut instance);
        }
        instance.phase = InstancePhase::Pending;
        instance.since = self.now;
        instance.boot = None;
        instance.ended = None;
        self.store.write(&instance)
    }

    pub(super) fn stop_instance(&self, id: &InstanceId) -> Result<(), Failure> {
        let mut instance = self.instance(id)?;
        self.refuse_access_node(&instance)?;
        match instance.phase {
            InstancePhase::Stopping => return Ok(()),
            InstancePhase::Stopped => {
                // It was known to have ended by itself; now somebody wants it so.
                if instance.ended.take().is_some() {
                    self.store.write(&instance)?;
                }
                return Ok(());
            }
            InstancePhase::Running => {}
            _ => {
                return Err(Failure::state(
                    "IncorrectInstanceState",
                    format!("The instance '{id}' is not in a state from which it can be stopped."),
                ));
            }
        }
        if instance.options.disable_api_stop {
            return Err(Failure::state(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
                ),
            ));
        }
        instance.phase = InstancePhase::Stopping;
        instance.since = self.now;
        self.store.write(&instance)?;
        if instance.boot.is_some() {
            machine::press_power_button(&self.machine_directory(&id.0));
        }
        Ok(())
    }

    pub(super) fn terminate_instance(&self, id: &InstanceId) -> Result<(), Failure> {
        let mut instance = self.instance(id)?;
        self.refuse_access_node(&instance)?;
        if matches!(instance.phase, InstancePhase::ShuttingDown | InstancePhase::Terminated) {
            return Ok(());
        }
        if instance.termination_protection {
            return Err(Failure::state(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
                ),
            ));
        }
        instance.phase = InstancePhase::ShuttingDown;
        instance.since = self.now;
        self.store.write(&instance)?;
        let Some(boot) = &instance.boot else { return Ok(()) };
        self.shut_down(&instance, boot)
    }

    /// A guest whose volumes all go is ended at once; one that leaves a volume may unmount it.
    pub(super) fn shut_down(&self, instance: &InstanceRecord, boot: &BootRecord) -> Result<(), Failure> {
        let directory = self.machine_directory(&instance.id.0);
        if !machine::is_alive(&directory)? {
            return Ok(());
        }
        let survives = self
            .attached_raw(instance)?
            .iter()
            .any(|volume| volume.attachment.as_ref().is_some_and(|held| !held.delete_on_termination));
        if survives {
            machine::press_power_button(&directory);
            return Ok(());
        }
        machine::end(&directory, boot)
    }

    fn console(&self, id: &str, limit: u64) -> Result<String, Failure> {
        let path = self.console_path(id);
        let fail = |error| Failure::file("read", &path, error);
        console::trim(&path, self.settings.console_limit).map_err(fail)?;
        console::trim(&self.machine_directory(id).join(machine::QEMU_LOG), self.settings.console_limit)
            .map_err(fail)?;
        console::read(&path, limit).map_err(fail)
    }

    pub(super) fn console_output(&self, id: &InstanceId) -> Result<ConsoleOutput, Failure> {
        let instance = self.instance(id)?;
        Ok(ConsoleOutput { text: self.console(&instance.id.0, console::SHOWN)? })
    }

    pub(super) fn instance_status(&self, id: &InstanceId) -> Result<StatusCheck, Failure> {
        let instance = self.instance(id)?;
        let evidence = || self.console(&id.0, console::SHOWN).map(|text| console::evidence(&text));
        if let Some(ended) = &instance.ended {
            return Ok(StatusCheck::Impaired { reason: ended.clone(), evidence: evidence()? });
        }
        if !matches!(instance.phase, InstancePhase::Running | InstancePhase::Pending) {
            return Ok(StatusCheck::Initializing);
        }
        let Some(boot) = &instance.boot else {
            return Ok(match instance.phase {
                InstancePhase::Running => StatusCheck::Ok { evidence: "the stub holds no guest".to_owned() },
                _ => StatusCheck::Initializing,
            });
        };
        let text = self.console(&id.0, self.settings.console_limit)?;
        let pattern = instance.console_pattern.as_deref().map(rules::pattern).transpose()?;
        let quiet = console::quiet(&self.console_path(&id.0));
        match console::judge(&text, pattern.as_ref(), quiet) {
            Verdict::Up(evidence) => return Ok(StatusCheck::Ok { evidence }),
            Verdict::Failed(reason) => {
                return Ok(StatusCheck::Impaired {
                    reason: reason.to_owned(),
                    evidence: console::evidence(&text),
                });
            }
            Verdict::Unknown => {}
        }
        let timeout = instance.boot_timeout.unwrap_or(self.spec.boot_timeout);
        if self.past(boot.started, Duration::from_secs(u64::from(timeout))) {
            let wanted = match &instance.console_pattern {
                Some(pattern) => format!("nothing on its console matched '{pattern}'"),
                None => "its console showed no login prompt".to_owned(),
            };
            return Ok(StatusCheck::Impaired {
                reason: format!("{wanted} within {timeout} s"),
                evidence: console::evidence(&text),
            });
        }
        Ok(StatusCheck::Initializing)
    }
}
