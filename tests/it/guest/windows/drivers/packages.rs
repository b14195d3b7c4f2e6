//! Whole setup information files: which models a Windows takes, and what installing one does.

use replant::guest::windows::inf::{Inf, InfError, Install, Model, Product, RegistryData, Target};

pub const STORAGE: &str = include_str!("infs/storage.inf");
pub const NETWORK: &str = include_str!("infs/network.inf");

pub const SEVEN: Target = server(6, 1, 7601);
pub const EIGHT: Target = server(6, 2, 9200);
pub const EIGHT_ONE: Target = server(6, 3, 9600);
pub const T2016: Target = server(10, 0, 14393);
pub const T2022: Target = server(10, 0, 20348);

pub const fn server(major: u32, minor: u32, build: u32) -> Target {
    let architecture = replant::model::Architecture::X86_64;
    Target { architecture, major, minor, build, product: Product::Server, suites: 0 }
}

fn models(inf: &Inf, target: &Target) -> Vec<Model> {
    inf.models(target).unwrap()
}

fn install(inf: &Inf, target: &Target) -> Install {
    inf.install(&models(inf, target)[0], target).unwrap()
}

#[test]
fn each_windows_takes_its_models() {
    let inf = Inf::parse(STORAGE.as_bytes()).unwrap();
    let found = |target: &Target| {
        let models = models(&inf, target);
        models.into_iter().map(|model| (model.section, model.install, model.hardware_id)).collect::<Vec<_>>()
    };
    let model = |section: &str, install: &str, id: &str| {
        (format!("Repl.{section}"), install.to_owned(), id.to_owned())
    };
    let device = "PCI\\VEN_1D0F&DEV_8061";
    assert_eq!(
        found(&SEVEN),
        [model("NTamd64.6.1", "Seven_Inst", device), model("NTamd64.6.1", "Seven_Inst", "PCI\\CC_010802")]
    );
    assert_eq!(found(&EIGHT), [model("NTamd64.6.2", "Eight_Inst", device)]);
    assert_eq!(found(&EIGHT_ONE), [], "excluded by an empty section");
    assert_eq!(found(&T2016), [model("NTamd64.10.0", "Eight_Inst", device)]);
    assert_eq!(found(&T2022).len(), 2);
    let models = models(&inf, &T2022);
    assert_eq!(models[0].description, "Storage adapter", "in English");
    assert_eq!(models[0].compatible_ids, ["PCI\\VEN_1D0F&DEV_CD00"]);
    assert_eq!(models[0].manufacturer, "Replant; test vendor");
    assert_eq!(models[1].description, "100% \"quoted\" ; name");
}

#[test]
fn versions_are_read() {
    let version = Inf::parse(STORAGE.as_bytes()).unwrap().version(&SEVEN).unwrap();
    assert_eq!(
        (version.class.as_str(), version.class_guid.as_str()),
        ("SCSIAdapter", "{4D36E97B-E325-11CE-BFC1-08002BE10318}")
    );
    assert_eq!((version.date, version.version), (Some((2023, 8, 31)), [1, 5, 0, 33]));
    assert_eq!(version.catalog.as_deref(), Some("replstor64.cat"));
    let version = Inf::parse(NETWORK.as_bytes()).unwrap().version(&SEVEN).unwrap();
    assert_eq!((version.date, version.version), (Some((2022, 11, 9)), [2, 6, 0, 0]));
    assert_eq!(
        (version.catalog.as_deref(), version.provider.as_str()),
        (Some("replnet.cat"), "Replant, Inc.")
    );
    let broken = STORAGE.replace("$WINDOWS NT$", "$Windows 3.1$");
    let error = Inf::parse(broken.as_bytes()).unwrap().version(&SEVEN).unwrap_err();
    assert_eq!(error, InfError::Entry { section: "version".to_owned(), entry: "Signature" });
}

#[test]
fn an_installation_is_files_services_and_values() {
    let inf = Inf::parse(STORAGE.as_bytes()).unwrap();
    let seven = install(&inf, &SEVEN);
    let files: Vec<(&str, &str, Option<String>)> = seven
        .files
        .iter()
        .map(|file| (file.source.as_str(), file.name.as_str(), file.destination.path()))
        .collect();
    assert_eq!(
        files,
        [
            ("x64\\replstor.sys", "replstor.sys", Some("Windows\\System32\\drivers".to_owned())),
            ("tools\\id.exe", "replid.exe", Some("Windows\\Replant;Tools".to_owned())),
        ]
    );
    let service = seven.service().unwrap();
    assert_eq!(
        (service.name.as_str(), service.kind, service.start, service.error_control),
        ("replstor", 1, 0, 3)
    );
    assert_eq!((service.group.as_str(), service.display_name.as_str()), ("SCSI Miniport", "Storage (7)"));
    let (directory, program) = service.binary.as_ref().unwrap();
    assert_eq!(
        (directory.path().as_deref(), program.as_str()),
        (Some("Windows\\System32\\drivers"), "replstor.sys")
    );

    let ten = install(&inf, &T2022);
    assert_eq!(ten.section, "Ten_Inst.NTamd64");
    assert_eq!((ten.includes, ten.needs), (vec!["pci.inf".to_owned()], vec!["PciD_Inst".to_owned()]));
    assert_eq!(ten.files.len(), 2, "its own and those of the section it needs: {:?}", ten.files);
    let names: Vec<&str> = ten.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["replstor", "helper"]);
    let service = &ten.services[0];
    assert_eq!((service.kind, service.start, service.group.as_str()), (1, 0, "SCSI Miniport"));
    assert_eq!(service.dependencies, ["storport", "+SCSI class"]);
    assert_eq!(service.binary.as_ref().unwrap().0.path(), None, "it runs from the driver store");
    assert_eq!(ten.hardware.len(), 1);
    assert_eq!(
        (ten.registry[0].name.as_str(), &ten.registry[0].data),
        ("Sets =", &RegistryData::Bytes(vec![]))
    );
}

#[test]
fn values_of_every_type_are_read() {
    let inf = Inf::parse(STORAGE.as_bytes()).unwrap();
    let install = install(&inf, &SEVEN);
    let values = &install.service().unwrap().registry;
    let of = |name: &str| values.iter().find(|value| value.name == name).unwrap();
    let text = |text: &str| text.to_owned();
    assert_eq!((of("5").key.as_str(), &of("5").data), ("Parameters\\PnpInterface", &RegistryData::Number(1)));
    assert_eq!((of("IoTimeoutValue").keep, &of("IoTimeoutValue").data), (true, &RegistryData::Number(255)));
    assert_eq!(of("Text \"with\" quotes").data, RegistryData::Text(text("%SystemRoot%\\x;y")));
    assert_eq!(of("Path").data, RegistryData::Expandable(text("%SystemRoot%\\System32\\drivers")));
    assert_eq!(
        of("List").data,
        RegistryData::Texts(vec![text("one"), text("two, and a half"), text("three")])
    );
    assert!(of("List").append);
    assert_eq!(of("Raw").data, RegistryData::Bytes(vec![1, 0xff, 0x7f]));
    assert_eq!(of("Large").data, RegistryData::Long(1 << 32));
    assert_eq!((of("").key.as_str(), &of("").data), ("Parameters\\Old", &RegistryData::Key));
    assert_eq!(of("Gone").data, RegistryData::Delete);
}

#[test]
fn product_types_and_suites_choose() {
    let inf = Inf::parse(NETWORK.as_bytes()).unwrap();
    let taken = |target: &Target| models(&inf, target)[0].install.clone();
    assert_eq!(taken(&EIGHT), "Server.ndi");
    assert_eq!(taken(&Target { product: Product::Workstation, ..EIGHT }), "Client.ndi");
    assert_eq!(taken(&Target { product: Product::DomainController, ..EIGHT }), "Any.ndi");
    assert_eq!(taken(&Target { suites: 0x90, ..EIGHT_ONE }), "Datacenter.ndi");
    assert_eq!(taken(&EIGHT_ONE), "Server.ndi");
    assert_eq!(models(&inf, &SEVEN), []);
    let install = install(&inf, &EIGHT);
    assert_eq!(install.registry.len(), 4, "a section that is named twice adds once");
    assert_eq!((install.files[0].source.as_str(), install.service().unwrap().start), ("replnet.sys", 3));
}

#[test]
fn unicode_files_are_the_same() {
    let wide: Vec<u8> =
        std::iter::once(0xfeff).chain(STORAGE.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let (wide, narrow) = (Inf::parse(&wide).unwrap(), Inf::parse(STORAGE.as_bytes()).unwrap());
    assert_eq!(wide.sections(), narrow.sections());
    assert_eq!(install(&wide, &T2022), install(&narrow, &T2022));
}
