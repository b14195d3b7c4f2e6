//! The way out: colours and widths as the streams allow, texts and diagnostics printed.
//!
//! What a command *gives* goes to standard output, what is *said* about it to standard error.
//! Colour follows the stream and `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use anstream::{AutoStream, ColorChoice};
use indicatif::ProgressDrawTarget;

use super::exit::Exit;
use crate::apply::Observer;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ui::human::Look;
use crate::ui::human::diagnostics::render_diagnostics_as;
use crate::ui::human::text::DEFAULT_WIDTH;
use crate::ui::json;
use crate::ui::progress::{JsonLines, Live, Plain};

/// The columns of the terminal behind a stream: `COLUMNS`, else what the terminal says, else
/// [`DEFAULT_WIDTH`].
fn width(stream: impl AsFd) -> usize {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok())
        .or_else(|| rustix::termios::tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)))
        .filter(|width| *width > 0)
        .unwrap_or(DEFAULT_WIDTH)
}

/// How to render for standard output.
#[must_use]
pub fn stdout_look() -> Look {
    let stream = io::stdout();
    Look { color: AutoStream::choice(&stream) != ColorChoice::Never, width: width(stream) }
}

/// How to render for standard error.
#[must_use]
pub fn stderr_look() -> Look {
    let stream = io::stderr();
    Look { color: AutoStream::choice(&stream) != ColorChoice::Never, width: width(stream) }
}

/// Whether a person sits there: questions can be asked and progress can be redrawn.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Prints to standard output, already rendered by [`stdout_look`]. A reader that went away (`| head`)
/// is no error.
pub fn print(text: &str) {
    let mut stream = io::stdout().lock();
    let _reader_gone = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

/// Prints to standard error, already rendered by [`stderr_look`].
pub fn say(text: &str) {
    let mut stream = io::stderr().lock();
    let _reader_gone = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

/// Asks a question; only `yes` is yes. `what` says what needs it, `helps` are for where nobody can
/// be asked.
///
/// # Errors
/// Nobody can be asked: there is no terminal, or a program reads what is printed (`json`); the
/// answer cannot be read.
pub fn ask(question: &str, what: &str, helps: &[&str], json: bool) -> Result<bool, Diagnostics> {
    if json || !is_interactive() {
        let refusal = Diagnostic::error("apply::not_approved", "Nobody can be asked")
            .detail(format!("{what}, and there is no terminal to ask on."));
        return Err(helps.iter().fold(refusal, |refusal, help| refusal.help(*help)).into());
    }
    say(&format!("\n{question} Only `yes` is taken as yes.\n\n  Enter a value: "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| {
        Diagnostics::from(
            Diagnostic::error("apply::no_answer", "The answer cannot be read").detail(error.to_string()),
        )
    })?;
    Ok(answer.trim_end_matches(['\r', '\n']) == "yes")
}

/// What shows a run's events: JSON lines when asked for, bars where standard output is a terminal,
/// plain lines elsewhere.
#[must_use]
pub fn observer(json: bool) -> Arc<dyn Observer> {
    let out = Box::new(io::stdout());
    if json {
        Arc::new(JsonLines::new(out))
    } else if io::stdout().is_terminal() {
        Arc::new(Live::new(ProgressDrawTarget::stdout(), out, stdout_look()))
    } else {
        Arc::new(Plain::new(out, stdout_look()))
    }
}

/// Prints diagnostics: for people to standard error, or with `json` one object a line to standard
/// output.
pub fn print_diagnostics(diagnostics: &Diagnostics, json: bool) {
    if json {
        print(&json::render_diagnostics(diagnostics.as_slice()));
    } else {
        say(&render_diagnostics_as(diagnostics.as_slice(), stderr_look()));
    }
}

/// As [`print_diagnostics`], for a single one.
pub fn print_diagnostic(diagnostic: &Diagnostic, json: bool) {
    let mut diagnostics = Diagnostics::new();
    diagnostics.push(diagnostic.clone());
    print_diagnostics(&diagnostics, json);
}

/// Prints what a command has to say, or why it has nothing.
pub fn finish(said: Result<String, impl Into<Diagnostics>>, json: bool) -> Exit {
    match said {
        Ok(text) => {
            print(&text);
            Exit::Success
        }
        Err(diagnostics) => {
            print_diagnostics(&diagnostics.into(), json);
            Exit::Failure
        }
    }
}
