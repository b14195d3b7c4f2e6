//! Diagnostics in rustc's layout: code and summary, the source line with carets, what and why,
//! and the ways to fix it.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::text::{Look, harmless, wrap};
use crate::diagnostic::{Diagnostic, Severity, Span};

/// Columns before a message: a line number's width, ` = help: `.
const MESSAGE_INDENT: usize = 12;

/// One diagnostic at the default width, ending in a line feed.
#[must_use]
pub fn render_diagnostic(diagnostic: &Diagnostic, color: bool) -> String {
    render_diagnostic_as(diagnostic, Look::colored(color))
}

/// One diagnostic, ending in a line feed.
#[must_use]
pub fn render_diagnostic_as(diagnostic: &Diagnostic, look: Look) -> String {
    let renderer = if look.color { Renderer::styled() } else { Renderer::plain() }.term_width(look.width);
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = level
        .primary_title(harmless(&diagnostic.summary))
        .id(diagnostic.code.as_str())
        .elements(diagnostic.span.as_ref().map(snippet));
    if let Some(address) = &diagnostic.address {
        group = group.element(Level::NOTE.with_name("in").message(harmless(address)));
    }
    let width = look.width.saturating_sub(MESSAGE_INDENT);
    if !diagnostic.detail.is_empty() {
        group = group.element(Level::NOTE.message(wrap(&harmless(&diagnostic.detail), width)));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(wrap(&harmless(help), width)));
    }
    let mut text = renderer.render(&[group]);
    text.push('\n');
    text
}

fn snippet(span: &Span) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
    let line = span.source_line.lines().next().unwrap_or_default();
    Snippet::source(line.to_owned())
        .line_start(usize::try_from(span.line).unwrap_or(usize::MAX))
        .path(harmless(&span.file.display().to_string()))
        .annotation(AnnotationKind::Primary.span(bytes_of(span, line)))
}

/// The bytes of `line` that a span means, cut at the line's end.
fn bytes_of(span: &Span, line: &str) -> Range<usize> {
    let at = |character: usize| line.char_indices().nth(character).map_or(line.len(), |(byte, _)| byte);
    let first = usize::try_from(span.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let length = usize::try_from(span.length.max(1)).unwrap_or(usize::MAX);
    at(first)..at(first.saturating_add(length))
}

/// Several diagnostics with an empty line after each, and a closing line that counts them when
/// there is more than one. Empty for none.
#[must_use]
pub fn render_diagnostics<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>, color: bool) -> String {
    render_diagnostics_as(diagnostics, Look::colored(color))
}

/// As [`render_diagnostics`], for a certain width.
#[must_use]
pub fn render_diagnostics_as<'a>(
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
    look: Look,
) -> String {
    let mut text = String::new();
    let mut counts = [0u64; 3];
    for diagnostic in diagnostics {
        counts[match diagnostic.severity {
            Severity::Error => 0,
            Severity::Warning => 1,
            Severity::Note => 2,
        }] += 1;
        text.push_str(&render_diagnostic_as(diagnostic, look));
        text.push('\n');
    }
    if counts.iter().sum::<u64>() > 1 {
        let said: Vec<_> = counts
            .into_iter()
            .zip(["error", "warning", "note"])
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
        let _infallible = writeln!(text, "{}", said.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(column: u32, length: u32, source_line: &str) -> Span {
        Span {
            file: "main.replant.hcl".into(),
            line: 12,
            column,
            length,
            source_line: source_line.to_owned(),
        }
    }

    fn example() -> Diagnostic {
        Diagnostic::error("config::unknown_attribute", "unknown attribute")
            .at(Some(span(3, 6, "  imagee = \"backups/web.ova\"")))
            .detail("`imagee` is no attribute of `instance`. An instance takes `image`, `instance_type`, `subnet_id`, `private_ip`, `state` and others that the manual lists.")
            .about("instance.web")
            .help("write `image`:\nreplant fmt --a-very-long-option-that-nobody-would-want-to-see-broken-in-two --and-another-one --and-one-more")
    }

    #[test]
    fn looks_like_rustc() {
        insta::assert_snapshot!(render_diagnostic(&example(), false));
    }

    #[test]
    fn without_a_place() {
        let diagnostic = Diagnostic::warning("state::stale", "the state is old").help("look at it");
        insta::assert_snapshot!(render_diagnostic(&diagnostic, false));
    }

    #[test]
    fn several_are_counted() {
        let note = Diagnostic::note("x::y", "by the way");
        insta::assert_snapshot!(render_diagnostics([&example(), &example(), &note], false));
    }

    #[test]
    fn colors_only_when_wanted() {
        assert!(render_diagnostic(&example(), true).contains('\u{1b}'));
        assert!(!render_diagnostic(&example(), false).contains('\u{1b}'));
    }

    #[test]
    fn any_span_over_any_line_is_rendered() {
        let lines = [
            "",
            "é",
            "\u{1b}[31mred",
            "\ttab",
            "日本語テキスト",
            "a\u{202e}b",
            "x\ny",
            &"long ".repeat(5000),
        ];
        for line in lines {
            for column in [0, 1, 2, 3, 7, 100, u32::MAX] {
                for length in [0, 1, 3, 90, u32::MAX] {
                    for number in [0, 1, u32::MAX] {
                        let mut span = span(column, length, line);
                        span.line = number;
                        let text = render_diagnostic(&example().at(Some(span)), false);
                        assert!(text.starts_with("error[config::unknown_attribute]"), "{text}");
                        assert!(!text.contains('\u{1b}'));
                    }
                }
            }
        }
    }
}
