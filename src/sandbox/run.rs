//! Running one sandbox from request to outcome.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::blocks::handover::{self, Bounds, Handover, HandoverError};
use super::blocks::medium::SECTOR;
use super::blocks::serve::{HANDOVER_SECONDS, ServedDisk, ServedImage, ServerSpec};
use super::broker::Broker;
use super::cache::Cache;
use super::engine::uml::Uml;
use super::engine::{Boot, Engine};
use super::error::SandboxError;
use super::jail::JailSpec;
use super::jail::prison::{FORBIDDEN, READY};
use super::programs::Programs;
use super::request::{Outcome, Request, SandboxDisk};
use super::{helper, initrd, link};
use crate::guest::exchange;
use crate::guest::report::{Job, JobDisk, PROTOCOL, Report};
use crate::image::{self, BlockSource, Image, Overlay};

/// Most bytes that are kept of a sandbox's console: its end.
const CONSOLE: usize = 16 << 10;
/// How long the block server may take to hand over once the sandbox is gone.
const HANDOVER_TIME: Duration = Duration::from_secs(HANDOVER_SECONDS as u64);

/// Looks at a machine or prepares it, in a sandbox of its own. Blocks; several may run at once.
///
/// # Errors
/// When the images cannot be used or the sandbox cannot be had or fails. What is wrong with the
/// guest itself is a finding in the report.
pub fn run(request: &Request, cache: Option<&Cache>) -> Result<Outcome, SandboxError> {
    run_with(&Programs::find, request, cache)
}

/// As [`run`], with programs found in another way.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    programs: &dyn Fn() -> Result<Programs, SandboxError>,
    request: &Request,
    cache: Option<&Cache>,
) -> Result<Outcome, SandboxError> {
    let started = Instant::now();
    let most = link::MAX_SOCKETS - 1 - usize::from(request.components.is_some());
    if request.disks.is_empty() || request.disks.len() > most {
        return Err(SandboxError::Disks { count: request.disks.len(), most });
    }
    let images = request.disks.iter().map(|disk| open(disk).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let key = cache.map(|_| Cache::key(request, &images));
    if let (Some(cache), Some(key)) = (cache, &key)
        && let Some((report, overlays)) = cache.get(key, request)
    {
        return Ok(Outcome { report, overlays, took: started.elapsed(), cached: true });
    }
    let programs = programs()?;
    let (report, overlays) = run_fresh(&programs, request, &images)?;
    if let (Some(cache), Some(key)) = (cache, &key) {
        cache.put(key, &report, &overlays);
    }
    Ok(Outcome { report, overlays, took: started.elapsed(), cached: false })
}

fn open(disk: &SandboxDisk) -> Result<Image, SandboxError> {
    let options = helper::options(disk.format.as_deref(), disk.member.as_deref(), disk.snapshot.as_deref())?;
    image::open(&disk.image, &options).map_err(|error| SandboxError::Image(Box::new(error)))
}

fn run_fresh(
    programs: &Programs,
    request: &Request,
    images: &[Arc<Image>],
) -> Result<(Report, Vec<Overlay>), SandboxError> {
    let engine = Uml::new(programs);
    let archive = initrd::build(&programs.guest, &engine.modules())?;
    let own_id = std::process::id();
    let boot = Boot {
        initrd: &PathBuf::from(format!("/proc/{own_id}/fd/{}", archive.as_raw_fd())),
        devices: request.disks.len() + 1 + usize::from(request.components.is_some()),
        limits: request.limits,
        parent: own_id as i32,
    };
    let jail = engine.jail(&boot)?;
    let brokered = |image: &Arc<Image>| image.location().local().is_none().then(|| Arc::clone(image));
    let broker = Broker::new(images.iter().map(brokered).collect(), request.components.clone());
    let spec = server_spec(request, images, boot.parent)?;
    let report_offset = exchange::report_offset(spec.exchange.bytes().len() as u64) as usize;
    let finished = Session::start(programs, &spec, broker.clone(), &jail)?.finish(request, jail.seconds);
    if let Some(error) = broker.and_then(|broker| broker.take_failure()) {
        return Err(error);
    }
    let finished = finished.map_err(|error| match error {
        SandboxError::Blocks(HandoverError::Image(error)) => SandboxError::Image(Box::new(error.into())),
        other => other,
    })?;
    let Finished { mut handover, code, console } = finished;
    let part = handover.exchange.get(report_offset..).unwrap_or_default();
    let report: Report = exchange::decode(part, exchange::MAX_REPORT)
        .map_err(|source| SandboxError::NoReport { code, console, source })?;
    if report.protocol != PROTOCOL {
        return Err(SandboxError::Protocol { found: report.protocol, expected: PROTOCOL });
    }
    if report.recipe.edits.is_empty() {
        // Mounting alone changes times and journals; nothing of that is worth writing.
        for overlay in &mut handover.overlays {
            overlay.blocks.clear();
        }
    }
    Ok((report, handover.overlays))
}

fn device_size(disk: &SandboxDisk, image: &Image) -> u64 {
    disk.size.max(image.size()).next_multiple_of(SECTOR)
}

fn server_spec(request: &Request, images: &[Arc<Image>], parent: i32) -> Result<ServerSpec, SandboxError> {
    let disks = || request.disks.iter().zip(images);
    let job = Job {
        protocol: PROTOCOL,
        disks: disks()
            .map(|(disk, image)| JobDisk {
                name: disk.name.clone(),
                image_size: image.size(),
                size: device_size(disk, image),
                grow: disk.grow,
            })
            .collect(),
        prepare: request.prepare,
        inputs: request.inputs.clone(),
        parcel: request.components.as_ref().map(|parcel| parcel.contents()),
    };
    let exchange = exchange::encode(&job, exchange::MAX_JOB).map_err(|error| SandboxError::Start {
        step: "write the sandbox's job",
        source: io::Error::other(error),
    })?;
    Ok(ServerSpec {
        parent,
        disks: disks()
            .map(|(disk, image)| ServedDisk {
                image: match disk.image.local() {
                    Some(path) => ServedImage::File(path.to_owned()),
                    None => ServedImage::Brokered(disk.image.called()),
                },
                // What is brokered is opened as what it was found to be here.
                format: match (image.location().local(), &disk.member) {
                    (None, None) => Some(image.format().to_string()),
                    _ => disk.format.clone(),
                },
                member: disk.member.clone(),
                snapshot: disk.snapshot.clone(),
                size: device_size(disk, image),
            })
            .collect(),
        exchange_size: exchange::exchange_size(exchange.len() as u64),
        exchange: exchange.into(),
        parcel: request.components.as_ref().map(|parcel| parcel.size()),
        overlay_bytes: request.limits.overlay_bytes,
        seconds: request.limits.seconds,
    })
}

/// What a sandbox left.
#[derive(Debug)]
pub struct Finished {
    /// What the block server handed over.
    pub handover: Handover,
    /// The exit code of the program in the jail.
    pub code: i32,
    /// The end of its console.
    pub console: String,
}

/// The two helper processes while they run. Dropping it ends both.
pub struct Session {
    server: Ended,
    server_link: Option<UnixStream>,
    server_out: Option<ChildStdout>,
    jail: Ended,
    console: Option<JoinHandle<String>>,
    deadline: Instant,
    exchange_size: u64,
}

/// A child process that is ended and reaped when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only when it has ended and been reaped already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Session {
    /// Starts the block server and the jail; the broker answers for images that are not files of
    /// this machine.
    ///
    /// # Errors
    /// When a process cannot be started or the jail cannot be built.
    pub fn start(
        programs: &Programs,
        server: &ServerSpec,
        broker: Option<Arc<Broker>>,
        jail: &JailSpec,
    ) -> Result<Self, SandboxError> {
        let start = |step| move |source| SandboxError::Start { step, source };
        let deadline = Instant::now() + Duration::from_secs(u64::from(jail.seconds));
        let (server_link, mut server_child) =
            spawn(programs, helper::BLOCKS).map_err(start("start the block server"))?;
        let server_out = server_child.0.stdout.take();
        let (jail_link, mut jail_child) = spawn(programs, helper::JAIL).map_err(start("start the jail"))?;
        let console = jail_child.0.stdout.take().map(|out| std::thread::spawn(move || last_of(out)));
        let session = Self {
            server: server_child,
            server_link: None,
            server_out,
            jail: jail_child,
            console,
            deadline,
            exchange_size: server.exchange_size,
        };
        link::send_spec(&server_link, server).map_err(start("tell the block server its disks"))?;
        if let Some(broker) = broker {
            connect(&server_link, broker).map_err(start("give the block server its images"))?;
        }
        link::send_spec(&jail_link, jail).map_err(start("tell the jail its content"))?;
        let (answer, sockets) = link::receive_descriptors(&jail_link).map_err(start("hear from the jail"))?;
        match answer.split_first() {
            Some((&READY, _)) => {
                // A server that is already gone says why when its result is read.
                let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
                let _told = link::send_descriptors(&server_link, &[READY], &borrowed);
                Ok(Self { server_link: Some(server_link), ..session })
            }
            Some((&kind, text)) => {
                let text = String::from_utf8_lossy(text).into_owned();
                Err(if kind == FORBIDDEN { SandboxError::Forbidden(text) } else { SandboxError::Jail(text) })
            }
            None => Err(SandboxError::Jail("its helper process ended without an answer".to_owned())),
        }
    }

    /// Waits for the end, at most until the deadline, and takes what the server hands over.
    ///
    /// # Errors
    /// When it takes too long, or the server fails.
    pub fn finish(mut self, request: &Request, seconds: u32) -> Result<Finished, SandboxError> {
        let bounds = Bounds {
            exchange: self.exchange_size,
            overlay_bytes: request.limits.overlay_bytes,
            disks: request.disks.len(),
        };
        // The server's pipe is read from the start: should it fail early, it says so at once.
        let (sender, receiver) = mpsc::channel();
        let mut out = self.server_out.take();
        std::thread::spawn(move || {
            let result = match &mut out {
                Some(out) => handover::read(&mut io::BufReader::with_capacity(1 << 20, out), &bounds),
                None => Err(HandoverError::Invalid("it has no output")),
            };
            // Nobody waits for it any more when the deadline has passed.
            let _late = sender.send(result);
        });
        let code = self.wait_for_jail();
        if code.is_none() {
            drop(self.jail);
            let console = join(self.console.take());
            return Err(SandboxError::TimedOut { seconds, console });
        }
        // The closing of this socket tells the server that the sandbox is gone.
        drop(self.server_link.take());
        let result = receiver.recv_timeout(HANDOVER_TIME);
        drop(self.server);
        let console = join(self.console.take());
        match result {
            Ok(handover) => Ok(Finished { handover: handover?, code: code.unwrap_or(-1), console }),
            Err(_) => Err(SandboxError::TimedOut { seconds, console }),
        }
    }

    /// The exit code of the jail's helper; `None` when the deadline passed first.
    fn wait_for_jail(&mut self) -> Option<i32> {
        loop {
            match self.jail.0.try_wait() {
                Ok(Some(status)) => return Some(status.code().unwrap_or(-1)),
                Ok(None) if Instant::now() < self.deadline => {}
                Ok(None) | Err(_) => return None,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Gives the block server a line to the broker, which answers in a thread of its own until the
/// server is gone.
fn connect(server: &UnixStream, broker: Arc<Broker>) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    link::send_descriptors(server, &[READY], &[theirs.as_fd()])?;
    std::thread::Builder::new().name("broker".to_owned()).spawn(move || broker.serve(ours))?;
    Ok(())
}

fn join(console: Option<JoinHandle<String>>) -> String {
    console.and_then(|thread| thread.join().ok()).unwrap_or_default()
}

/// Starts this program again as a helper, with a socket as its input and a pipe as its output.
fn spawn(programs: &Programs, role: &str) -> io::Result<(UnixStream, Ended)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new(&programs.replant)
        .arg(role)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((ours, Ended(child)))
}

/// Reads to the end, however long, and keeps the last part.
fn last_of(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut part) {
        kept.extend_from_slice(&part[..length]);
        if kept.len() > 2 * CONSOLE {
            kept.drain(..kept.len() - CONSOLE);
        }
    }
    String::from_utf8_lossy(&kept[kept.len().saturating_sub(CONSOLE)..]).into_owned()
}
