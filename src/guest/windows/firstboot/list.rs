//! The list of steps, as `firstboot/steps.c` reads it.

use std::fmt::Write;

use super::{CommandLine, FirstBootError};

/// Most steps that the reader takes.
const MOST_STEPS: usize = 256;
/// Longest name of a step, in characters; the reader takes 118.
const MOST_NAME: usize = 100;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a program.
    Run(CommandLine),
    /// Runs a program with the index of the network adapter of this MAC.
    RunOnAdapter {
        /// The adapter's MAC.
        mac: [u8; 6],
        /// The program, where `{adapter}` is the index.
        command: CommandLine,
    },
    /// Has Windows Installer remove what it installed under this name.
    Uninstall(&'static str),
    /// Brings all disks online, writable.
    DisksOnline,
}

/// When a step is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Only after this step has succeeded.
    Succeeded(String),
    /// Only when no step before it failed.
    AllSucceeded,
}

/// How often, how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Seconds after which an attempt is ended, with all processes it started.
    pub timeout: u32,
    /// How often it is tried at most, over all starts of Windows.
    pub attempts: u32,
    /// Seconds between two attempts.
    pub pause: u32,
}

/// A step of the first boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What the log calls it.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// When.
    pub when: When,
    /// How often, how long.
    pub bounds: Bounds,
    /// Exit codes that are success; 3010 and 1641 ask for a restart of Windows too.
    pub success: &'static [u32],
    /// For one that restarts Windows by itself: the service that is there, and not disabled, when it has
    /// worked.
    pub restarts: Option<&'static str>,
    /// Whether it is only tried: that it fails is no failure of the first boot.
    pub optional: bool,
}

/// A name for a step that no other of these steps has, from one that others chose.
pub(super) fn name(wanted: &str, steps: &[Step]) -> String {
    let clean: String = wanted
        .chars()
        .map(|c| if (' '..='~').contains(&c) && c != ']' { c } else { '_' })
        .take(MOST_NAME)
        .collect();
    let is_free = |name: &String| steps.iter().all(|step| step.name != *name);
    let numbered = (2..).map(|number| format!("{clean} ({number})"));
    std::iter::once(clean.clone()).chain(numbered).find(is_free).unwrap_or(clean)
}

/// The list's file: these steps, at most so many starts of the service, at most one restart by it.
///
/// # Errors
/// When a command line, or the number of steps, is more than its reader takes.
pub fn render(steps: &[Step], starts: u32, may_restart: bool) -> Result<Vec<u8>, FirstBootError> {
    if steps.len() > MOST_STEPS {
        return Err(FirstBootError::TooMany(steps.len()));
    }
    let mut text = format!("replant-firstboot 1\nstarts = {starts}\nrestarts = {}\n", u32::from(may_restart));
    for step in steps {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n[{}]\n", step.name);
        match &step.action {
            Action::Run(command) => {
                let _ = writeln!(text, "run = {}", command.text()?);
            }
            Action::RunOnAdapter { mac, command } => {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                let _ = writeln!(text, "run = {}\nadapter = {mac}", command.text()?);
            }
            Action::Uninstall(product) => {
                let _ = writeln!(text, "uninstall = {product}");
            }
            Action::DisksOnline => text.push_str("disks = online\n"),
        }
        let Bounds { timeout, attempts, pause } = step.bounds;
        let codes: Vec<String> = step.success.iter().map(u32::to_string).collect();
        let _ = writeln!(
            text,
            "timeout = {timeout}\nattempts = {attempts}\npause = {pause}\nsuccess = {}",
            codes.join(" ")
        );
        match &step.when {
            When::Always => {}
            When::Succeeded(name) => {
                let _ = writeln!(text, "when = succeeded {name}");
            }
            When::AllSucceeded => text.push_str("when = all-succeeded\n"),
        }
        if let Some(service) = step.restarts {
            let _ = writeln!(text, "restart = service {service}");
        }
        if step.optional {
            text.push_str("optional = yes\n");
        }
    }
    text.push('\n');
    let mut bytes = text.replace('\n', "\r\n").into_bytes();
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(format!("crc32 = {checksum:08x}\r\n").into_bytes());
    Ok(bytes)
}

/// The state of a first boot of which nothing is done yet: the reader believes a state only when its first
/// line is this list's.
#[must_use]
pub fn fresh_state(list: &[u8]) -> Vec<u8> {
    // A list ends in its checksum, `crc32 = 0123abcd`.
    let text = String::from_utf8_lossy(list);
    let checksum = text.trim_end().rsplit(' ').next().unwrap_or_default();
    format!("list {checksum}\r\n").into_bytes()
}
