//! Agents that are installed at the first boot.

use super::Settings;

/// How an installer is run without questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installer {
    /// By Windows Installer.
    Msi,
    /// A program with these arguments.
    Program(Vec<String>),
    /// A script of Windows PowerShell.
    PowerShell,
}

/// An agent, a program or a driver package that is no INF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its installer, staged in the first boot's directory: `agents\AmazonSSMAgentSetup.exe`.
    pub file: String,
    /// How it is run.
    pub installer: Installer,
    /// For one that restarts Windows by itself, at the end of the first boot then: the service that is
    /// there when it has worked.
    pub restarts: Option<&'static str>,
    /// What it is told beside being installed.
    pub settings: Option<Settings>,
}

impl Agent {
    /// Knows Amazon's installers by their files' names, and any `.msi`; `None` when it is unknown what
    /// makes a program install without questions.
    ///
    /// EC2Config's `EC2Install.exe` takes `/quiet /norestart`, the SSM agent's setup `/S`, EC2Launch's
    /// archive has an `install.ps1` (Amazon's EC2 user guide); the PV drivers' package restarts Windows.
    #[must_use]
    pub fn known(file: &str) -> Option<Self> {
        let name = file.rsplit('\\').next().unwrap_or(file).to_ascii_lowercase();
        let program =
            |arguments: &[&str]| Installer::Program(arguments.iter().map(|&a| a.to_owned()).collect());
        let installer = match name.as_str() {
            "ec2install.exe" => program(&["/quiet", "/norestart"]),
            "amazonssmagentsetup.exe" => program(&["/S"]),
            "install.ps1" => Installer::PowerShell,
            other if other.ends_with(".msi") => Installer::Msi,
            _ => return None,
        };
        let restarts = (name == "awspvdriversetup.msi").then_some("xennet");
        let settings = match name.as_str() {
            "amazonec2launch.msi" => Some(Settings::Ec2LaunchV2),
            "install.ps1" => Some(Settings::Ec2Launch),
            "ec2install.exe" => Some(Settings::Ec2Config),
            _ => None,
        };
        Some(Self { file: file.to_owned(), installer, restarts, settings })
    }
}
