//! From what is wanted to the list of steps: drivers, network, agents, removals, disks, the user's
//! script, and what tidies up.

use std::net::Ipv4Addr;

use super::list::{self, Action, Bounds, Step, When};
use super::{
    Addressing, Agent, CommandLine, Driver, FirstBoot, FirstBootError, Installer, Language, Remnant,
};
use super::{LAUNCHER, Nic, PROGRAM, PlacedFile, Script, Settings};

/// From Server 2016 (Windows 10 1607) on pnputil has words for what it does.
const WORDY_PNPUTIL: u32 = 14_393;
/// How often the service may be started before it gives up. One start does all; restarts by Windows
/// Update, by a driver or by EC2 in between are no reason to give up.
const STARTS: u32 = 5;
/// `ERROR_NO_MORE_ITEMS`, pnputil's answer when no device wants the driver, or has a better one.
const PNPUTIL: &[u32] = &[0, 259, 1641, 3010];
/// Windows Installer's: another version is there already (1638), restart begun or needed.
const INSTALLER: &[u32] = &[0, 1638, 1641, 3010];
/// Windows Installer's: it is not there (1605), restart begun or needed.
const UNINSTALLER: &[u32] = &[0, 1605, 1641, 3010];
/// What programs of others answer.
const OTHERS: &[u32] = &[0, 1641, 3010];
const DONE: &[u32] = &[0];
/// `netsh` answers 1 when DHCP is on already, as it does when something is wrong: the log has its words.
const NETSH_DHCP: &[u32] = &[0, 1];

/// A driver that asks a question nobody hears takes its time.
const DRIVER: Bounds = Bounds { timeout: 600, attempts: 2, pause: 20 };
/// An adapter appears some seconds after its driver.
const NETWORK: Bounds = Bounds { timeout: 60, attempts: 6, pause: 10 };
/// Another installation may be running (1618).
const INSTALL: Bounds = Bounds { timeout: 1800, attempts: 3, pause: 60 };
/// What restarts Windows in its midst gets a second attempt, and its service two minutes to appear.
const RESTARTING: Bounds = Bounds { timeout: 1800, attempts: 2, pause: 120 };
/// VMware's uninstaller is known to fail and to hang (virt-v2v's issues).
const REMOVE: Bounds = Bounds { timeout: 600, attempts: 1, pause: 0 };
const QUICK: Bounds = Bounds { timeout: 120, attempts: 3, pause: 5 };

/// A disk that came online a moment ago may still be looked through.
const EXTEND: Bounds = Bounds { timeout: 300, attempts: 3, pause: 20 };

const POWERSHELL: &str = r"WindowsPowerShell\v1.0\powershell.exe";
const POWERSHELL_FILE: &str = "-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File";

struct Steps(Vec<Step>);

impl Steps {
    /// Adds a step and returns the name it got.
    fn add(
        &mut self,
        name: &str,
        action: Action,
        bounds: Bounds,
        success: &'static [u32],
        when: When,
    ) -> String {
        let name = list::name(name, &self.0);
        let (restarts, optional) = (None, false);
        self.0.push(Step { name: name.clone(), action, when, bounds, success, restarts, optional });
        name
    }

    fn run(&mut self, name: &str, command: CommandLine, bounds: Bounds, success: &'static [u32]) -> String {
        self.add(name, Action::Run(command), bounds, success, When::Always)
    }

    fn driver(&mut self, driver: &Driver, build: u32) -> Result<String, FirstBootError> {
        let pnputil = CommandLine::of_system("pnputil.exe");
        let command = if build >= WORDY_PNPUTIL {
            pnputil.words("/add-driver").staged(&driver.inf)?.words("/install")
        } else {
            pnputil.words("-i -a").staged(&driver.inf)?
        };
        Ok(self.run(&format!("driver {}", file_name(&driver.inf)), command, DRIVER, PNPUTIL))
    }

    fn network(&mut self, nic: &Nic) -> Result<(), FirstBootError> {
        let mac = nic.mac;
        let shown = mac.map(|byte| format!("{byte:02x}")).join(":");
        let netsh = |words| CommandLine::of_system("netsh.exe").words(words);
        let mut add = |name: &str, command, success| {
            let action = Action::RunOnAdapter { mac, command };
            self.add(&format!("{name} of {shown}"), action, NETWORK, success, When::Always);
        };
        match &nic.addressing {
            Addressing::Dhcp => {
                add("address", netsh("interface ipv4 set address name={adapter} source=dhcp"), NETSH_DHCP);
                add(
                    "name servers",
                    netsh("interface ipv4 set dnsservers name={adapter} source=dhcp"),
                    NETSH_DHCP,
                );
            }
            Addressing::Static { address, gateway, dns } => {
                let gateway = gateway.map_or("none".to_owned(), |gateway| gateway.to_string());
                let command = netsh("interface ipv4 set address name={adapter} source=static")
                    .argument(&format!("address={}", address.addr()))?
                    .argument(&format!("mask={}", address.netmask()))?
                    .argument(&format!("gateway={gateway}"))?;
                add("address", command, DONE);
                for (place, server) in dns.iter().enumerate() {
                    add(&format!("name server {}", place + 1), name_server(server, place)?, DONE);
                }
            }
        }
        Ok(())
    }

    fn agent(&mut self, agent: &Agent) -> Result<(), FirstBootError> {
        let file = file_name(&agent.file);
        let (command, success) = match &agent.installer {
            Installer::Msi => {
                let log = format!("{}.log", plain_name(file));
                let command = CommandLine::of_system("msiexec.exe").words("/i").staged(&agent.file)?;
                let command = command.words("/qn /norestart /l*v").staged(&log)?;
                // Without its feature `Clean` it keeps the settings that are there.
                let keeps = agent.settings == Some(Settings::Ec2LaunchV2);
                (if keeps { command.words("ADDLOCAL=Basic") } else { command }, INSTALLER)
            }
            Installer::Program(arguments) => {
                let command = CommandLine::of_staged(&agent.file)?;
                (arguments.iter().try_fold(command, |command, text| command.argument(text))?, OTHERS)
            }
            Installer::PowerShell => {
                (CommandLine::of_system(POWERSHELL).words(POWERSHELL_FILE).staged(&agent.file)?, OTHERS)
            }
        };
        let bounds = if agent.restarts.is_some() { RESTARTING } else { INSTALL };
        let installed = self.run(&format!("install {file}"), command, bounds, success);
        if let Some(step) = self.0.last_mut() {
            step.restarts = agent.restarts;
        }
        if let Some(settings) = agent.settings {
            self.settings(settings, &installed);
        }
        Ok(())
    }

    fn settings(&mut self, settings: Settings, installed: &str) {
        let when = || When::Succeeded(installed.to_owned());
        let powershell = |words| Action::Run(CommandLine::of_system(POWERSHELL).words(words));
        match settings {
            // They are in their place.
            Settings::Ec2LaunchV2 => {}
            Settings::Ec2Launch => {
                let copy = r#"/d /s /c "copy /y "{here}\agents\LaunchConfig.json" "%ProgramData%\Amazon\EC2-Windows\Launch\Config\LaunchConfig.json"""#;
                let copy = Action::Run(CommandLine::of_system("cmd.exe").words(copy));
                let told = self.add("settings of EC2Launch", copy, QUICK, DONE, when());
                // It runs when Windows starts next, and only when it is scheduled.
                let schedule = r#"-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -Command "& ($env:ProgramData + '\Amazon\EC2-Windows\Launch\Scripts\InitializeInstance.ps1') -Schedule""#;
                let when = When::Succeeded(told);
                self.add("schedule EC2Launch", powershell(schedule), QUICK, DONE, when);
            }
            Settings::Ec2Config => {
                let script = r#"-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{here}\agents\ec2config.ps1""#;
                self.add("settings of EC2Config", powershell(script), QUICK, DONE, when());
            }
        }
    }

    fn script(&mut self, script: &Script) -> Result<(), FirstBootError> {
        let command = match script.language {
            Language::PowerShell => {
                CommandLine::of_system(POWERSHELL).words(POWERSHELL_FILE).staged(script.file())?
            }
            Language::Batch => {
                CommandLine::of_system("cmd.exe").words(r#"/d /s /c ""{here}\first_boot.cmd"""#)
            }
        };
        // It is the user's, who knows whether it can be repeated.
        let bounds = Bounds { timeout: script.timeout.max(1), attempts: 1, pause: 0 };
        self.run("first_boot script", command, bounds, OTHERS);
        Ok(())
    }

    fn extend(&mut self, drive: char) -> Result<(), FirstBootError> {
        let command = CommandLine::of_system("diskpart.exe").words("/s").staged(&extend_file(drive))?;
        self.run(&format!("extend {drive}:"), command, EXTEND, DONE);
        Ok(())
    }

    /// Only when Windows has the driver itself: a machine whose disk needs it does not start without.
    fn remnant(&mut self, remnant: &Remnant, driver: &str) -> Result<(), FirstBootError> {
        let delete = || CommandLine::of_system("reg.exe").words("delete");
        let command = match remnant {
            Remnant::Key(key) => delete().argument(&format!(r"HKLM\{key}"))?,
            Remnant::Value { key, name } => {
                delete().argument(&format!(r"HKLM\{key}"))?.words("/v").argument(name)?
            }
            Remnant::Text { key, name, is_expandable, text } => {
                let set = CommandLine::of_system("reg.exe").words("add").argument(&format!(r"HKLM\{key}"))?;
                let set = set.words("/v").argument(name)?;
                let set = set.words(if *is_expandable { "/t REG_EXPAND_SZ" } else { "/t REG_SZ" });
                set.words("/d").argument(text)?
            }
        };
        let when = When::Succeeded(driver.to_owned());
        self.add(&format!("stub of {driver}"), Action::Run(command.words("/f")), QUICK, DONE, when);
        Ok(())
    }
}

fn name_server(server: &Ipv4Addr, place: usize) -> Result<CommandLine, FirstBootError> {
    let netsh = CommandLine::of_system("netsh.exe");
    if place == 0 {
        let set = netsh.words("interface ipv4 set dnsservers name={adapter} source=static");
        Ok(set.argument(&format!("address={server}"))?.words("register=primary validate=no"))
    } else {
        let add = netsh.words("interface ipv4 add dnsservers name={adapter}");
        add.argument(&format!("address={server}"))?
            .argument(&format!("index={}", place + 1))?
            .argument("validate=no")
    }
}

/// The file of diskpart's commands for a drive.
fn extend_file(drive: char) -> String {
    format!("extend_{drive}.txt")
}

fn file_name(path: &str) -> &str {
    path.rsplit('\\').next().unwrap_or(path)
}

/// A name for a file of ours, after a name that others chose.
fn plain_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(plain).take(60).collect()
}

impl FirstBoot {
    /// The steps, in their order. Steps that restart Windows come last, so that what others need is done.
    ///
    /// # Errors
    /// When a path or a text cannot be put on a command line.
    pub fn steps(&self) -> Result<Vec<Step>, FirstBootError> {
        let mut steps = Steps(Vec::new());
        for publisher in &self.publishers {
            let certutil = CommandLine::of_system("certutil.exe").words("-f -addstore TrustedPublisher");
            let name = format!("publisher {}", file_name(publisher));
            steps.run(&name, certutil.staged(publisher)?, QUICK, DONE);
        }
        let mut installed = Vec::new();
        for driver in &self.drivers {
            installed.push((driver, steps.driver(driver, self.build)?));
        }
        for nic in &self.network {
            steps.network(nic)?;
        }
        for agent in self.agents.iter().filter(|agent| agent.restarts.is_none()) {
            steps.agent(agent)?;
        }
        for product in &self.remove {
            let action = Action::Uninstall(product);
            steps.add(&format!("remove {product}"), action, REMOVE, UNINSTALLER, When::Always);
            if let Some(step) = steps.0.last_mut() {
                step.optional = true;
            }
        }
        if self.disks_online {
            steps.add("disks online", Action::DisksOnline, QUICK, DONE, When::Always);
        }
        for drive in &self.extend {
            steps.extend(*drive)?;
        }
        if let Some(script) = &self.script {
            steps.script(script)?;
        }
        for (driver, name) in &installed {
            for remnant in &driver.stub {
                steps.remnant(remnant, name)?;
            }
        }
        for agent in self.agents.iter().filter(|agent| agent.restarts.is_some()) {
            steps.agent(agent)?;
        }
        // While Windows' own console has the port, Amazon's agents have not, and some of them do without.
        let bcdedit = |words| Action::Run(CommandLine::of_system("bcdedit.exe").words(words));
        if self.ems.loader {
            let off = bcdedit("/ems {{current} off");
            steps.add("serial console off", off, QUICK, DONE, When::Always);
        }
        if self.ems.manager {
            let off = bcdedit("/set {{emssettings} bootems no");
            steps.add("serial console of the boot manager off", off, QUICK, DONE, When::Always);
        }
        let tidy = r#"/d /s /c "for %i in (drivers agents) do if exist "{here}\%i" rmdir /s /q "{here}\%i"""#;
        let tidy = Action::Run(CommandLine::of_system("cmd.exe").words(tidy));
        steps.add("tidy up", tidy, QUICK, DONE, When::AllSucceeded);
        Ok(steps.0)
    }

    /// The files that make it happen, in the first boot's directory: the service, its list, the script.
    /// Staged drivers and agents (below `drivers` and `agents`, which are taken away at the end) come
    /// beside them.
    ///
    /// # Errors
    /// When a path or a text cannot be put on a command line.
    pub fn files(&self) -> Result<Vec<PlacedFile>, FirstBootError> {
        let list = list::render(&self.steps()?, STARTS, self.may_restart)?;
        let mut files = vec![
            PlacedFile { name: PROGRAM.to_owned(), content: LAUNCHER.to_vec() },
            // In the place of one that a backup of a restored guest brought along.
            PlacedFile { name: "firstboot.state".to_owned(), content: list::fresh_state(&list) },
            PlacedFile { name: "firstboot.steps".to_owned(), content: list },
        ];
        // diskpart takes its commands from a file alone (learn.microsoft.com, "diskpart scripts").
        files.extend(self.extend.iter().map(|drive| PlacedFile {
            name: extend_file(*drive),
            content: format!("rescan\r\nselect volume {drive}\r\nextend\r\n").into_bytes(),
        }));
        for settings in self.agents.iter().filter_map(|agent| agent.settings) {
            // Its settings do not lie with the first boot's files.
            if settings != Settings::Ec2LaunchV2 {
                let (name, text) = settings.file();
                files.push(PlacedFile { name: name.to_owned(), content: text.as_bytes().to_vec() });
            }
        }
        if let Some(script) = &self.script {
            files.push(PlacedFile { name: script.file().to_owned(), content: script.content.clone() });
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
