//! How a first boot ended, by what the service wrote to its log and to the serial port.

use std::fmt;

/// Every line of the service says this after its time.
const PREFIX: &str = " Replant first boot: ";

/// How a first boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were looked at.
    Finished {
        /// Steps that succeeded.
        succeeded: u32,
        /// Steps that failed in all their attempts.
        failed: u32,
        /// Steps whose condition did not hold.
        skipped: u32,
        /// Steps that failed and were only tried.
        in_vain: u32,
    },
    /// The service gave up, and why.
    GaveUp(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LOG: &str = "C:\\Replant\\firstboot.log";
        match self {
            Self::Finished { succeeded, failed: 0, in_vain: 0, .. } => {
                write!(formatter, "first boot: all went well ({succeeded} succeeded)")
            }
            Self::Finished { succeeded, failed: 0, in_vain, .. } => {
                write!(
                    formatter,
                    "first boot: all that must went well ({succeeded} succeeded, {in_vain} tried in vain; {LOG} in the guest says why)"
                )
            }
            Self::Finished { succeeded, failed, .. } => {
                write!(
                    formatter,
                    "first boot: {failed} failed, {succeeded} succeeded; {LOG} in the guest says why"
                )
            }
            Self::GaveUp(why) => {
                write!(formatter, "first boot: it gave up: {why}; {LOG} in the guest says more")
            }
        }
    }
}

impl Outcome {
    /// The last outcome in a log or a console's output; `None` while the first boot goes on. A guest that
    /// is restored again adds to its log.
    #[must_use]
    pub fn in_log(log: &str) -> Option<Self> {
        let said = |line: &'_ str| Some(line.split_once(PREFIX)?.1.to_owned());
        log.lines().rev().filter_map(said).find_map(|said| {
            if said.starts_with("start ") {
                return Some(None);
            }
            Self::said(&said).map(Some)
        })?
    }

    /// The outcome that a line says.
    fn said(said: &str) -> Option<Self> {
        if let Some(why) = said.strip_prefix("gives up: ") {
            return Some(Self::GaveUp(why.trim_end().to_owned()));
        }
        let mut counts = said.strip_prefix("finished: ")?.trim_end().split(", ");
        let mut count = |word: &str| counts.next()?.strip_suffix(word)?.trim_end().parse().ok();
        Some(Self::Finished {
            succeeded: count("succeeded")?,
            failed: count("failed")?,
            skipped: count("skipped")?,
            in_vain: count("tried in vain").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let start = "2026-11-22T16:50:30Z Replant first boot: step [x] failed\r\n";
        assert_eq!(Outcome::in_log(start), None);
        let end = format!(
            "{start}\0\x1b[2J2026-11-22T16:50:30Z Replant first boot: finished: 3 succeeded, 1 failed, 0 skipped\r\nx"
        );
        assert_eq!(
            Outcome::in_log(&end),
            Some(Outcome::Finished { succeeded: 3, failed: 1, skipped: 0, in_vain: 0 })
        );
        let again = format!("{end}\n2026-11-23T16:50:30Z Replant first boot: start 1 of 5, 3 steps\r\n");
        assert_eq!(Outcome::in_log(&again), None);
        let tried = "x Replant first boot: finished: 3 succeeded, 0 failed, 0 skipped, 1 tried in vain\r\n";
        let found = Outcome::in_log(tried).unwrap();
        assert_eq!(found, Outcome::Finished { succeeded: 3, failed: 0, skipped: 0, in_vain: 1 });
        assert!(found.to_string().contains("1 tried in vain"), "{found}");
        let gave_up = "2026-11-22T16:50:30Z Replant first boot: gives up: it was started too often\r\n";
        assert_eq!(Outcome::in_log(gave_up), Some(Outcome::GaveUp("it was started too often".into())));
        let words = Outcome::in_log(&end).unwrap().to_string();
        assert_eq!(
            words,
            "first boot: 1 failed, 3 succeeded; C:\\Replant\\firstboot.log in the guest says why"
        );
        assert_eq!(Outcome::in_log("x Replant first boot: finished: 99999999999 succeeded, x\n"), None);
    }
}
