//! Starting an instance from the volumes that were restored: the QEMU that stands for it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::accelerator;
use super::cloud::Desk;
use super::failure::Failure;
use super::id;
use super::instance_types::instance_type;
use super::machine;
use super::qmp;
use super::record::{BOOT_PREFIX, BootRecord, InstancePhase, InstanceRecord, VolumeRecord};
use super::rules;
use super::store::publish;
use crate::model::{Architecture, BootMode, Hypervisor};
use crate::provider::types::VolumeId;

/// Where UEFI lies for QEMU: code and the template of its variables (Debian, Fedora, Arch).
const FIRMWARE: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];

/// IDE disks of the emulated chipset; the rest hang on AHCI.
const IDE_DISKS: usize = 4;
/// Ports of an AHCI controller.
const AHCI_PORTS: usize = 6;

/// UEFI's code and variables template, when it is installed.
pub(super) fn firmware() -> Option<(&'static Path, &'static Path)> {
    FIRMWARE
        .iter()
        .map(|(code, variables)| (Path::new(*code), Path::new(*variables)))
        .find(|(code, variables)| code.is_file() && variables.is_file())
}

/// What QEMU is told of one instance.
struct Machine<'a> {
    directory: &'a Path,
    nonce: &'a str,
    name: &'a str,
    hypervisor: Hypervisor,
    boot_mode: BootMode,
    accelerator: &'static str,
    /// MiB.
    memory: u64,
    vcpus: u32,
    address: Option<Ipv4Addr>,
    /// The root first.
    disks: &'a [(VolumeId, PathBuf)],
}

impl Desk<'_> {
    /// Starts QEMU for an instance whose root is a restored volume. The record says `pending` and
    /// with which nonce before the process is begun, so that a crash between is put right.
    pub(super) fn launch(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        let nonce = id::random(BOOT_PREFIX)?;
        let before = instance.clone();
        instance.phase = InstancePhase::Pending;
        instance.since = self.now;
        instance.ended = None;
        instance.boot = Some(BootRecord { nonce, started: self.now, process: None });
        self.store.write(instance)?;
        if let Err(failure) = self.begin(instance) {
            self.store.write(&before)?;
            return Err(failure);
        }
        self.store.write(instance)
    }

    /// Goes on with a start whose process is not recorded: adopts it, or begins it again.
    pub(super) fn finish_start(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        let directory = self.machine_directory(&instance.id.0);
        let Some(boot) = &mut instance.boot else { return Ok(()) };
        if boot.process.is_some() {
            return Ok(());
        }
        if machine::is_alive(&directory)? {
            // It may not have come to write its pid yet; then somebody else will adopt it.
            if let Some(process) = machine::find(&directory, boot) {
                boot.process = Some(process);
                self.store.write(instance)?;
            }
            return Ok(());
        }
        boot.started = self.now;
        if let Err(failure) = self.begin(instance) {
            instance.phase = InstancePhase::Stopped;
            instance.ended = Some(failure.message);
        }
        self.store.write(instance)
    }

    /// Begins QEMU and notes its process.
    fn begin(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        let directory = self.machine_directory(&instance.id.0);
        let name = &instance.instance_type;
        let facts = instance_type(name)
            .ok_or_else(|| Failure::value(format!("Invalid value '{name}' for InstanceType.")))?;
        if facts.architecture == Architecture::Arm64 {
            return Err(Failure::program(
                "UnsupportedOperation",
                format!(
                    "the local provider does not start arm64 guests ({name}); state = \"stopped\" restores one"
                ),
            ));
        }
        let Some(boot) = &instance.boot else { return Ok(()) };
        let disks = self.disks(instance)?;
        machine::prepare(&directory)?;
        let arguments = Machine {
            directory: &directory,
            nonce: &boot.nonce,
            name: &instance.id.0,
            hypervisor: facts.hypervisor,
            boot_mode: instance.boot_mode,
            accelerator: accelerator::choose(&self.spec.accelerator, &self.store)?,
            memory: facts.memory.min(u64::from(self.spec.memory)),
            vcpus: facts.vcpus.min(accelerator::processors()),
            address: instance.private_ip,
            disks: &disks,
        }
        .arguments()?;
        machine::start(&directory, &arguments)?;
        if let Some(boot) = &mut instance.boot {
            boot.process = machine::find(&directory, boot);
        }
        Ok(())
    }

    /// The instance's volumes in the order that firmware sees them: the root, then by name.
    fn disks(&self, instance: &InstanceRecord) -> Result<Vec<(VolumeId, PathBuf)>, Failure> {
        let root = rules::slot(&instance.root_device)?;
        let mut disks = Vec::new();
        for (device, volume) in self.attached(instance)? {
            let slot = rules::slot(&device)?;
            disks.push(((slot != root, slot), volume.id));
        }
        disks.sort();
        Ok(disks
            .into_iter()
            .map(|(_, id)| {
                let path = self.store.content::<VolumeRecord>(&id.0);
                (id, path)
            })
            .collect())
    }

    /// Lets a QEMU go on that was paused by a snapshot whose process was killed.
    pub(super) fn resume(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        // A machine that is gone needs no word.
        drop(qmp::command(&self.machine_directory(&instance.id.0), "cont"));
        instance.paused = false;
        self.store.write(instance)
    }
}

impl Machine<'_> {
    fn arguments(&self) -> Result<Vec<String>, Failure> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        let pid_file = machine::pid_file(self.directory, self.nonce);
        let console = text(&self.directory.join(machine::CONSOLE))?;
        add(&["-nodefaults", "-no-user-config", "-display", "none", "-vga", "std", "-rtc", "base=utc"]);
        add(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
        add(&["-name", self.name, "-pidfile", &text(&pid_file)?]);
        // The emulated processor has all that QEMU can emulate: EL9 and EL10 need AVX2's level.
        let processor = if self.accelerator == "kvm" { "host" } else { "max" };
        let accelerator = if self.accelerator == "kvm" { "kvm" } else { "tcg,thread=multi" };
        add(&["-accel", accelerator, "-cpu", processor]);
        add(&["-m", &self.memory.to_string(), "-smp", &self.vcpus.to_string()]);
        match self.boot_mode {
            // Without graphics SeaBIOS and GRUB speak on the serial port.
            BootMode::LegacyBios => add(&["-machine", "pc,graphics=off"]),
            BootMode::Uefi => {
                let (code, variables) = self.uefi()?;
                add(&["-machine", "q35,pflash0=code,pflash1=variables"]);
                for (node, path, read_only) in [("code", code, true), ("variables", variables, false)] {
                    let file = json!({ "driver": "file", "filename": text(&path)? });
                    let drive = json!({
                        "driver": "raw", "node-name": node, "read-only": read_only, "file": file,
                    });
                    add(&["-blockdev", &drive.to_string()]);
                }
            }
        }
        add(&["-chardev", &format!("file,id=console,append=on,path={}", console.replace(',', ",,"))]);
        add(&["-serial", "chardev:console"]);
        add(&["-qmp", &format!("unix:{},server=on,wait=off", machine::QMP_SOCKET)]);
        add(&["-netdev", &network(self.address), "-device", "e1000e,netdev=network,romfile="]);
        for (index, (volume, path)) in self.disks.iter().enumerate() {
            let node = format!("disk{index}");
            let file = json!({
                "driver": "file", "filename": text(path)?, "locking": "on", "discard": "unmap",
            });
            let drive = json!({
                "driver": "raw", "node-name": node, "discard": "unmap", "file": file,
            });
            add(&["-blockdev", &drive.to_string()]);
            let serial = volume.0.replace('-', "");
            let device = match self.hypervisor {
                Hypervisor::Nitro => "nvme".to_owned(),
                Hypervisor::Xen if index < IDE_DISKS => {
                    format!("ide-hd,bus=ide.{},unit={}", index / 2, index % 2)
                }
                Hypervisor::Xen => {
                    let (controller, port) =
                        ((index - IDE_DISKS) / AHCI_PORTS, (index - IDE_DISKS) % AHCI_PORTS);
                    if port == 0 {
                        add(&["-device", &format!("ich9-ahci,id=ahci{controller}")]);
                    }
                    format!("ide-hd,bus=ahci{controller}.{port}")
                }
            };
            // The firmware tries the root and nothing else, as EC2 does.
            let first = if index == 0 { ",bootindex=1" } else { "" };
            add(&["-device", &format!("{device},drive={node},serial={serial}{first}")]);
        }
        Ok(arguments)
    }

    /// UEFI's code and this machine's variables. They are kept from start to start, as EC2's are.
    fn uefi(&self) -> Result<(PathBuf, PathBuf), Failure> {
        let (code, template) = firmware().ok_or_else(|| {
            Failure::program("LocalFirmware", "UEFI for QEMU is not installed (Debian's package: ovmf)")
        })?;
        let variables = self.directory.join("uefi-variables.fd");
        if !variables.exists() {
            let temporary = super::store::temporary(&variables);
            std::fs::copy(template, &temporary).map_err(|error| Failure::file("make", &variables, error))?;
            publish(&temporary, &variables)?;
        }
        Ok((code.to_owned(), variables))
    }
}

/// A network of its own without a way out: a rehearsed server must not speak to the world, nor to
/// the machine it runs on. DHCP hands out the instance's address.
fn network(address: Option<Ipv4Addr>) -> String {
    let Some(address) = address else { return "user,id=network,restrict=on".to_owned() };
    let [a, b, c, last] = address.octets();
    // QEMU's own router and DHCP server need two other addresses of the network.
    let (prefix, net, mut others) = if matches!(last, 0 | 255) {
        (16, Ipv4Addr::new(a, b, 0, 0), [[127, 1], [127, 2], [127, 3]])
    } else {
        (24, Ipv4Addr::new(a, b, c, 0), [[c, 1], [c, 2], [c, 3]])
    };
    if let Some(taken) = others.iter().position(|other| Ipv4Addr::new(a, b, other[0], other[1]) == address) {
        others.swap(taken, 2);
    }
    let [router, server] = [others[0], others[1]].map(|[c, d]| Ipv4Addr::new(a, b, c, d));
    format!("user,id=network,restrict=on,net={net}/{prefix},host={router},dns={server},dhcpstart={address}")
}

/// QEMU's options are text.
fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::program(
            "LocalPath",
            format!("QEMU cannot be told a path that is not UTF-8: {}", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_never_has_the_guests_address() {
        for (address, expected) in [
            ("10.20.1.15", "net=10.20.1.0/24,host=10.20.1.1,dns=10.20.1.2,dhcpstart=10.20.1.15"),
            ("10.20.1.1", "net=10.20.1.0/24,host=10.20.1.3,dns=10.20.1.2,dhcpstart=10.20.1.1"),
            ("10.20.1.2", "net=10.20.1.0/24,host=10.20.1.1,dns=10.20.1.3,dhcpstart=10.20.1.2"),
            ("10.20.1.0", "net=10.20.0.0/16,host=10.20.127.1,dns=10.20.127.2,dhcpstart=10.20.1.0"),
        ] {
            let network = network(Some(address.parse().unwrap()));
            assert_eq!(network, format!("user,id=network,restrict=on,{expected}"));
        }
    }
}
