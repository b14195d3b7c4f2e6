//! What Amazon's launch agents are told, so that they leave a restored machine's accounts, names and disks
//! as they are: by their own settings they give Administrator a new password (on a domain controller the
//! domain's), and the computer a name. Files and keys after the EC2 user guide, "Windows launch agents".

/// Settings of a launch agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    /// EC2Launch v2: its file is there before it is installed. "Your existing configuration is not
    /// replaced", unless the feature `Clean` is installed.
    Ec2LaunchV2,
    /// EC2Launch: its installation replaces the file, and nothing runs before it is scheduled.
    Ec2Launch,
    /// EC2Config: its setup replaces the file, and starts the service.
    Ec2Config,
}

/// Where EC2Launch v2 reads its settings, from the volume's root.
pub const EC2_LAUNCH_V2: &str = "/ProgramData/Amazon/EC2Launch/config/agent-config.yml";

/// No `setAdminAccount`, `setHostName`, `setWallpaper`, `setDnsSuffix`, `extendRootPartition`,
/// `initializeVolume`. User data is run all the same.
const V2: &str = "\
version: 1.0
config:
- stage: preReady
  tasks:
  - task: activateWindows
    inputs:
      activation:
        type: amazon
- stage: postReady
  tasks:
  - task: startSsm
";

const V1: &str = "\
{\r
  \"setComputerName\": false,\r
  \"setMonitorAlwaysOn\": false,\r
  \"setWallpaper\": false,\r
  \"addDnsSuffixList\": false,\r
  \"extendBootVolumeSize\": false,\r
  \"handleUserData\": true,\r
  \"adminPasswordType\": \"DoNothing\",\r
  \"adminPassword\": \"\"\r
}\r
";

/// Windows PowerShell 2.0 of Server 2008 R2 runs it.
const CONFIG: &str = "\
$ErrorActionPreference = 'Stop'\r
$path = Join-Path $env:ProgramFiles 'Amazon\\Ec2ConfigService\\Settings\\config.xml'\r
$off = 'Ec2SetPassword', 'Ec2SetComputerName', 'Ec2InitializeDrives', 'Ec2SetDriveLetter', 'Ec2ConfigureRDP', 'Ec2DynamicBootVolumeSize'\r
$settings = New-Object System.Xml.XmlDocument\r
$settings.Load($path)\r
foreach ($plugin in $settings.SelectNodes('//Plugin')) {\r
    if ($off -contains $plugin.SelectSingleNode('Name').InnerText) {\r
        $plugin.SelectSingleNode('State').InnerText = 'Disabled'\r
    }\r
}\r
$settings.Save($path)\r
";

impl Settings {
    /// The file that holds them, or sets them: for EC2Launch v2 the one at [`EC2_LAUNCH_V2`], else its path
    /// in the first boot's directory.
    #[must_use]
    pub fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Ec2LaunchV2 => (EC2_LAUNCH_V2, V2),
            Self::Ec2Launch => ("agents\\LaunchConfig.json", V1),
            Self::Ec2Config => ("agents\\ec2config.ps1", CONFIG),
        }
    }
}
