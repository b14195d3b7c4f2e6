//! How quick the cloud is and how long it remembers.

use std::time::Duration;

/// How long each transition takes. EC2 takes seconds; the default is short but long enough that a
/// caller who does not wait for a state is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delays {
    /// `creating` → `available`.
    pub create_volume: Duration,
    /// `attaching` → `attached`.
    pub attach: Duration,
    /// `detaching` → `available`.
    pub detach: Duration,
    /// `deleting` → no longer described.
    pub delete_volume: Duration,
    /// `pending` → `running`.
    pub start: Duration,
    /// `stopping` → `stopped`, at least.
    pub stop: Duration,
    /// `shutting-down` → `terminated`, at least.
    pub terminate: Duration,
    /// `pending` → `completed` of a snapshot.
    pub snapshot: Duration,
}

impl Delays {
    /// The same delay for every transition.
    #[must_use]
    pub fn all(delay: Duration) -> Self {
        Self {
            create_volume: delay,
            attach: delay,
            detach: delay,
            delete_volume: delay,
            start: delay,
            stop: delay,
            terminate: delay,
            snapshot: delay,
        }
    }
}

impl Default for Delays {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            create_volume: ms(100),
            attach: ms(100),
            detach: ms(100),
            delete_volume: ms(50),
            start: ms(300),
            stop: ms(200),
            terminate: ms(200),
            snapshot: ms(100),
        }
    }
}

/// What of the cloud can be tuned beside its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The transitions.
    pub delays: Delays,
    /// How long a terminated instance is still described (EC2: about an hour), and how long a
    /// deleted volume's client token is remembered.
    pub remember: Duration,
    /// How long a guest may take to power off when it is told to, before its plug is pulled.
    pub power_off: Duration,
    /// The time between two modifications of one volume (EC2: four in any 24 hours, each after the one
    /// before is completed); `None`: any.
    pub modify_cooldown: Option<Duration>,
    /// Most bytes of a console log; older lines are dropped whenever somebody looks at it.
    pub console_limit: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delays: Delays::default(),
            remember: Duration::from_secs(3600),
            power_off: Duration::from_secs(20),
            modify_cooldown: None,
            console_limit: 4 << 20,
        }
    }
}

/// Environment variable that sets every delay, in milliseconds.
pub(super) const DELAY_VARIABLE: &str = "REPLANT_LOCAL_DELAY";

impl Settings {
    /// The defaults, with every delay set by `REPLANT_LOCAL_DELAY` (milliseconds, at most a
    /// minute) when that is a number.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut settings = Self::default();
        let delay = std::env::var(DELAY_VARIABLE).ok().and_then(|text| text.trim().parse::<u64>().ok());
        if let Some(delay) = delay {
            settings.delays = Delays::all(Duration::from_millis(delay.min(60_000)));
        }
        settings
    }
}
