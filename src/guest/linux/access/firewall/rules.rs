//! Chains of rules as iptables and nftables have them, and what they do to a new connection to
//! the SSH port.

use std::collections::BTreeMap;

/// Rules looked at for one verdict, whatever chains call each other.
const MOST_STEPS: u32 = 20_000;
/// How deep chains call each other.
const DEPTH: u32 = 16;

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: String,
    /// Its line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// What stands there.
    pub text: String,
}

/// Whether a new connection comes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// It does.
    Open,
    /// From some addresses only, by this rule.
    Sources(Place),
    /// Only on a network card or address that the instance does not have, by this rule.
    Tied(Place),
    /// It does not; what keeps it out, where one place does.
    Closed(Option<Place>),
}

/// What a rule asks of a packet beyond being a new connection to the port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// It is not about such packets at all.
    pub other: bool,
    /// Some source.
    pub source: bool,
    /// A card or own address that the instance does not have.
    pub tied: bool,
    /// Something that is not understood here.
    pub unknown: bool,
}

impl Asks {
    fn and(self, other: Self) -> Self {
        Self {
            other: self.other || other.other,
            source: self.source || other.source,
            tied: self.tied || other.tied,
            unknown: self.unknown || other.unknown,
        }
    }

    /// Whether it surely matches.
    fn always(self) -> bool {
        self == Self::default()
    }
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Lets it in.
    Accept,
    /// Drops or rejects it.
    Refuse,
    /// Back to the calling chain.
    Return,
    /// On in another chain.
    Call(String),
    /// Nothing that decides.
    Nothing,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it asks.
    pub asks: Asks,
    /// What it does.
    pub verdict: Verdict,
    /// Where it stands.
    pub place: Place,
}

/// A chain of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where its policy refuses what reaches its end.
    pub refuses: Option<Place>,
    /// In order.
    pub rules: Vec<Rule>,
}

/// Chains by name.
pub type Chains = BTreeMap<String, Chain>;

struct Walk<'c> {
    chains: &'c Chains,
    steps: u32,
    /// The first rule that lets some of them in.
    partly: Option<Opening>,
}

/// What a chain comes to; `None` when it decides nothing.
#[must_use]
pub fn opening(chains: &Chains, start: &str) -> Option<Opening> {
    let mut walk = Walk { chains, steps: 0, partly: None };
    let decided = walk.chain(start, Asks::default(), DEPTH).or_else(|| {
        let refuses = chains.get(start)?.refuses.clone()?;
        Some(Opening::Closed(Some(refuses)))
    });
    match (decided, walk.partly) {
        (Some(Opening::Closed(_)), Some(partly)) => Some(partly),
        (decided, _) => decided,
    }
}

impl Walk<'_> {
    fn chain(&mut self, name: &str, under: Asks, depth: u32) -> Option<Opening> {
        let chains = self.chains;
        for rule in &chains.get(name)?.rules {
            self.steps += 1;
            if self.steps > MOST_STEPS {
                return Some(Opening::Open);
            }
            let asks = under.and(rule.asks);
            if rule.asks.other {
                continue;
            }
            match &rule.verdict {
                Verdict::Accept if asks.tied => {
                    self.partly.get_or_insert(Opening::Tied(rule.place.clone()));
                }
                Verdict::Accept if asks.source => {
                    // Worth more than a rule for a card that is gone.
                    self.partly = Some(Opening::Sources(rule.place.clone()));
                }
                // What is not understood (a rate, a comment) is taken to let somebody in.
                Verdict::Accept => return Some(Opening::Open),
                Verdict::Refuse if asks.always() => return Some(Opening::Closed(Some(rule.place.clone()))),
                Verdict::Return if asks.always() => return None,
                Verdict::Call(to) if depth > 0 => {
                    if let Some(decided) = self.chain(to, asks, depth - 1) {
                        return Some(decided);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether a list of ports (`22`, `ssh`, `20:25`, `20-25`, parted by commas) has one of these.
#[must_use]
pub fn has_port(list: &str, ports: &[u16]) -> bool {
    let number = |text: &str| match text {
        "ssh" => Some(22),
        _ => text.parse::<u16>().ok(),
    };
    list.split(',').map(str::trim).any(|item| {
        let (low, high) = item.split_once([':', '-']).unwrap_or((item, item));
        let low = if low.is_empty() { Some(0) } else { number(low) };
        let high = if high.is_empty() { Some(u16::MAX) } else { number(high) };
        matches!((low, high), (Some(low), Some(high)) if ports.iter().any(|port| (low..=high).contains(port)))
    })
}

/// Whether an address pattern stands for all addresses.
#[must_use]
pub fn is_any(pattern: &str) -> bool {
    matches!(pattern, "0.0.0.0/0" | "0/0" | "::/0" | "any" | "0.0.0.0/0.0.0.0")
}

/// Whether an address pattern is the loopback's.
#[must_use]
pub fn is_loopback(pattern: &str) -> bool {
    pattern.starts_with("127.") || pattern.starts_with("::1")
}
