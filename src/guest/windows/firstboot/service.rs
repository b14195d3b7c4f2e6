//! The service: its program, its files, and the registry values that register it offline.

/// The program: `firstboot/build` makes the same bytes from the sources beside it.
pub const LAUNCHER: &[u8] = include_bytes!("../../../../firstboot/launcher.exe");
/// The service's name: its key is `Services\ReplantFirstBoot` below the current control set.
pub const SERVICE: &str = "ReplantFirstBoot";
/// The directory of the first boot's files, on the volume that Windows is on.
pub const DIRECTORY: &str = "Replant";
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

/// The values of the service's key, when Windows itself is on this drive (`C`). Of its own process
/// (0x10), started at boot (2), logged and not fatal when it cannot be (1), as LocalSystem.
#[must_use]
pub fn service_values(drive: char) -> Vec<ServiceValue> {
    let text = |text: &str| ServiceData::Text(text.to_owned());
    vec![
        ServiceValue { name: "Type", data: ServiceData::Number(0x10) },
        ServiceValue { name: "Start", data: ServiceData::Number(2) },
        ServiceValue { name: "ErrorControl", data: ServiceData::Number(1) },
        ServiceValue {
            name: "ImagePath",
            data: ServiceData::Expand(format!(r#""{drive}:\{DIRECTORY}\firstboot.exe""#)),
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
