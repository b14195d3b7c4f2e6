//! Text for a terminal: its width, wrapping, and text from outside made harmless.

use annotate_snippets::normalize_untrusted_str;

/// How wide text is wrapped where nobody says otherwise (pipes, files, tests).
pub const DEFAULT_WIDTH: usize = 100;

/// The narrowest that is still wrapped to; below it words would stand one a line.
const NARROWEST: usize = 40;

/// What a text is rendered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether ANSI colours are wanted.
    pub color: bool,
    /// Columns to wrap to.
    pub width: usize,
}

impl Look {
    /// For a pipe, a file or a test: no colours, [`DEFAULT_WIDTH`].
    pub const PLAIN: Self = Self { color: false, width: DEFAULT_WIDTH };

    /// With or without colour, at [`DEFAULT_WIDTH`].
    #[must_use]
    pub fn colored(color: bool) -> Self {
        Self { color, ..Self::PLAIN }
    }
}

/// A text from outside (a file's line, a guest's console, a provider's message) without control
/// characters that could drive a terminal. Line endings stay, tabs become spaces.
#[must_use]
pub fn harmless(text: &str) -> String {
    normalize_untrusted_str(text)
}

/// Whether a line is meant to be copied or already laid out: indented, or starting like a shell
/// command that our messages name. Such lines are never wrapped.
fn is_verbatim(line: &str) -> bool {
    line.starts_with([' ', '\t'])
        || [
            "replant ", "sudo ", "apt-get ", "rm ", "mv ", "cp ", "kill ", "umount ", "losetup ", "lsblk ",
            "fuser ", "swapoff ", "curl ",
        ]
        .iter()
        .any(|word| line.starts_with(word))
}

/// Wraps each line at spaces to `width` columns (characters). Words that are longer stand alone;
/// indented lines and commands stay as they are.
#[must_use]
pub fn wrap(text: &str, width: usize) -> String {
    let width = width.max(NARROWEST);
    let mut wrapped = String::with_capacity(text.len() + text.len() / width);
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            wrapped.push('\n');
        }
        if is_verbatim(line) {
            wrapped.push_str(line);
            continue;
        }
        let mut column = 0;
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > width {
                wrapped.push('\n');
                column = 0;
            } else if column > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += length;
        }
    }
    wrapped
}

/// Wraps each line at spaces to `width` columns, as [`wrap`] does; a line keeps its own
/// indentation, and goes on after `indent` spaces. Colours take no columns. A last line feed stays.
#[must_use]
pub fn hanging(text: &str, width: usize, indent: usize) -> String {
    let width = width.max(NARROWEST);
    let mut wrapped = String::with_capacity(text.len() + text.len() / width);
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let words = line.trim_start_matches(' ');
        let own = line.len() - words.len();
        wrapped.push_str(&" ".repeat(own));
        let mut column = own;
        for (number, word) in words.split(' ').enumerate() {
            let length = columns(word);
            if number > 0 && column + 1 + length > width && column > indent {
                wrapped.push('\n');
                wrapped.push_str(&" ".repeat(indent));
                column = indent;
            } else if number > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += length;
        }
        wrapped.push_str(end);
    }
    wrapped
}

/// The columns of a word: its characters, but for the sequences that set colours (`ESC [ … m`).
fn columns(word: &str) -> usize {
    let mut escaped = false;
    let is_shown = |c: &char| {
        let shown = !escaped && *c != '\u{1b}';
        escaped = (escaped || *c == '\u{1b}') && *c != 'm';
        shown
    };
    word.chars().filter(is_shown).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces_and_leaves_commands_alone() {
        let command = format!("replant apply {}", "x ".repeat(60));
        let text = format!("{}\n{command}\n    indented {}", "word ".repeat(30).trim_end(), "y ".repeat(60));
        let wrapped = wrap(&text, 50);
        let lines: Vec<_> = wrapped.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[..3].iter().all(|line| line.chars().count() <= 50));
        assert_eq!(lines[3], command);
        assert!(lines[4].starts_with("    indented y"));
    }

    #[test]
    fn a_line_goes_on_under_itself_and_colours_take_no_columns() {
        let text = format!("  \u{1b}[31mwarns\u{1b}[0m {}\n\nshort\n", "word ".repeat(16).trim_end());
        let wrapped = hanging(&text, 44, 6);
        let lines: Vec<_> = wrapped.split('\n').collect();
        assert_eq!(lines[0], format!("  \u{1b}[31mwarns\u{1b}[0m {}", "word ".repeat(7).trim_end()));
        assert_eq!(lines[1], format!("      {}", "word ".repeat(7).trim_end()));
        assert_eq!(lines[2..], ["      word word", "", "short", ""]);
        let long = "x".repeat(90);
        assert_eq!(hanging(&format!("  {long} y\n"), 50, 4), format!("  {long}\n    y\n"));
    }

    #[test]
    fn text_from_outside_cannot_drive_the_terminal() {
        let text = harmless("a\u{1b}[2Jb\u{7}\u{202e}c\nd");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        assert!(text.ends_with("c\nd") || text.ends_with("\nd"));
    }
}
