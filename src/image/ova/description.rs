//! The OVF description: an XML file. Elements and attributes go by their local names, since
//! software disagrees on namespaces.

use std::collections::BTreeMap;

use roxmltree::{Document, Node, ParsingOptions};

use super::units;

/// Most bytes of a description; real ones have some kilobytes.
pub(in super::super) const MOST_BYTES: u64 = 4 << 20;
/// Most nodes of a description.
const MOST_NODES: u32 = 200_000;

/// A file that a description refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRef {
    pub href: String,
    /// The compression of the whole file, when there is one.
    pub compression: Option<String>,
    /// Whether it is cut in several files.
    pub chunked: bool,
}

/// A disk of the description's disk section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiskRef {
    pub id: String,
    pub file: Option<String>,
    pub capacity: u64,
    pub format: String,
    pub parent: Option<String>,
}

/// One item of the virtual hardware: its elements' texts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Item(pub BTreeMap<String, String>);

impl Item {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|text| text.trim().parse().ok())
    }
}

/// What is read of a description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Description {
    pub name: String,
    pub files: BTreeMap<String, FileRef>,
    pub disks: Vec<DiskRef>,
    pub items: Vec<Item>,
    pub firmware: Option<String>,
    pub os_id: Option<u32>,
    pub os_description: Option<String>,
    /// Items that the machine boots from first, in order.
    pub boot_items: Vec<String>,
}

/// Why a description cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DescriptionError {
    /// It is no XML, or lacks what it must have.
    Bad(String),
    /// It describes what is not read.
    Unsupported(String),
}

fn elements<'a, 'input>(node: Node<'a, 'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

fn descendants<'a, 'input>(node: Node<'a, 'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.descendants().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

fn text(node: Node<'_, '_>) -> String {
    node.text().unwrap_or_default().trim().to_owned()
}

impl Description {
    /// Reads a description.
    pub(super) fn parse(xml: &[u8]) -> Result<Self, DescriptionError> {
        let bad = |what: String| DescriptionError::Bad(what);
        let xml = std::str::from_utf8(xml).map_err(|_| bad("it is not UTF-8".to_owned()))?;
        let options = ParsingOptions { nodes_limit: MOST_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(xml.trim_start_matches('\u{feff}'), options)
            .map_err(|error| bad(format!("it is not well-formed: {error}")))?;
        let envelope = document.root_element();
        if envelope.tag_name().name() != "Envelope" {
            return Err(bad("it is no OVF description: its root is not an Envelope".to_owned()));
        }
        let systems: Vec<_> = descendants(envelope, "VirtualSystem").collect();
        let [system] = systems.as_slice() else {
            return Err(match systems.len() {
                0 => bad("it describes no machine".to_owned()),
                count => {
                    DescriptionError::Unsupported(format!("describes {count} machines; one is supported"))
                }
            });
        };
        let mut description = Self {
            name: elements(*system, "Name")
                .next()
                .map(text)
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| attribute(*system, "id").unwrap_or("machine").to_owned()),
            ..Self::default()
        };
        description.read_files(envelope);
        description.read_disks(envelope)?;
        description.read_system(*system);
        Ok(description)
    }

    fn read_files(&mut self, envelope: Node<'_, '_>) {
        for file in elements(envelope, "References").flat_map(|references| elements(references, "File")) {
            if let (Some(id), Some(href)) = (attribute(file, "id"), attribute(file, "href")) {
                let compression = attribute(file, "compression")
                    .filter(|compression| !compression.is_empty() && *compression != "identity")
                    .map(str::to_owned);
                let chunked = attribute(file, "chunkSize").is_some();
                self.files.insert(id.to_owned(), FileRef { href: href.to_owned(), compression, chunked });
            }
        }
    }

    fn read_disks(&mut self, envelope: Node<'_, '_>) -> Result<(), DescriptionError> {
        for disk in elements(envelope, "DiskSection").flat_map(|section| elements(section, "Disk")) {
            let id = attribute(disk, "diskId")
                .ok_or_else(|| DescriptionError::Bad("a disk has no `diskId`".to_owned()))?;
            let bad = |what: &str| DescriptionError::Bad(format!("the {what} of disk `{id}` is no size"));
            let unit = attribute(disk, "capacityAllocationUnits").unwrap_or("byte");
            let unit = units::bytes(unit).ok_or_else(|| bad("unit"))?;
            // A capacity may be a property's name (`${disk.size}`): then only the image knows it.
            let capacity = match attribute(disk, "capacity").map(str::trim) {
                Some(text) if !text.starts_with('$') => {
                    let number = text.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
                    number.ok_or_else(|| bad("capacity"))?
                }
                _ => 0,
            };
            self.disks.push(DiskRef {
                id: id.to_owned(),
                file: attribute(disk, "fileRef").filter(|file| !file.is_empty()).map(str::to_owned),
                capacity,
                format: attribute(disk, "format").unwrap_or_default().to_owned(),
                parent: attribute(disk, "parentRef").map(str::to_owned),
            });
        }
        Ok(())
    }

    fn read_system(&mut self, system: Node<'_, '_>) {
        if let Some(os) = elements(system, "OperatingSystemSection").next() {
            self.os_id = attribute(os, "id").and_then(|id| id.trim().parse().ok());
            self.os_description = elements(os, "Description")
                .next()
                .map(text)
                .filter(|text| !text.is_empty())
                .or_else(|| attribute(os, "osType").map(str::to_owned));
        }
        for hardware in elements(system, "VirtualHardwareSection") {
            for kind in ["Item", "StorageItem", "EthernetPortItem"] {
                for item in elements(hardware, kind) {
                    let fields = item
                        .children()
                        .filter(Node::is_element)
                        .map(|field| (field.tag_name().name().to_owned(), text(field)));
                    self.items.push(Item(fields.collect()));
                }
            }
            for config in descendants(hardware, "Config") {
                if attribute(config, "key").is_some_and(|key| key.eq_ignore_ascii_case("firmware")) {
                    self.firmware = attribute(config, "value").map(str::to_owned);
                }
            }
        }
        // VirtualBox describes its own machine beside the standard's.
        if let Some(firmware) = descendants(system, "Firmware").find_map(|node| attribute(node, "type")) {
            self.firmware.get_or_insert_with(|| firmware.to_owned());
        }
        // VMware's section lies in the machine or beside it.
        let root = system.document().root_element();
        self.boot_items = descendants(root, "BootOrderSection")
            .filter(|section| attribute(*section, "type") == Some("disk"))
            .filter_map(|section| attribute(section, "instanceId").map(str::to_owned))
            .collect();
    }
}
