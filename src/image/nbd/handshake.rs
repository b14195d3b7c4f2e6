//! The handshake: from a connected socket to an export's size, limits and abilities.

use super::error::{NbdError, shown};
use super::wire::Wire;

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OLD: u64 = 0x0000_4202_8186_1253;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;

const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_GO: u32 = 7;
const OPT_STRUCTURED_REPLY: u32 = 8;
const OPT_LIST_META_CONTEXT: u32 = 9;
const OPT_SET_META_CONTEXT: u32 = 10;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_META_CONTEXT: u32 = 4;
const REP_ERROR: u32 = 1 << 31;
const ERR_UNSUP: u32 = REP_ERROR + 1;
const ERR_POLICY: u32 = REP_ERROR + 2;
const ERR_INVALID: u32 = REP_ERROR + 3;
const ERR_TLS_REQD: u32 = REP_ERROR + 5;
const ERR_UNKNOWN: u32 = REP_ERROR + 6;
const ERR_SHUTDOWN: u32 = REP_ERROR + 7;

const INFO_EXPORT: u16 = 0;
const INFO_DESCRIPTION: u16 = 2;
const INFO_BLOCK_SIZE: u16 = 3;

/// Transmission flags.
const CAN_MULTI_CONN: u16 = 1 << 8;

/// The most bytes of one reply to an option: a name and a description, with room.
const LONGEST_REPLY: u32 = 16 << 10;
/// The longest name of an export, by the protocol.
const LONGEST_NAME: usize = 4096;
/// The most replies to one option.
const MOST_REPLIES: usize = 10_000;
/// The most names of a list that are kept to be shown.
const MOST_NAMES: usize = 20;
/// The most bytes of one request when the server says nothing of its limits, by the protocol.
const MOST_PAYLOAD: u32 = 32 << 20;
/// The largest minimum block that the protocol allows.
const LARGEST_MINIMUM: u32 = 64 << 10;

/// What the handshake is at when it fails.
const GREETING: &str = "during the handshake";

/// What a server says of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    /// Its size in bytes.
    pub size: u64,
    /// What it is, in the server's words; empty when it says nothing.
    pub description: String,
    /// Several connections see the same.
    pub multi: bool,
    /// Requests begin and end at multiples of this (a power of two).
    pub minimum: u32,
    /// The most bytes of one request; a multiple of the minimum.
    pub maximum: u32,
    /// Replies come in chunks.
    pub structured: bool,
    /// The id of the metadata context that was asked for, when the server has it.
    pub context: Option<u32>,
}

/// Greets a server: opens the export, with the metadata context when there is one to be had.
pub(super) fn greet(wire: &Wire, export: &str, context: &str) -> Result<Export, NbdError> {
    if number(wire.array(GREETING)?) != MAGIC {
        return Err(NbdError::Protocol { what: "it does not greet as an NBD server does".to_owned() });
    }
    match number(wire.array(GREETING)?) {
        OPTION => {}
        OLD => return old_style(wire, export),
        _ => return Err(NbdError::Protocol { what: "its greeting is of no known style".to_owned() }),
    }
    let flags = u16::from_be_bytes(wire.array(GREETING)?);
    let ours = flags & (FIXED_NEWSTYLE | NO_ZEROES);
    wire.send(&u32::from(ours).to_be_bytes(), GREETING)?;
    let options = Options { wire, export };
    if flags & FIXED_NEWSTYLE == 0 {
        return options.export_name(ours & NO_ZEROES != 0, false, None);
    }
    let structured = options.structured()?;
    let context = if structured { options.context(context)? } else { None };
    match options.go()? {
        Some(export) => Ok(Export { structured, context, ..export }),
        None => options.export_name(ours & NO_ZEROES != 0, structured, context),
    }
}

/// The names of an export's metadata contexts that begin with `namespace`.
pub(super) fn contexts(wire: &Wire, export: &str, namespace: &str) -> Result<Vec<String>, NbdError> {
    wire.array::<16>(GREETING)?;
    let flags = u16::from_be_bytes(wire.array(GREETING)?) & (FIXED_NEWSTYLE | NO_ZEROES);
    wire.send(&u32::from(flags).to_be_bytes(), GREETING)?;
    let options = Options { wire, export };
    let mut names = Vec::new();
    if flags & FIXED_NEWSTYLE != 0 && options.structured()? {
        options.ask(OPT_LIST_META_CONTEXT, &options.query(namespace))?;
        options.replies(OPT_LIST_META_CONTEXT, |kind, data| {
            let name = data
                .get(4..)
                .and_then(|name| std::str::from_utf8(name).ok())
                .and_then(|name| name.strip_prefix(namespace));
            if kind == REP_META_CONTEXT && names.len() < MOST_NAMES {
                names.extend(name.map(|name| shown(name.as_bytes())));
            }
            Ok(())
        })?;
        options.ask(OPT_ABORT, &[])?;
    }
    Ok(names)
}

/// The style before there were options: one export, said at once.
fn old_style(wire: &Wire, export: &str) -> Result<Export, NbdError> {
    let size = number(wire.array(GREETING)?);
    let flags = u32::from_be_bytes(wire.array(GREETING)?);
    wire.array::<124>(GREETING)?;
    if !export.is_empty() {
        return Err(NbdError::UnknownExport { export: export.to_owned(), exports: Vec::new() });
    }
    // The lower half are the transmission flags.
    unlimited(size, (flags & 0xffff) as u16)
}

/// An export whose server says nothing of limits.
fn unlimited(size: u64, flags: u16) -> Result<Export, NbdError> {
    Ok(Export {
        size: checked_size(size)?,
        description: String::new(),
        multi: flags & CAN_MULTI_CONN != 0,
        minimum: 1,
        maximum: MOST_PAYLOAD,
        structured: false,
        context: None,
    })
}

/// Sizes are what a file can have: so no sum of an offset and a length can overflow.
fn checked_size(size: u64) -> Result<u64, NbdError> {
    match i64::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err(NbdError::Protocol { what: format!("it says that the export has {size} bytes") }),
    }
}

/// What ends the replies to an option.
enum End {
    Acknowledged,
    Error(u32, Vec<u8>),
}

struct Options<'a> {
    wire: &'a Wire,
    export: &'a str,
}

impl Options<'_> {
    fn ask(&self, option: u32, data: &[u8]) -> Result<(), NbdError> {
        let mut bytes = OPTION.to_be_bytes().to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(length(data));
        bytes.extend(data);
        self.wire.send(&bytes, GREETING)
    }

    /// The replies to an option, up to the one that ends them.
    fn replies(
        &self,
        option: u32,
        mut each: impl FnMut(u32, &[u8]) -> Result<(), NbdError>,
    ) -> Result<End, NbdError> {
        for _ in 0..MOST_REPLIES {
            let broken = |what: String| NbdError::Protocol { what };
            if number(self.wire.array(GREETING)?) != OPTION_REPLY {
                return Err(broken("a reply to an option does not begin as one".to_owned()));
            }
            let of = u32::from_be_bytes(self.wire.array(GREETING)?);
            let kind = u32::from_be_bytes(self.wire.array(GREETING)?);
            let length = u32::from_be_bytes(self.wire.array(GREETING)?);
            if of != option {
                return Err(broken(format!("option {option} was asked, {of} is answered")));
            }
            if length > LONGEST_REPLY {
                return Err(broken(format!("a reply to option {option} has {length} bytes")));
            }
            let mut data = vec![0; length as usize];
            self.wire.fill(&mut data, GREETING)?;
            match kind {
                REP_ACK => return Ok(End::Acknowledged),
                _ if kind & REP_ERROR != 0 => return self.failed(kind, data),
                _ => each(kind, &data)?,
            }
        }
        Err(NbdError::Protocol { what: format!("it does not end its replies to option {option}") })
    }

    /// Errors that mean the same whatever was asked.
    fn failed(&self, kind: u32, data: Vec<u8>) -> Result<End, NbdError> {
        match kind {
            ERR_TLS_REQD => Err(NbdError::TlsDemanded),
            ERR_SHUTDOWN => {
                Err(NbdError::Busy { name: "ESHUTDOWN: going down".to_owned(), message: shown(&data) })
            }
            _ => Ok(End::Error(kind, data)),
        }
    }

    fn structured(&self) -> Result<bool, NbdError> {
        self.ask(OPT_STRUCTURED_REPLY, &[])?;
        Ok(matches!(self.replies(OPT_STRUCTURED_REPLY, |_, _| Ok(()))?, End::Acknowledged))
    }

    /// An export's name and one query about metadata contexts.
    fn query(&self, context: &str) -> Vec<u8> {
        let mut data = length(self.export.as_bytes()).to_vec();
        data.extend(self.export.as_bytes());
        data.extend(1u32.to_be_bytes());
        data.extend(length(context.as_bytes()));
        data.extend(context.as_bytes());
        data
    }

    /// Asks for a metadata context. Without it, or with an error, there is none: GO says more of
    /// an export that cannot be had.
    fn context(&self, wanted: &str) -> Result<Option<u32>, NbdError> {
        self.ask(OPT_SET_META_CONTEXT, &self.query(wanted))?;
        let mut found = None;
        let end = self.replies(OPT_SET_META_CONTEXT, |kind, data| {
            if kind == REP_META_CONTEXT
                && let Some((id, name)) = data.split_first_chunk()
                && name == wanted.as_bytes()
            {
                found = Some(u32::from_be_bytes(*id));
            }
            Ok(())
        })?;
        Ok(found.filter(|_| matches!(end, End::Acknowledged)))
    }

    /// Opens the export; `None` when the server does not know this option.
    fn go(&self) -> Result<Option<Export>, NbdError> {
        let mut data = length(self.export.as_bytes()).to_vec();
        data.extend(self.export.as_bytes());
        let wanted = [INFO_BLOCK_SIZE, INFO_DESCRIPTION];
        data.extend((wanted.len() as u16).to_be_bytes());
        data.extend(wanted.iter().flat_map(|info| info.to_be_bytes()));
        self.ask(OPT_GO, &data)?;

        let mut export = None;
        let mut description = String::new();
        let mut sizes = None;
        let end = self.replies(OPT_GO, |kind, data| {
            let Some((info, data)) = data.split_first_chunk().filter(|_| kind == REP_INFO) else {
                return Ok(());
            };
            match u16::from_be_bytes(*info) {
                INFO_EXPORT => match (data.first_chunk(), data.get(8..10)) {
                    (Some(size), Some([high, low])) => {
                        export = Some(unlimited(number(*size), u16::from_be_bytes([*high, *low]))?);
                    }
                    _ => {
                        return Err(NbdError::Protocol {
                            what: "it says an export's size in too few bytes".to_owned(),
                        });
                    }
                },
                INFO_DESCRIPTION => description = shown(data),
                INFO_BLOCK_SIZE => sizes = Some(block_sizes(data)?),
                _ => {}
            }
            Ok(())
        })?;
        match end {
            End::Acknowledged => {
                let export = export.ok_or_else(|| NbdError::Protocol {
                    what: "it opens the export without its size".to_owned(),
                })?;
                let (minimum, maximum) = sizes.unwrap_or((export.minimum, export.maximum));
                Ok(Some(Export { description, minimum, maximum, ..export }))
            }
            End::Error(ERR_UNSUP, _) => Ok(None),
            End::Error(ERR_UNKNOWN, _) => {
                Err(NbdError::UnknownExport { export: self.export.to_owned(), exports: self.list() })
            }
            End::Error(ERR_POLICY, message) => Err(NbdError::Denied { message: shown(&message) }),
            // What nbd-server and others say of names that they do not like.
            End::Error(ERR_INVALID, message) => Err(NbdError::Refused {
                what: "the export's name or what was asked of it",
                message: shown(&message),
            }),
            End::Error(_, message) => {
                Err(NbdError::Refused { what: "to open the export", message: shown(&message) })
            }
        }
    }

    /// What exports there are, for an error: whatever goes wrong here matters less.
    fn list(&self) -> Vec<String> {
        let mut names = Vec::new();
        let listed = self.ask(OPT_LIST, &[]).and_then(|()| {
            self.replies(OPT_LIST, |kind, data| {
                let name = data.split_first_chunk().and_then(|(length, rest)| {
                    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
                });
                if let Some(name) =
                    name.filter(|name| kind == REP_SERVER && !name.is_empty() && name.len() <= LONGEST_NAME)
                {
                    match names.len() {
                        count if count < MOST_NAMES => names.push(shown(name)),
                        MOST_NAMES => names.push("…".to_owned()),
                        _ => {}
                    }
                }
                Ok(())
            })
        });
        if listed.is_ok() {
            // The server is told that nothing more comes; that it may not listen is its affair.
            let _ = self.ask(OPT_ABORT, &[]);
        }
        names
    }

    /// Opens the export in the way of old servers, which close the connection when they will not.
    fn export_name(
        &self,
        no_zeroes: bool,
        structured: bool,
        context: Option<u32>,
    ) -> Result<Export, NbdError> {
        self.ask(OPT_EXPORT_NAME, self.export.as_bytes())?;
        let size = match self.wire.array(GREETING) {
            Ok(size) => number(size),
            Err(NbdError::Lost { source, .. }) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(NbdError::UnknownExport { export: self.export.to_owned(), exports: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let flags = u16::from_be_bytes(self.wire.array(GREETING)?);
        if !no_zeroes {
            self.wire.array::<124>(GREETING)?;
        }
        Ok(Export { structured, context, ..unlimited(size, flags)? })
    }
}

/// The minimum and the most of a request's bytes.
fn block_sizes(data: &[u8]) -> Result<(u32, u32), NbdError> {
    let word = |at: usize| {
        data.get(at..at + 4).and_then(|word| word.first_chunk()).map(|word| u32::from_be_bytes(*word))
    };
    if let (Some(minimum), Some(preferred), Some(maximum)) = (word(0), word(4), word(8))
        && minimum.is_power_of_two()
        && minimum <= LARGEST_MINIMUM
        && preferred >= minimum
        && maximum >= minimum
    {
        let maximum = maximum.min(MOST_PAYLOAD);
        Ok((minimum, maximum - maximum % minimum))
    } else {
        Err(NbdError::Protocol { what: "its block sizes do not fit each other".to_owned() })
    }
}

fn number(bytes: [u8; 8]) -> u64 {
    u64::from_be_bytes(bytes)
}

/// A length as it stands before its bytes; names were checked to be short.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::super::scripted::{Peer, SHORT, Says};
    use super::*;

    /// Greets a server that plays this part.
    fn greeted(export: &str, part: impl FnOnce(Peer) + Send + 'static) -> Result<Export, NbdError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || part(Peer(theirs)));
        let found = greet(&Wire::over(ours, SHORT.stall).unwrap(), export, "base:allocation");
        server.join().unwrap();
        found
    }

    fn broken(found: Result<Export, NbdError>) -> bool {
        matches!(found, Err(NbdError::Protocol { .. }))
    }

    #[test]
    fn a_modern_server_says_everything() {
        let says = Says {
            multi: true,
            blocks: Some((512, 4096, 1 << 30)),
            description: "a\ndisk",
            ..Says::default()
        };
        let found = greeted("x", move |mut peer| peer.greet(&says)).unwrap();
        let expected = Export {
            size: 1 << 20,
            description: "adisk".to_owned(),
            multi: true,
            minimum: 512,
            maximum: 32 << 20,
            structured: true,
            context: Some(7),
        };
        assert_eq!(found, expected);
        let says = Says { structured: false, ..Says::default() };
        let found = greeted("x", move |mut peer| peer.greet(&says)).unwrap();
        assert_eq!((found.structured, found.context, found.maximum), (false, None, 32 << 20));
    }

    #[test]
    fn old_servers_have_export_name_only() {
        for (flags, zeroes) in [(0, 124), (1, 124), (3, 0)] {
            let found = greeted("disk", move |mut peer| {
                peer.hello(flags);
                loop {
                    match peer.option().unwrap() {
                        (1, name) => break assert_eq!(name, b"disk"),
                        (other, _) => peer.reply(other, ERR_UNSUP, b""),
                    }
                }
                peer.send(&4096u64.to_be_bytes());
                peer.send(&[1, 3]);
                peer.send(&vec![0; zeroes]);
            });
            let found = found.unwrap();
            assert_eq!((found.size, found.multi, found.structured), (4096, true, false), "{flags}");
        }
        let oldest = greeted("", |mut peer| {
            peer.send(b"NBDMAGIC");
            peer.send(&OLD.to_be_bytes());
            peer.send(&8192u64.to_be_bytes());
            peer.send(&[0; 4 + 124]);
        });
        assert_eq!(oldest.unwrap().size, 8192);
        let gone = greeted("x", |mut peer| {
            peer.hello(0);
            peer.option();
        });
        assert!(matches!(gone, Err(NbdError::UnknownExport { .. })), "{gone:?}");
    }

    /// Answers every option up to GO with "not supported", GO with this.
    fn refuse_go(mut peer: Peer, kind: u32, data: &[u8]) -> Peer {
        peer.hello(3);
        loop {
            match peer.option() {
                Some((7, _)) => break peer.reply(7, kind, data),
                Some((other, _)) => peer.reply(other, ERR_UNSUP, b""),
                None => break,
            }
        }
        peer
    }

    #[test]
    fn an_unknown_export_is_told_with_those_there_are() {
        let found = greeted("x", |peer| {
            let mut peer = refuse_go(peer, ERR_UNKNOWN, b"no such");
            assert_eq!(peer.option().unwrap().0, OPT_LIST);
            peer.reply(3, REP_SERVER, b"\0\0\0\x04root");
            peer.reply(3, REP_SERVER, b"\0\0\0\x05data\x07a disk");
            peer.reply(3, REP_SERVER, b"\xff\xff\xff\xffdata");
            peer.reply(3, REP_ACK, b"");
            assert_eq!(peer.option().unwrap().0, OPT_ABORT);
        });
        let Err(error) = found else { panic!("{found:?}") };
        assert_eq!(error.to_string(), "the server has no export `x`; it has: root, data");
    }

    #[test]
    fn refusals_are_told_apart() {
        let denied = greeted("x", |peer| drop(refuse_go(peer, ERR_POLICY, b"not \x1b[31mtoday")));
        assert!(
            matches!(&denied, Err(NbdError::Denied { message }) if message == "not [31mtoday"),
            "{denied:?}"
        );
        let tls = greeted("x", |peer| drop(refuse_go(peer, ERR_TLS_REQD, b"")));
        assert!(matches!(tls, Err(NbdError::TlsDemanded)), "{tls:?}");
        let busy = greeted("x", |peer| drop(refuse_go(peer, ERR_SHUTDOWN, b"")));
        assert!(busy.unwrap_err().is_retryable());
        let other = greeted("x", |peer| drop(refuse_go(peer, REP_ERROR + 99, &[b'x'; 5000])));
        let Err(NbdError::Refused { message, .. }) = other else { panic!("{other:?}") };
        assert!(message.chars().count() <= 201, "a server's text is cut");
    }

    #[test]
    fn hostile_greetings_are_refused() {
        assert!(broken(greeted("", |mut peer| assert!(peer.send(b"SSH-2.0-OpenSSH_9")))));
        assert!(broken(greeted("", |mut peer| assert!(peer.send(b"NBDMAGICNBDMAGIC")))));
        // A reply of 4 GiB, one to another option, one that is none.
        assert!(broken(greeted("", |mut peer| {
            peer.hello(3);
            peer.option();
            peer.send(&OPTION_REPLY.to_be_bytes());
            peer.send(&[0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        })));
        assert!(broken(greeted("", |mut peer| {
            peer.hello(3);
            peer.option();
            peer.reply(7, REP_ACK, b"");
        })));
        assert!(broken(greeted("", |mut peer| {
            peer.hello(3);
            peer.option();
            peer.send(&[0; 20]);
        })));
        // An export without a size, of a size that no file has, and block sizes that do not fit.
        assert!(broken(greeted("", |peer| drop(refuse_go(peer, REP_ACK, b"")))));
        let says = Says { size: u64::MAX, ..Says::default() };
        assert!(broken(greeted("", move |mut peer| peer.greet(&says))));
        for blocks in [
            (0, 4096, 4096),
            (3, 4096, 4096),
            (1 << 20, 1 << 20, 1 << 20),
            (4096, 512, 4096),
            (4096, 4096, 1),
        ] {
            let says = Says { blocks: Some(blocks), ..Says::default() };
            assert!(broken(greeted("", move |mut peer| peer.greet(&says))), "{blocks:?}");
        }
    }

    #[test]
    fn endless_replies_end() {
        let found = greeted("", |mut peer| {
            peer.hello(3);
            peer.option();
            let mut reply = OPTION_REPLY.to_be_bytes().to_vec();
            reply.extend([0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 0]);
            while peer.send(&reply) {}
        });
        // By their number, or on a slow machine by the time that they take.
        assert!(matches!(found, Err(NbdError::Protocol { .. } | NbdError::Stalled { .. })), "{found:?}");
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let found = greeted("", |mut peer| {
            peer.hello(3);
            peer.take(1000);
        });
        assert!(matches!(found, Err(NbdError::Stalled { .. })), "{found:?}");
    }
}
