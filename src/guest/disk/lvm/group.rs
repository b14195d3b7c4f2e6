//! A volume group, as its text describes it.

use super::text::{self, Section, TextError, Value};

/// Most logical volumes and pieces of a group, hidden ones included.
const MAX_LOGICAL: usize = 1024;
const MAX_SEGMENTS: usize = 1 << 14;

/// Why a text is no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// It cannot be parsed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Something that each group has is missing or senseless.
    #[error("{what} is missing or makes no sense")]
    Missing {
        /// What: `seqno`, `logical volume root` …
        what: String,
    },
    /// It has more parts than are looked at.
    #[error("it has more logical volumes than are looked at")]
    TooMany,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Which change of the group this is.
    pub sequence: u64,
    /// Sectors of 512 bytes in an extent.
    pub extent: u64,
    /// Its physical volumes.
    pub physical: Vec<Physical>,
    /// Its logical volumes.
    pub logical: Vec<Logical>,
    /// All of the text, which an edit starts from.
    pub text: String,
}

/// A physical volume of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Physical {
    /// What the group's text calls it: `pv0`.
    pub name: String,
    /// Its id, without dashes.
    pub id: String,
    /// Where its extents begin, in sectors.
    pub start: u64,
    /// How many extents it has.
    pub count: u64,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logical {
    /// Its name.
    pub name: String,
    /// Whether it is there for use, and not a part of another.
    pub visible: bool,
    /// Whether the guest's start leaves it out: a thin volume's snapshot (lvcreate(8), `-k`).
    pub skipped: bool,
    /// Its pieces, in their order.
    pub segments: Vec<Segment>,
}

impl Logical {
    /// How many extents it has.
    #[must_use]
    pub fn extents(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.max(segment.start.saturating_add(segment.count)))
    }
}

/// A piece of a logical volume, in extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its name in the text.
    pub name: String,
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub count: u64,
    /// What it is made of.
    pub kind: SegmentKind,
}

/// What a piece of a logical volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentKind {
    /// Extents of physical or logical volumes: one after the other, or striped when there is more
    /// than one area.
    Striped {
        /// Sectors of a stripe.
        stripe: u64,
        /// Name and first extent of each area.
        areas: Vec<(String, u64)>,
    },
    /// Copies that the kernel's RAID keeps: pairs of a volume for its notes and one for the data.
    Raid {
        /// `raid1`, `raid5_ls` …
        level: String,
        /// Sectors of a region.
        region: u64,
        /// Sectors of a stripe, 0 where there is none.
        stripe: u64,
        /// The volumes: notes, data, notes, data …
        parts: Vec<String>,
    },
    /// Copies as LVM made them before it used the kernel's RAID.
    Mirror {
        /// Sectors of a region.
        region: u64,
        /// The copies.
        copies: Vec<String>,
    },
    /// A pool of blocks that thin volumes share.
    ThinPool {
        /// The volume that says whose each block is.
        metadata: String,
        /// The volume that holds the blocks.
        data: String,
        /// Sectors of a block.
        chunk: u64,
        /// Whether blocks are zeroed when they are given out.
        zeroes: bool,
    },
    /// A volume in a pool.
    Thin {
        /// The pool.
        pool: String,
        /// Its number there.
        number: u64,
    },
    /// A snapshot: not a volume itself, but what ties two together.
    Snapshot {
        /// The volume it is of.
        origin: String,
        /// The volume that keeps what the origin overwrites, and is the snapshot's name.
        store: String,
        /// Sectors that are kept together.
        chunk: u64,
    },
    /// Something that is not made here.
    Other(String),
}

impl Group {
    /// Reads a group from its text.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn parse(text: String) -> Result<Self, GroupError> {
        let whole = text::parse(&text)?;
        let (name, group) = whole
            .entries
            .iter()
            .find_map(|entry| entry.section().map(|section| (entry.name.clone(), section)))
            .ok_or_else(|| missing("the volume group"))?;
        let number = |section: &Section, what: &str| section.number(what).ok_or_else(|| missing(what));
        let text_of = |section: &Section, what: &str| {
            section.text(what).map(str::to_owned).ok_or_else(|| missing(what))
        };
        let mut physical = Vec::new();
        for (name, section) in group.sections("physical_volumes") {
            physical.push(Physical {
                name: name.to_owned(),
                id: text_of(section, "id")?.replace('-', ""),
                start: number(section, "pe_start")?,
                count: number(section, "pe_count")?,
            });
        }
        let mut logical = Vec::new();
        let mut segments = 0;
        for (name, section) in group.sections("logical_volumes") {
            let found =
                read_logical(name, section).ok_or_else(|| missing(&format!("logical volume {name}")))?;
            segments += found.segments.len();
            logical.push(found);
            if logical.len() > MAX_LOGICAL || segments > MAX_SEGMENTS {
                return Err(GroupError::TooMany);
            }
        }
        let extent = number(group, "extent_size")?;
        if extent == 0 || name.is_empty() {
            return Err(missing("extent_size"));
        }
        let (id, sequence) = (text_of(group, "id")?, number(group, "seqno")?);
        Ok(Self { name, id, sequence, extent, physical, logical, text })
    }

    /// The logical volume of a name.
    #[must_use]
    pub fn logical(&self, name: &str) -> Option<&Logical> {
        self.logical.iter().find(|logical| logical.name == name)
    }

    /// The name of a logical volume as the device mapper has it: `vg-lv`, dashes doubled.
    #[must_use]
    pub fn mapped_name(&self, logical: &str) -> String {
        format!("{}-{}", self.name.replace('-', "--"), logical.replace('-', "--"))
    }
}

fn missing(what: &str) -> GroupError {
    GroupError::Missing { what: what.to_owned() }
}

fn read_logical(name: &str, section: &Section) -> Option<Logical> {
    let visible = section.list("status")?.contains(&Value::Text("VISIBLE".to_owned()));
    let flags = section.list("flags").unwrap_or_default();
    let skipped = flags.contains(&Value::Text("ACTIVATION_SKIP".to_owned()));
    let mut segments = Vec::new();
    for entry in &section.entries {
        let Some(segment) = entry.section().filter(|_| entry.name.starts_with("segment")) else { continue };
        segments.push(Segment {
            name: entry.name.clone(),
            start: segment.number("start_extent")?,
            count: segment.number("extent_count").filter(|count| *count > 0)?,
            kind: read_kind(segment)?,
        });
    }
    segments.sort_by_key(|segment| segment.start);
    Some(Logical { name: name.to_owned(), visible, skipped, segments })
}

fn read_kind(segment: &Section) -> Option<SegmentKind> {
    let kind = segment.text("type")?;
    let name = |what: &str| segment.text(what).map(str::to_owned);
    Some(match kind {
        "striped" => SegmentKind::Striped {
            stripe: segment.number("stripe_size").unwrap_or(0),
            areas: areas(segment.list("stripes")?)?,
        },
        "mirror" => SegmentKind::Mirror {
            region: segment.number("region_size")?,
            copies: areas(segment.list("mirrors")?)?.into_iter().map(|(name, _)| name).collect(),
        },
        "thin-pool" => SegmentKind::ThinPool {
            metadata: name("metadata")?,
            data: name("pool")?,
            chunk: segment.number("chunk_size")?,
            zeroes: segment.number("zero_new_blocks").unwrap_or(0) != 0,
        },
        "thin" => SegmentKind::Thin { pool: name("thin_pool")?, number: segment.number("device_id")? },
        "snapshot" => SegmentKind::Snapshot {
            origin: name("origin")?,
            store: name("cow_store")?,
            chunk: segment.number("chunk_size")?,
        },
        level if level.starts_with("raid") => SegmentKind::Raid {
            level: level.to_owned(),
            region: segment.number("region_size").unwrap_or(0),
            stripe: segment.number("stripe_size").unwrap_or(0),
            parts: segment
                .list("raids")
                .or_else(|| segment.list("raid0_lvs"))?
                .iter()
                .map(|part| match part {
                    Value::Text(name) => Some(name.clone()),
                    _ => None,
                })
                .collect::<Option<_>>()?,
        },
        other => SegmentKind::Other(other.to_owned()),
    })
}

/// `["pv0", 0, "pv1", 12]`.
fn areas(list: &[Value]) -> Option<Vec<(String, u64)>> {
    let pair = |pair: &[Value]| match pair {
        [Value::Text(name), Value::Number(extent)] => Some((name.clone(), u64::try_from(*extent).ok()?)),
        _ => None,
    };
    let found: Vec<_> = list.chunks(2).map(pair).collect::<Option<_>>()?;
    (!found.is_empty()).then_some(found)
}
