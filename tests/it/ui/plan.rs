//! Plans as people read them.

use replant::guest::report::{FileChange, FileDiff};
use replant::plan::Mode;
use replant::ui::human::Look;
use replant::ui::human::paint::Paint;
use replant::ui::human::plan::diff::render_diff;
use replant::ui::human::render_plan;

use super::sample;

#[test]
fn a_first_restore() {
    insta::assert_snapshot!(render_plan(&sample::restore(), 1, false));
}

#[test]
fn changes_replacements_and_destructions() {
    insta::assert_snapshot!(render_plan(&sample::changes(), 3, false));
}

#[test]
fn nothing_to_do() {
    let text = render_plan(&sample::empty(Mode::Restore), 3, false);
    assert_eq!(text, "No changes. What exists is what the configuration says.\n");
    let text = render_plan(&sample::empty(Mode::Destroy), 3, false);
    assert_eq!(text, "No changes. There is nothing to destroy.\n");
}

#[test]
fn of_a_guest_to_which_nothing_is_done_nothing_is_said() {
    let mut plan = sample::restore();
    assert!(render_plan(&plan, 3, false).contains("# Guest of instance.web"));
    plan.nodes.clear();
    assert!(!render_plan(&plan, 3, false).contains("# Guest of"));
}

#[test]
fn titles_edits_and_totals_are_wrapped() {
    let look = Look { color: false, width: 60 };
    let mut plan = sample::restore();
    let guest = plan.guests.values_mut().next().unwrap();
    guest.findings[0].summary = "a title that goes on and on ".repeat(5).trim_end().to_owned();
    guest.edits = vec![("/etc/fstab".to_owned(), "a purpose that goes on and on ".repeat(5))];
    guest.diffs.clear();
    let text = replant::ui::human::plan::render_plan_as(&plan, 3, look);
    let begins = |start: &str| text.lines().position(|line| line.trim_start().starts_with(start)).unwrap();
    for (start, lines) in [("Plan: ", 2), ("~ /etc/fstab: ", 3)] {
        let lines: Vec<&str> = text.lines().skip(begins(start)).take(lines).collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
        assert!(lines[1].starts_with("  "), "{lines:?}");
    }
    assert!(text.lines().filter(|line| line.contains("goes on")).all(|line| line.chars().count() <= 60));
}

#[test]
fn only_outputs() {
    let mut plan = sample::empty(Mode::Restore);
    plan.outputs = sample::changes().outputs;
    insta::assert_snapshot!(render_plan(&plan, 3, false));
}

#[test]
fn the_legend_lists_only_what_is_used() {
    let text = render_plan(&sample::restore(), 3, false);
    assert!(text.contains("+ create") && !text.contains("destroy and then") && !text.contains("in-place"));
}

#[test]
fn colors_change_nothing_but_colors() {
    for plan in [sample::restore(), sample::changes()] {
        let colored = render_plan(&plan, 3, true);
        assert!(colored.contains('\u{1b}'));
        let stripped = anstream::adapter::strip_str(&colored).to_string();
        assert_eq!(stripped, render_plan(&plan, 3, false));
    }
}

/// Texts that come out of a guest, an image or a provider never drive the terminal.
#[test]
fn hostile_texts_are_harmless() {
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\rx";
    let mut plan = sample::restore();
    let guest = plan.guests.values_mut().next().unwrap();
    let facts = guest.facts.as_mut().unwrap();
    facts.product = evil.to_owned();
    facts.hostname = Some(evil.to_owned());
    facts.kernels[0].release = evil.to_owned();
    for finding in &mut guest.findings {
        finding.code = evil.to_owned();
        finding.summary = evil.to_owned();
        finding.evidence = vec![evil.to_owned()];
        finding.remedy = Some(evil.to_owned());
        finding.advice = Some(evil.to_owned());
    }
    guest.edits.push((evil.to_owned(), evil.to_owned()));
    for change in [
        FileChange::Text { old: Some(evil.to_owned()), new: None },
        FileChange::Binary { old_length: None, new_length: None, lines: vec![evil.to_owned()] },
        FileChange::Renamed { to: evil.to_owned() },
    ] {
        guest.diffs.push(FileDiff { path: evil.to_owned(), change });
    }
    plan.provider = evil.to_owned();
    plan.access_node.zone = evil.to_owned();
    plan.changes[0].notes = vec![evil.to_owned()];
    plan.changes[0].attributes.push(sample::set(evil, serde_json::json!({ evil: [evil] })));
    plan.prediction.as_mut().unwrap().slowest_link = evil.to_owned();
    let text = render_plan(&plan, 3, false);
    assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{text:?}");
}

#[test]
fn a_long_diff_is_cut_and_says_so() {
    let old: String = (0..5000).map(|line| format!("old {line}\n")).collect();
    let new: String = (0..5000).map(|line| format!("new {line}\n")).collect();
    let diff = FileDiff {
        path: "/etc/long".to_owned(),
        change: FileChange::Text { old: Some(old), new: Some(new) },
    };
    let text = render_diff(&diff, 3, Paint { color: false }, 2);
    assert_eq!(text.lines().count(), 401);
    assert!(text.ends_with("more lines; --json has all of them)\n"), "{text}");
}

#[test]
fn narrow_terminals_do_no_harm() {
    for width in [0, 1, 20, 40, 80] {
        let look = Look { color: false, width };
        assert!(
            replant::ui::human::plan::render_plan_as(&sample::restore(), 3, look)
                .contains("Plan: 1 to restore")
        );
    }
}
