//! One way to write a configuration: indentation, spaces and alignment as `terraform fmt` has
//! them. Only white space changes; comments, heredocs, what is inside quotes, and the lines
//! themselves stay.

use std::path::PathBuf;

use super::load::parse_body;
use super::source::Sources;
use super::unclosed;
use crate::diagnostic::Diagnostics;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A name, number or keyword.
    Word,
    /// A quoted string with everything in it.
    String,
    /// A heredoc with its end.
    Heredoc,
    Comment,
    /// Brackets, operators, commas.
    Sign,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

/// A line, without its white space.
#[derive(Debug, Default)]
struct Line<'a> {
    tokens: Vec<Token<'a>>,
    indent: usize,
}

/// Signs of more than one character.
const SIGNS: [&str; 10] = ["...", "==", "!=", "<=", ">=", "&&", "||", "=>", "::", ".*"];

/// Formats a file's text.
///
/// # Errors
/// When the text is not written correctly: what cannot be read is not touched.
pub fn format_text(path: PathBuf, text: &str) -> Result<String, Diagnostics> {
    let mut found = Diagnostics::new();
    if parse_body(&Sources::default(), path.clone(), text.to_owned(), &mut found).is_none() {
        return Err(found);
    }
    let mut lines = read(text);
    indent(&mut lines);
    let formatted = write(&lines);
    // Nothing but white space may have changed, and what is written must read as before.
    let same = read(&formatted)
        .iter()
        .flat_map(|line| &line.tokens)
        .map(|token| token.text)
        .eq(lines.iter().flat_map(|line| &line.tokens).map(|token| token.text));
    if same && parse_body(&Sources::default(), path, formatted.clone(), &mut found).is_some() {
        Ok(formatted)
    } else {
        Ok(text.to_owned())
    }
}

/// The lines and their tokens.
fn read(text: &str) -> Vec<Line<'_>> {
    let mut lines = vec![Line::default()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\n' {
            lines.push(Line::default());
            rest = &rest[1..];
            continue;
        }
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
        let (kind, length) = if first == '"' {
            (Kind::String, unclosed::string_length(rest))
        } else if rest.starts_with("<<") && unclosed::heredoc(rest) > 2 {
            (Kind::Heredoc, unclosed::heredoc(rest))
        } else if first == '#' || rest.starts_with("//") {
            (Kind::Comment, unclosed::line(rest))
        } else if rest.starts_with("/*") {
            (Kind::Comment, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if first.is_ascii_digit() {
            (Kind::Word, number(rest))
        } else if first.is_alphabetic() || first == '_' {
            (Kind::Word, rest.find(|letter| !word(letter)).unwrap_or(rest.len()))
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            (Kind::Sign, sign.map_or(first.len_utf8(), |sign| sign.len()))
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        // A heredoc's end takes its line feed with it: the next line begins.
        let trimmed =
            if kind == Kind::Heredoc { token.trim_end_matches('\n') } else { token.trim_end_matches('\r') };
        if let Some(line) = lines.last_mut() {
            line.tokens.push(Token { kind, text: trimmed });
        }
        if kind == Kind::Heredoc && token.ends_with('\n') {
            lines.push(Line::default());
        }
    }
    lines
}

/// The length of a number.
fn number(text: &str) -> usize {
    let mut length = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let exponent = matches!(letter, 'e' | 'E');
        let fraction = letter == '.' && letters.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        if !(letter.is_ascii_digit() || exponent || fraction) {
            break;
        }
        length = at + 1;
        if exponent && let Some((at, _)) = letters.next_if(|(_, next)| matches!(next, '+' | '-')) {
            length = at + 1;
        }
    }
    length
}

fn opens(token: &Token<'_>) -> bool {
    token.kind == Kind::Sign && matches!(token.text, "(" | "[" | "{")
}

fn closes(token: &Token<'_>) -> bool {
    token.kind == Kind::Sign && matches!(token.text, ")" | "]" | "}")
}

/// Indents as Terraform does: by the brackets that a line opens or closes on the whole.
fn indent(lines: &mut [Line<'_>]) {
    // How many brackets each indentation waits for.
    let mut open: Vec<usize> = Vec::new();
    for line in lines {
        let opened = line.tokens.iter().filter(|token| opens(token)).count();
        let closed = line.tokens.iter().filter(|token| closes(token)).count();
        let mut surplus = closed.saturating_sub(opened);
        while let Some(last) = open.last_mut().filter(|_| surplus > 0) {
            let now = surplus.min(*last);
            *last -= now;
            surplus -= now;
            if *last == 0 {
                open.pop();
            }
        }
        line.indent = open.len();
        if opened > closed {
            open.push(opened - closed);
        }
    }
}

/// Whether a `-` is a sign, not a subtraction.
fn is_unary(before: Option<&Token<'_>>) -> bool {
    before.is_none_or(|token| match token.kind {
        Kind::Sign => !matches!(token.text, ")" | "]" | "}"),
        Kind::Word => matches!(token.text, "in" | "if"),
        _ => false,
    })
}

/// Whether a space stands between two tokens; `earlier` is the one before them.
fn spaced(earlier: Option<&Token<'_>>, left: &Token<'_>, right: &Token<'_>) -> bool {
    let sign =
        |token: &Token<'_>| if token.kind == Kind::Sign { token.text.to_owned() } else { String::new() };
    let (a, b) = (sign(left), sign(right));
    if right.kind == Kind::Comment || left.kind == Kind::Comment {
        return true;
    }
    let value =
        matches!(left.kind, Kind::Word | Kind::String) || matches!(a.as_str(), ")" | "]" | "}" | ".*");
    let keyword = left.kind == Kind::Word && matches!(left.text, "in" | "if" | "for");
    match (a.as_str(), b.as_str()) {
        (_, "," | "." | ".*" | ")" | "]" | "..." | "::") => false,
        ("(" | "[" | "." | "!" | "::", _) => false,
        ("{", "}") => false,
        ("-", _) if is_unary(earlier) => false,
        (_, "(") => left.kind != Kind::Word || keyword,
        (_, "[") => !value || keyword,
        _ => true,
    }
}

fn text_of(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    for (index, token) in tokens.iter().enumerate() {
        let earlier = index.checked_sub(2).and_then(|index| tokens.get(index));
        if let Some(left) = index.checked_sub(1).and_then(|index| tokens.get(index))
            && spaced(earlier, left, token)
        {
            text.push(' ');
        }
        text.push_str(token.text);
    }
    text
}

/// Whether a line is `name = value`, all of it.
fn is_assignment(line: &Line<'_>) -> bool {
    let depth = line.tokens.iter().try_fold(0i64, |depth, token| {
        let depth = depth + i64::from(opens(token)) - i64::from(closes(token));
        (depth >= 0 && !token.text.contains('\n')).then_some(depth)
    });
    let named = line.tokens.first().is_some_and(|token| matches!(token.kind, Kind::Word | Kind::String));
    named
        && depth == Some(0)
        && line.tokens.get(1).is_some_and(|token| token.kind == Kind::Sign && token.text == "=")
}

/// The lines' texts: assignments beside each other aligned, then their comments.
fn write(lines: &[Line<'_>]) -> String {
    let mut written: Vec<(String, Option<&str>)> = Vec::with_capacity(lines.len());
    let mut index = 0;
    while index < lines.len() {
        let group = lines[index..].iter().take_while(|line| is_assignment(line)).count();
        let widths = lines[index..index + group].iter().map(|line| line.tokens[0].text.chars().count());
        let width = widths.max().unwrap_or(0);
        for (offset, line) in lines[index..index + group.max(1)].iter().enumerate() {
            let (code, comment) = match line.tokens.split_last() {
                Some((last, code)) if last.kind == Kind::Comment && !code.is_empty() => {
                    (code, Some(last.text))
                }
                _ => (&line.tokens[..], None),
            };
            let margin = "  ".repeat(if line.tokens.is_empty() { 0 } else { line.indent });
            let text = if offset < group {
                format!("{margin}{:width$} {}", code[0].text, text_of(&code[1..]))
            } else {
                format!("{margin}{}", text_of(code))
            };
            written.push((text, comment));
        }
        index += group.max(1);
    }
    let mut text = String::new();
    let mut index = 0;
    while index < written.len() {
        let group = written[index..].iter().take_while(|(_, comment)| comment.is_some()).count();
        let columns = |text: &str| text.rsplit('\n').next().unwrap_or_default().chars().count();
        let width = written[index..index + group].iter().map(|(code, _)| columns(code)).max().unwrap_or(0);
        for (code, comment) in &written[index..index + group.max(1)] {
            text.push_str(code);
            if let Some(comment) = comment {
                text.push_str(&" ".repeat(width - columns(code) + 1));
                text.push_str(comment);
            }
            text.push('\n');
        }
        index += group.max(1);
    }
    // The text's last line feed began a line that is not there.
    while text.ends_with("\n\n") {
        text.pop();
    }
    if text == "\n" { String::new() } else { text }
}
