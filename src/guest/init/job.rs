//! The job: read it from the job disk, do it, write the report behind it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::examine::examine;
use super::system;
use crate::guest::exchange::{self, FRAME, MAX_JOB, MAX_REPORT, report_offset};
use crate::guest::report::{Job, PROTOCOL};

/// The job disk's serial.
const EXCHANGE: &str = "replant-job";
/// The start of a guest disk's serial; its position in the job follows.
const DISK: &str = "replant-disk-";
/// The serial of the device with the user's components.
const PARCEL: &str = "replant-parcel";

/// Does the job; the text says why it could not be done.
///
/// # Errors
/// When there is no job, or the report cannot be left.
pub fn run() -> Result<(), String> {
    let disks = system::disks().map_err(|error| format!("cannot list the disks: {error}"))?;
    let place = |serial: &str| disks.iter().find(|(found, _)| found == serial).map(|(_, path)| path.clone());
    let path = place(EXCHANGE).ok_or("the job disk is not there")?;
    let disk = File::options().read(true).write(true).open(&path).map_err(|error| error.to_string())?;
    let (job, offset) = read_job(&disk)?;
    let devices = (0..job.disks.len())
        .map(|index| place(&format!("{DISK}{index}")).ok_or(format!("disk {index} is not there")))
        .collect::<Result<Vec<_>, _>>()?;
    let parcel = match &job.parcel {
        Some(_) => Some(place(PARCEL).ok_or("the components are not there")?),
        None => None,
    };
    let report = examine(&job, &devices, parcel.as_deref())?;
    let frame = exchange::encode(&report, MAX_REPORT).map_err(|error| error.to_string())?;
    disk.write_all_at(&frame, offset)
        .and_then(|()| disk.sync_all())
        .map_err(|error| format!("cannot leave the report: {error}"))
}

/// The job, and where its report goes.
fn read_job(disk: &File) -> Result<(Job, u64), String> {
    let mut frame = vec![0; FRAME];
    disk.read_exact_at(&mut frame, 0).map_err(|error| format!("cannot read the job: {error}"))?;
    let length = exchange::announced(&frame, MAX_JOB).map_err(|error| error.to_string())?;
    frame.resize(FRAME + usize::try_from(length).unwrap_or_default(), 0);
    disk.read_exact_at(&mut frame, 0).map_err(|error| format!("cannot read the job: {error}"))?;
    let job: Job = exchange::decode(&frame, MAX_JOB).map_err(|error| format!("the job: {error}"))?;
    let offset = report_offset(frame.len() as u64);
    if job.protocol == PROTOCOL {
        Ok((job, offset))
    } else {
        Err(format!("the job is of version {}", job.protocol))
    }
}
