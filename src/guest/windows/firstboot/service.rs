//! The service: its program, its files, and the registry values that register it offline.

use std::collections::BTreeSet;

use crate::guest::windows::bytes::utf16;

/// The program: `firstboot/build` makes the same bytes from the sources beside it.
pub const LAUNCHER: &[u8] = include_bytes!("../../../../firstboot/launcher.exe");
/// The service's name: its key is `Services\ReplantFirstBoot` below the current control set.
pub const SERVICE: &str = "ReplantFirstBoot";
/// The directory of the first boot's files, on the volume that Windows is on.
pub const DIRECTORY: &str = "Replant";
/// The program's name in that directory, see [`program`].
pub const PROGRAM: &str = "firstboot.exe";
/// The log, in that directory. It stays.
pub const LOG: &str = "firstboot.log";

/// A file in the first boot's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its name there.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Data of a registry value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceData {
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_SZ`.
    Text(String),
    /// `REG_EXPAND_SZ`.
    Expand(String),
}

/// A value of the service's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceValue {
    /// Its name.
    pub name: &'static str,
    /// Its data.
    pub data: ServiceData,
}

/// A name for the program that Windows will not delete before it runs: an earlier first boot has its own
/// program deleted at the next start of Windows (`PendingFileRenameOperations`, UTF-16), and a backup that
/// was made before that start brings the order along.
#[must_use]
pub fn program(deletions: &[u8]) -> String {
    let text = utf16(deletions, u16::from_le_bytes);
    let names = text.split('\0').filter_map(|path| path.rsplit_once('\\'));
    let doomed: BTreeSet<String> = names.map(|(_, name)| name.to_ascii_lowercase()).collect();
    let is_free = |name: &String| !doomed.contains(name);
    let numbered = (2..1000).map(|number| format!("firstboot-{number}.exe"));
    std::iter::once(PROGRAM.to_owned()).chain(numbered).find(is_free).unwrap_or_else(|| PROGRAM.to_owned())
}

/// The values of the service's key, when Windows itself is on this drive (`C`) and the program has this
/// name. Of its own process (0x10), started at boot (2), logged and not fatal when it cannot be (1), as LocalSystem.
#[must_use]
pub fn service_values(drive: char, program: &str) -> Vec<ServiceValue> {
    let text = |text: &str| ServiceData::Text(text.to_owned());
    vec![
        ServiceValue { name: "Type", data: ServiceData::Number(0x10) },
        ServiceValue { name: "Start", data: ServiceData::Number(2) },
        ServiceValue { name: "ErrorControl", data: ServiceData::Number(1) },
        ServiceValue {
            name: "ImagePath",
            data: ServiceData::Expand(format!(r#""{drive}:\{DIRECTORY}\{program}""#)),
        },
        ServiceValue { name: "ObjectName", data: text("LocalSystem") },
        ServiceValue { name: "DisplayName", data: text("Replant first boot") },
        ServiceValue {
            name: "Description",
            data: text(
                "Finishes the restore of this machine, then removes itself. Log: firstboot.log beside it.",
            ),
        },
    ]
}

/// Applies to what is made in the directory later.
const INHERITED: u8 = 3;
/// `FILE_ALL_ACCESS`.
const FULL: u32 = 0x001F_01FF;
const SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
const ADMINISTRATORS: [u8; 16] = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0];

/// A self-relative security descriptor ([MS-DTYP] 2.4.6): SYSTEM and the administrators have full
/// access, nobody else has any, and nothing is inherited from above.
fn descriptor(flags: u8) -> Vec<u8> {
    let entry = |sid: &[u8]| {
        // The sizes are those of the constants above.
        let size = u8::try_from(8 + sid.len()).unwrap_or(u8::MAX);
        [&[0, flags, size, 0], FULL.to_le_bytes().as_slice(), sid].concat()
    };
    let entries = [entry(&SYSTEM), entry(&ADMINISTRATORS)].concat();
    let list_size = u8::try_from(8 + entries.len()).unwrap_or(u8::MAX);
    let owner = 20 + list_size;
    let group = owner + 16;
    // Present and protected list, self-relative.
    let header = [1, 0, 0x04, 0x90, owner, 0, 0, 0, group, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0];
    [&header, [2, 0, list_size, 0, 2, 0, 0, 0].as_slice(), &entries, &ADMINISTRATORS, &SYSTEM].concat()
}

/// The security descriptor that [`DIRECTORY`] must have: by default every user may put files into a
/// directory of C:, and LocalSystem would run them.
#[must_use]
pub fn directory_descriptor() -> Vec<u8> {
    descriptor(INHERITED)
}

/// The security descriptor that each file in it must have.
#[must_use]
pub fn file_descriptor() -> Vec<u8> {
    descriptor(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_to_be_deleted_is_not_used_again() {
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert_eq!(program(&[]), "firstboot.exe");
        assert_eq!(program(&wide("\\??\\C:\\Windows\\Temp\\x.tmp\0\0\0")), "firstboot.exe");
        let order = "\\??\\C:\\a\0!\\??\\C:\\b\0\\??\\C:\\Replant\\FirstBoot.exe\0\0";
        assert_eq!(program(&wide(&format!("{order}\0"))), "firstboot-2.exe");
        assert_eq!(
            program(&wide(&format!("{order}\\??\\C:\\Replant\\firstboot-2.exe\0\0\0"))),
            "firstboot-3.exe"
        );
        assert_eq!(program(b"\x00\xd8odd"), "firstboot.exe");
    }
}
