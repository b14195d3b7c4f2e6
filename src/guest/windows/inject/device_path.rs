//! `DevicePath`: the directories in which Windows looks for drivers of new devices, so that it finds the
//! staged ones also when the first boot's service cannot run.

use crate::guest::windows::firstboot::{DIRECTORY, Remnant};
use crate::guest::windows::hive::{Data, HiveEdit};
use crate::guest::windows::look::Look;
use crate::guest::windows::registry::Planned;

/// Its key in SOFTWARE.
const KEY: &str = "Microsoft\\Windows\\CurrentVersion";
const NAME: &str = "DevicePath";
/// What it is where nobody changed it.
const DEFAULT: &str = "%SystemRoot%\\inf";
/// Longest text that is added to.
const LONGEST: usize = 8 << 10;

/// The edit that adds directories (`drivers\ena`) behind those that are there, and what makes it what it
/// was; `None` when it is no text that can be added to.
pub fn with(look: &Look, directories: &[String]) -> Option<(Planned, Remnant)> {
    let (text, is_expandable) = match &look.device_path {
        None => (None, true),
        Some(Data::Expand(text)) => (Some(text.as_str()), true),
        Some(Data::Text(text)) => (Some(text.as_str()), false),
        Some(_) => return None,
    };
    let sound = |text: &str| text.len() <= LONGEST && !text.chars().any(char::is_control);
    if directories.is_empty() || !text.is_none_or(sound) {
        return None;
    }
    let ours = format!("{}:\\{DIRECTORY}\\", look.drive);
    // What an earlier preparation added is not what it was.
    let is_ours = |part: &&str| part.get(..ours.len()).is_some_and(|start| start.eq_ignore_ascii_case(&ours));
    let before = text.map(|text| text.split(';').filter(|part| !is_ours(part)).collect::<Vec<_>>().join(";"));
    let mut after = before.clone().unwrap_or_else(|| DEFAULT.to_owned());
    for directory in directories {
        after.push_str(&format!(";{ours}{directory}"));
    }
    let data = if is_expandable { Data::Expand(after) } else { Data::Text(after) };
    let edit = HiveEdit::Set { key: KEY.to_owned(), name: NAME.to_owned(), data };
    // One that was not there gets what Windows' setup writes.
    let text = before.unwrap_or_else(|| DEFAULT.to_owned());
    let remnant =
        Remnant::Text { key: format!("SOFTWARE\\{KEY}"), name: NAME.to_owned(), is_expandable, text };
    Some((Planned { edit, purpose: "let Windows look for drivers in what is staged" }, remnant))
}
