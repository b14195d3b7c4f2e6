//! The user's own script for the first boot.

use super::FirstBootError;
use crate::model;

/// First lines that tell what runs a script.
pub(super) const FIRST_LINES: [&str; 3] = ["#!powershell", "#!cmd", "#!pwsh"];

/// What runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Windows PowerShell: 2.0 on Server 2008 R2 (where Server Core may lack it), 5.1 from 2016.
    PowerShell,
    /// `cmd.exe`.
    Batch,
}

/// A script that runs once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What runs it.
    pub language: Language,
    /// Its bytes, as they are put in the guest.
    pub content: Vec<u8>,
    /// Seconds after which it is ended with all that it started.
    pub timeout: u32,
}

impl Script {
    /// What a `first_boot` block wants: its first line, `#!powershell` or `#!cmd` (a path before the
    /// name and `.exe` behind it are fine), says what runs it.
    ///
    /// # Errors
    /// When the first line says something else.
    pub fn new(wanted: &model::FirstBoot) -> Result<Self, FirstBootError> {
        let bytes = wanted.script.bytes();
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |position| position + 1);
        let (first, rest) = bytes.split_at(end);
        let first = String::from_utf8_lossy(first);
        let program = first.trim_end().strip_prefix("#!").ok_or(FirstBootError::Language)?;
        let program = program.trim().rsplit(['\\', '/', ' ']).next().unwrap_or_default().to_ascii_lowercase();
        let language = match program.trim_end_matches(".exe") {
            "powershell" | "pwsh" => Language::PowerShell,
            "cmd" => Language::Batch,
            _ => return Err(FirstBootError::Language),
        };
        let content = match language {
            // A comment there, so that lines keep their numbers. Windows PowerShell reads what has no
            // byte order mark in the machine's old code page.
            Language::PowerShell if bytes.is_ascii() => bytes.to_vec(),
            Language::PowerShell => [b"\xEF\xBB\xBF", bytes].concat(),
            // cmd.exe loses its place in files whose lines end as on Linux.
            Language::Batch => with_crlf(rest),
        };
        Ok(Self { language, content, timeout: wanted.timeout })
    }

    /// Its file's name in the first boot's directory.
    #[must_use]
    pub fn file(&self) -> &'static str {
        match self.language {
            Language::PowerShell => "first_boot.ps1",
            Language::Batch => "first_boot.cmd",
        }
    }
}

fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    let mut before = 0;
    for byte in bytes {
        if *byte == b'\n' && before != b'\r' {
            lines.push(b'\r');
        }
        lines.push(*byte);
        before = *byte;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Result<Script, FirstBootError> {
        Script::new(&model::FirstBoot { script: text.as_bytes().to_vec().into(), timeout: 60 })
    }

    #[test]
    fn the_first_line_names_what_runs_it() {
        for first in
            ["#!powershell", "#! powershell.exe", "#!/usr/bin/env pwsh", "#!C:\\Windows\\PowerShell.exe"]
        {
            assert_eq!(
                script(&format!("{first}\r\nGet-Date")).unwrap().language,
                Language::PowerShell,
                "{first}"
            );
        }
        assert_eq!(script("#!cmd\n@echo off\r\necho x\n").unwrap().content, b"@echo off\r\necho x\r\n");
        assert_eq!(script("#!powershell\n'é'").unwrap().content, "\u{feff}#!powershell\n'é'".as_bytes());
        assert_eq!(script("#!powershell").unwrap().content, b"#!powershell");
        for other in ["#!/bin/sh\n", "#!\n", "", "powershell\n"] {
            assert_eq!(script(other), Err(FirstBootError::Language), "{other}");
        }
    }
}
