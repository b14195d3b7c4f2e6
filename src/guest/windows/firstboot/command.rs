//! Command lines, quoted as Windows' C library and `CommandLineToArgvW` take them apart
//! (learn.microsoft.com, "Parsing C command-line arguments").
//!
//! No name that others chose ever goes through `cmd.exe`, whose rules no quoting can meet (`%` is
//! replaced within quotes too): it gets only names of our own.

use super::FirstBootError;

/// The longest that the list's reader takes, in UTF-16 units: `CreateProcessW` takes 32,767, and tokens
/// become paths.
const MOST_UNITS: usize = 31_000;

/// A command line in the list's language: `{system}` and `{here}` are replaced by the directories of
/// Windows' programs and of the list, `{adapter}` by the index of a network adapter, `{{` by `{`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(String);

/// A text of which nothing is replaced.
fn plain(text: &str) -> Result<String, FirstBootError> {
    if text.chars().any(char::is_control) {
        return Err(FirstBootError::Control(text.to_owned()));
    }
    Ok(text.replace('{', "{{"))
}

/// Whether Windows can have a file of this name, also one that other programs' rules about quotes and
/// wildcards do not touch.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && !name.ends_with(['.', ' '])
        && !name.chars().any(|c| c.is_control() || r#"<>:"|?*/\"#.contains(c))
}

/// The path of a file in the first boot's directory, from one like `drivers\ena\ena.inf`.
///
/// # Errors
/// When it leaves the directory, or Windows can have no such path.
pub fn staged(path: &str) -> Result<String, FirstBootError> {
    if !path.split('\\').all(is_name) {
        return Err(FirstBootError::Path(path.to_owned()));
    }
    Ok(format!(r"{{here}}\{}", plain(path)?))
}

/// An argument as the C library's rules want it: backslashes count only before a quotation mark.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut backslashes = 0;
    for character in text.chars() {
        if character == '"' {
            quoted.extend(std::iter::repeat_n('\\', backslashes + 1));
        }
        backslashes = if character == '\\' { backslashes + 1 } else { 0 };
        quoted.push(character);
    }
    quoted.extend(std::iter::repeat_n('\\', backslashes));
    quoted.push('"');
    quoted
}

impl CommandLine {
    /// Runs one of Windows' own programs: `pnputil.exe`, `WindowsPowerShell\v1.0\powershell.exe`.
    #[must_use]
    pub fn of_system(program: &'static str) -> Self {
        Self(format!(r#""{{system}}\{program}""#))
    }

    /// Runs a staged program.
    ///
    /// # Errors
    /// When that is no path in the first boot's directory.
    pub fn of_staged(path: &str) -> Result<Self, FirstBootError> {
        // A program's own name is read without the rule about backslashes; it holds no quotation mark.
        Ok(Self(format!("\"{}\"", staged(path)?)))
    }

    /// Adds an argument, whatever it is.
    ///
    /// # Errors
    /// When it holds a control character.
    pub fn argument(mut self, text: &str) -> Result<Self, FirstBootError> {
        let text = plain(text)?;
        self.0.push(' ');
        let is_bare = !text.is_empty() && !text.contains([' ', '"']) && !text.contains(char::is_whitespace);
        if is_bare {
            self.0.push_str(&text)
        } else {
            self.0.push_str(&quoted(&text))
        }
        Ok(self)
    }

    /// Adds the path of a staged file.
    ///
    /// # Errors
    /// When that is no path in the first boot's directory.
    pub fn staged(mut self, path: &str) -> Result<Self, FirstBootError> {
        self.0.push_str(&format!(" \"{}\"", staged(path)?));
        Ok(self)
    }

    /// Adds words of our own, which may hold tokens.
    #[must_use]
    pub fn words(mut self, words: &'static str) -> Self {
        self.0.push(' ');
        self.0.push_str(words);
        self
    }

    /// The line as it stands in the list.
    ///
    /// # Errors
    /// When Windows cannot take it.
    pub fn text(&self) -> Result<&str, FirstBootError> {
        let length = self.0.encode_utf16().count();
        if length > MOST_UNITS { Err(FirstBootError::TooLong(length)) } else { Ok(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str) -> String {
        let line = CommandLine::of_system("x.exe").argument(text).unwrap();
        line.text().unwrap().strip_prefix("\"{system}\\x.exe\" ").unwrap().to_owned()
    }

    #[test]
    fn arguments_are_quoted_where_they_must_be() {
        assert_eq!(argument("/qn"), "/qn");
        assert_eq!(argument(r"C:\a\"), r"C:\a\");
        assert_eq!(argument(""), r#""""#);
        assert_eq!(argument("a b"), r#""a b""#);
        assert_eq!(argument(r"a b\"), r#""a b\\""#);
        assert_eq!(argument(r#"a"b"#), r#""a\"b""#);
        assert_eq!(argument(r#"a\"b c"#), r#""a\\\"b c""#);
        assert_eq!(argument("{here}"), "{{here}");
    }

    #[test]
    fn paths_stay_in_the_directory() {
        assert_eq!(staged(r"drivers\ena\ena.inf").unwrap(), r"{here}\drivers\ena\ena.inf");
        assert_eq!(staged("a{system} %PATH% & b.msi").unwrap(), r"{here}\a{{system} %PATH% & b.msi");
        for hostile in [
            "",
            r"..\x",
            r"a\..\..\x",
            r"C:\x",
            r"\x",
            r"\\server\x",
            "a/b",
            "a\"b",
            "a:stream",
            r"a\\b",
            "a.",
            "a ",
            "a\nb",
            "a*",
        ] {
            assert!(staged(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn lines_and_lengths_that_windows_cannot_take_are_refused() {
        let line = CommandLine::of_system("x.exe");
        assert_eq!(line.clone().argument("a\r\nb"), Err(FirstBootError::Control("a\r\nb".into())));
        let long = line.argument(&"x".repeat(32_000)).unwrap();
        assert!(matches!(long.text(), Err(FirstBootError::TooLong(_))));
    }
}
