//! Names that Windows cannot have.

/// Most UTF-16 units of a name (NTFS).
const MOST_NAME: usize = 255;
/// Characters that no name has (Microsoft, "Naming Files, Paths, and Namespaces").
const FORBIDDEN: &str = "<>:\"|?*\\";
/// Names of devices, with or without an extension (the same page).
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
const PORTS: [&str; 2] = ["com", "lpt"];

/// Why a name cannot be one of Windows'; `None` when it can.
#[must_use]
pub fn windows_name_mistake(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let stem = lower.split('.').next().unwrap_or_default().trim_end();
    let is_number = |text: &str| {
        matches!(text, "¹" | "²" | "³") || (text.len() == 1 && text.chars().all(|c| c.is_ascii_digit()))
    };
    let is_port = PORTS.iter().any(|port| stem.strip_prefix(*port).is_some_and(is_number));
    if name.is_empty() || name == "." || name == ".." {
        Some("a part of it is empty, `.` or `..`")
    } else if name.chars().any(|c| c.is_control() || FORBIDDEN.contains(c)) {
        Some("names in Windows have none of < > : \" | ? * \\ and no control characters")
    } else if name.ends_with(['.', ' ']) {
        Some("names in Windows do not end in a dot or a blank")
    } else if DEVICES.contains(&stem) || is_port {
        Some("that is the name of a device in Windows")
    } else if name.encode_utf16().count() > MOST_NAME {
        Some("names in Windows have at most 255 characters")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_cannot_have() {
        for name in [
            "", ".", "..", "a:b", "a*", "what?", "a\"b", "a<b", "a>b", "a|b", "a\\b", "tab\t", "dot.",
            "blank ", "CON", "nul.txt", "Com1", "LPT9.log", "com¹", "aux .x", "CONIN$", "com0",
        ] {
            assert!(windows_name_mistake(name).is_some(), "{name:?}");
        }
        for name in [
            "con1",
            "common",
            "com10",
            "nulls",
            ".x",
            "a b.c",
            "AWSNVMe.sys",
            "ä€😀",
            "com",
            "lpt.txt",
            "x.nul",
        ] {
            assert_eq!(windows_name_mistake(name), None, "{name:?}");
        }
        assert!(windows_name_mistake(&"x".repeat(255)).is_none());
        assert!(windows_name_mistake(&"x".repeat(256)).is_some());
    }
}
