//! What Amazon publishes, made here: the same names and directories, our own content.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::guest::fixtures::shell;
use crate::remote::servers::Web;

const STORAGE: &str = include_str!("../guest/windows/drivers/infs/storage.inf");
const NETWORK: &str = include_str!("../guest/windows/drivers/infs/network.inf");

/// Programs and packages, signed in several ways.
pub static FILES: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("a.c"), "long DriverEntry(void *driver, void *path) { return driver == path; }\n")
        .unwrap();
    fs::write(path.join("a.rc"), "1 VERSIONINFO FILEVERSION 3,2,1,0 BEGIN END\n").unwrap();
    fs::write(
        path.join("a.wxs"),
        r#"<?xml version="1.0"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="*" Name="Agent" Language="1033" Version="2.0.1" Manufacturer="Replant" UpgradeCode="D3A1B5F0-1F0B-4C52-9F53-3E1C2A0D8A11">
    <Package InstallerVersion="200" Compressed="yes"/>
    <Media Id="1" Cabinet="a.cab" EmbedCab="yes"/>
    <Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="ProgramFilesFolder">
      <Component Id="C" Guid="0A6F5E66-6A29-4D56-9E0B-3E7E7E0B8A12"><File Id="F" Source="plain.sys"/><File Id="G" Source="filler"/></Component>
    </Directory></Directory>
    <Feature Id="A" Level="1"><ComponentRef Id="C"/></Feature>
  </Product>
</Wix>"#,
    )
    .unwrap();
    shell(&format!(
        r#"cd {}
        x86_64-w64-mingw32-windres a.rc a.o
        x86_64-w64-mingw32-gcc -nostdlib -shared -O1 -Wl,--subsystem,native -Wl,-e,DriverEntry -o plain.sys a.c a.o
        head -c 300000 /dev/urandom > filler
        wixl -o plain.msi a.wxs
        for who in 'Amazon Web Services, Inc.' 'Somebody Else'; do
          name=$(echo "$who" | head -c 6)
          openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 3650 -subj "/O=x/CN=$who" -addext extendedKeyUsage=codeSigning 2>/dev/null
          for file in plain.sys plain.msi; do
            osslsigncode sign -certs cert -key key -h sha256 -in $file -out "$name.${{file#*.}}" > /dev/null
          done
          osslsigncode sign -certs cert -key key -h sha256 -add-msi-dse -in plain.msi -out "$name-dse.msi" > /dev/null
        done"#,
        path.display()
    ));
    directory
});

/// One of [`FILES`].
pub fn file(name: &str) -> Vec<u8> {
    fs::read(FILES.path().join(name)).unwrap()
}

/// Packs files into an archive with Python's zipfile.
pub fn zip(to: &Path, members: &[(&str, &[u8])]) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in members {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    shell(&format!(
        "cd {} && rm -f {to} && python3 -m zipfile -c {to} *",
        directory.path().display(),
        to = to.display()
    ));
}

/// The storage driver of a version, its program signed by whoever.
pub fn storage(to: &Path, version: &str, program: &str) {
    let inf = STORAGE.replace("1.5.0.33", version);
    let members: [(&str, &[u8]); 5] = [
        ("AWSNVMe/nvme.inf", inf.as_bytes()),
        ("AWSNVMe/x64/replstor.sys", &file(program)),
        ("AWSNVMe/tools/id.exe", b"tool"),
        ("AWSNVMe/replstor64.cat", b"catalog"),
        ("AWSNVMe/install.ps1", b"exit 0"),
    ];
    zip(to, &members);
}

/// Everything for 2012 and 2022, on a web server.
pub fn published() -> Web {
    let web = Web::new();
    let drivers = web.files().join("ec2-windows-drivers-downloads");
    storage(&drivers.join("NVMe/1.5.1/AWSNVMe.zip"), "1.5.1.0", "Amazon.sys");
    storage(&drivers.join("NVMe/Latest/AWSNVMe.zip"), "1.8.2.1", "Amazon.sys");
    let network: [(&str, &[u8]); 3] =
        [("ena.inf", NETWORK.as_bytes()), ("replnet.sys", &file("Amazon.sys")), ("replnet.cat", b"catalog")];
    zip(&drivers.join("ENA/x64/2.6.0/AwsEnaNetworkDriver.zip"), &network);
    zip(&drivers.join("ENA/Latest/AwsEnaNetworkDriver.zip"), &network);
    zip(&drivers.join("AWSPV/Latest/AWSPVDriver.zip"), &[("AWSPVDriverSetup.msi", &file("Amazon.msi"))]);
    let agents = web.files().join("ec2-downloads-windows");
    zip(&agents.join("EC2Config/EC2Install.zip"), &[("EC2Install.exe", &file("Amazon.sys"))]);
    put(&agents.join("SSMAgent/latest/windows_amd64/AmazonSSMAgentSetup.exe"), &file("Amazon.sys"));
    put(
        &web.files().join("amazon-ec2launch-v2/windows/amd64/latest/AmazonEC2Launch.msi"),
        &file("Amazon-dse.msi"),
    );
    web
}

/// Writes a file and the directories above it.
pub fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
