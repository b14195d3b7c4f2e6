//! The block server's process: open the images, lock down, serve until the sandbox is gone, hand
//! over what changed.

use std::io::{self, BufWriter};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::handover::{self, Failure, Handover};
use super::lockdown;
use super::medium::{GuestDisk, Medium};
use super::message::Message;
use crate::diagnostic::chain;
use crate::image::BlockSource;
use crate::image::served::Files;
use crate::model::Content;
use crate::sandbox::broker::{DiskFiles, Line};
use crate::sandbox::jail::confine;
use crate::sandbox::link::receive_descriptors;

/// What the server is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// The parent's process id: when it is gone, so is the server.
    pub parent: i32,
    /// The disks, in the order of the sockets; the job disk follows, then the parcel.
    pub disks: Vec<ServedDisk>,
    /// The job disk's size in bytes, whole sectors.
    pub exchange_size: u64,
    /// The start of the job disk, the rest is zeros.
    pub exchange: Content,
    /// Bytes of the user's components, which the parent reads.
    pub parcel: Option<u64>,
    /// Most bytes that may be changed on one disk.
    pub overlay_bytes: u64,
    /// Seconds until it ends by itself, should the parent hang.
    pub seconds: u32,
}

/// One disk to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedDisk {
    /// Where its bytes come from.
    pub image: ServedImage,
    /// Its format, when it is pinned.
    pub format: Option<String>,
    /// The disk inside an OVA.
    pub member: Option<String>,
    /// The internal snapshot of a qcow2 image.
    pub snapshot: Option<String>,
    /// The size the guest sees, in bytes.
    pub size: u64,
}

/// Where the bytes of a disk's image come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServedImage {
    /// From a file of this machine, which the server opens.
    File(PathBuf),
    /// From the parent; messages call the image by this name.
    Brokered(PathBuf),
}

impl From<PathBuf> for ServedImage {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl ServedDisk {
    /// Whether its bytes come from the parent.
    #[must_use]
    pub fn is_brokered(&self) -> bool {
        matches!(self.image, ServedImage::Brokered(_))
    }
}

/// How the server calls a disk towards the guest (its virtio serial).
#[must_use]
pub fn disk_id(index: usize) -> String {
    format!("replant-disk-{index}")
}

/// How the server calls the job disk towards the guest.
pub const EXCHANGE_ID: &str = "replant-job";

/// How the server calls the user's components towards the guest.
pub const PARCEL_ID: &str = "replant-parcel";

/// Seconds that the server has for handing over, beyond the sandbox's own.
pub const HANDOVER_SECONDS: u32 = 60;

/// Opens an image's disk; a brokered one's files are at the end of the line.
pub type Opener =
    fn(&ServedDisk, Option<Arc<dyn Files>>) -> Result<Box<dyn BlockSource>, Box<dyn std::error::Error>>;

/// Runs the server; gives the process's exit code. The result or the reason goes to `out`.
pub fn run(spec: &ServerSpec, control: UnixStream, open: Opener, out: OwnedFd) -> u8 {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::from(out));
    let outcome = serve_all(spec, &control, open);
    let told = match &outcome {
        Ok(result) => handover::write(&mut out, result),
        Err(failure) => handover::write_failure(&mut out, failure),
    };
    u8::from(outcome.is_err() || told.is_err())
}

fn serve_all(spec: &ServerSpec, control: &UnixStream, open: Opener) -> Result<Handover, Failure> {
    confine::follow_parent(spec.parent).map_err(|error| chain(&error))?;
    let line = match spec.parcel.is_some() || spec.disks.iter().any(ServedDisk::is_brokered) {
        true => {
            let socket = receive_descriptors(control).map_err(|error| chain(&error))?.1.into_iter().next();
            Some(Arc::new(Line::new(socket.ok_or("the parent sent no line to the images")?.into())))
        }
        false => None,
    };
    // Files of this machine can be opened only now; what others hold is parsed in confinement.
    let mut sources = Vec::new();
    for disk in &spec.disks {
        sources.push(match disk.image {
            ServedImage::File(_) => Some(open(disk, None).map_err(|error| chain(error.as_ref()))?),
            ServedImage::Brokered(_) => None,
        });
    }
    lockdown::lock_down(spec.parent).map_err(|error| chain(&error))?;

    let mut devices = Vec::new();
    for ((number, disk), source) in (0..).zip(&spec.disks).zip(sources) {
        let source = match (source, &line) {
            (Some(source), _) => source,
            (None, Some(line)) => {
                let files: Arc<dyn Files> = Arc::new(DiskFiles::new(Arc::clone(line), number));
                open(disk, Some(files)).map_err(|error| chain(error.as_ref()))?
            }
            (None, None) => return Err("there is no line to the images".into()),
        };
        let guest_disk = GuestDisk::new(source, disk.size, spec.overlay_bytes);
        devices.push((disk_id(number as usize), Medium::Disk(Box::new(guest_disk))));
    }
    let size = usize::try_from(spec.exchange_size).map_err(|error| error.to_string())?;
    let mut exchange = spec.exchange.bytes().to_vec();
    exchange.resize(size, 0);
    devices.push((EXCHANGE_ID.to_owned(), Medium::Memory(exchange)));
    if let (Some(size), Some(line)) = (spec.parcel, line) {
        devices.push((PARCEL_ID.to_owned(), Medium::Parcel(line, size)));
    }
    confine::alarm(spec.seconds.saturating_add(HANDOVER_SECONDS));
    let listeners = receive_descriptors(control).map_err(|error| chain(&error))?.1;
    if listeners.len() != devices.len() {
        return Err("the jail made another number of sockets than there are devices".into());
    }
    let mut ports = Vec::new();
    for ((id, medium), listener) in devices.into_iter().zip(listeners) {
        let device = Device::new(id, medium).map_err(|error| chain(&error))?;
        ports.push(Port { device, link: Link::Waiting(listener.into()) });
    }
    serve_until_gone(&mut ports, control).map_err(|error| chain(&error))?;
    hand_over(ports)
}

fn hand_over(ports: Vec<Port>) -> Result<Handover, Failure> {
    let mut result = Handover { exchange: Vec::new(), overlays: Vec::new() };
    for port in ports {
        match port.device.into_medium() {
            Medium::Memory(bytes) => result.exchange = bytes,
            Medium::Parcel(..) => {}
            Medium::Disk(disk) => {
                result.overlays.push(disk.into_overlay()?);
            }
        }
    }
    Ok(result)
}

struct Port {
    device: Device,
    link: Link,
}

enum Link {
    Waiting(UnixListener),
    Open(UnixStream),
    Closed,
}

/// What became ready.
#[derive(Clone, Copy)]
enum Ready {
    Control,
    Link(usize),
    Kick(usize),
}

fn serve_until_gone(ports: &mut [Port], control: &UnixStream) -> io::Result<()> {
    loop {
        let mut ready = Vec::new();
        {
            let mut watched = vec![(Ready::Control, PollFd::new(control, PollFlags::IN))];
            for (index, port) in ports.iter().enumerate() {
                match &port.link {
                    Link::Waiting(listener) => {
                        watched.push((Ready::Link(index), PollFd::new(listener, PollFlags::IN)));
                    }
                    Link::Open(stream) => {
                        watched.push((Ready::Link(index), PollFd::new(stream, PollFlags::IN)));
                        if let Some(kick) = port.device.kick() {
                            watched.push((Ready::Kick(index), PollFd::from_borrowed_fd(kick, PollFlags::IN)));
                        }
                    }
                    Link::Closed => {}
                }
            }
            let (names, mut descriptors): (Vec<_>, Vec<_>) = watched.into_iter().unzip();
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut descriptors, None))?;
            for (name, descriptor) in names.into_iter().zip(&descriptors) {
                if !descriptor.revents().is_empty() {
                    ready.push(name);
                }
            }
        }
        for name in ready {
            match name {
                Ready::Control => return Ok(()),
                Ready::Kick(index) => serve_kick(&mut ports[index]),
                Ready::Link(index) => serve_link(&mut ports[index]),
            }
        }
    }
}

fn serve_kick(port: &mut Port) {
    if let Some(kick) = port.device.kick() {
        let mut count = [0; 8];
        // An eventfd's counter is read to reset it; its value does not matter. What the guest
        // handed over instead of one ends the service of this device only.
        if rustix::io::read(kick, &mut count).is_err() {
            port.link = Link::Closed;
            return;
        }
    }
    port.device.serve();
}

fn serve_link(port: &mut Port) {
    let next = match std::mem::replace(&mut port.link, Link::Closed) {
        Link::Waiting(listener) => listener.accept().ok().map(|(stream, _)| Link::Open(stream)),
        Link::Open(mut stream) => match Message::receive(&mut stream) {
            Ok(Some(mut message)) => {
                port.device.handle(&mut message, &mut stream).ok().map(|()| Link::Open(stream))
            }
            Ok(None) | Err(_) => None,
        },
        Link::Closed => None,
    };
    port.link = next.unwrap_or(Link::Closed);
}
