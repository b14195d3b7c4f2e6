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
    },
    /// The service gave up, and why.
    GaveUp(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LOG: &str = "C:\\Replant\\firstboot.log";
        match self {
            Self::Finished { succeeded, failed: 0, .. } => {
                write!(formatter, "first boot: all went well ({succeeded} succeeded)")
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
    /// The last outcome in a log or a console's output; `None` while the first boot goes on.
    #[must_use]
    pub fn in_log(log: &str) -> Option<Self> {
        log.lines().rev().find_map(|line| {
            let (_, said) = line.split_once(PREFIX)?;
            if let Some(why) = said.strip_prefix("gives up: ") {
                return Some(Self::GaveUp(why.trim_end().to_owned()));
            }
            let mut counts = said.strip_prefix("finished: ")?.trim_end().split(", ");
            let mut count = |word: &str| counts.next()?.strip_suffix(word)?.trim_end().parse().ok();
            Some(Self::Finished {
                succeeded: count("succeeded")?,
                failed: count("failed")?,
                skipped: count("skipped")?,
            })
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
        assert_eq!(Outcome::in_log(&end), Some(Outcome::Finished { succeeded: 3, failed: 1, skipped: 0 }));
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
