//! The newc cpio format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst):
//! a 110-byte header of hexadecimal fields, the name, the data, each padded to four bytes.

/// A header's length in bytes.
pub const HEADER: usize = 110;
/// The name that ends an archive.
pub const TRAILER: &str = "TRAILER!!!";
/// What the file-type bits of a mode are.
pub const TYPE_MASK: u32 = 0o170_000;
/// A regular file.
pub const TYPE_FILE: u32 = 0o100_000;
/// A directory.
pub const TYPE_DIRECTORY: u32 = 0o040_000;
/// A symbolic link.
pub const TYPE_SYMLINK: u32 = 0o120_000;

/// What of a header matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Type and permissions.
    pub mode: u32,
    /// Bytes of data.
    pub body_length: u32,
    /// Bytes of the name with its NUL.
    pub name_length: u32,
    /// Inode and device: members of more than one link with the same one are one file.
    pub identity: (u32, u32, u32),
    /// How many names the file has.
    pub links: u32,
    /// The sum of the data's bytes, in the variant that has checksums.
    pub checksum: Option<u32>,
}

impl Header {
    /// Parses a header; `None` when the magic or a field is wrong. `070702`, the variant with
    /// checksums, is what kernels from 5.19 on unpack too.
    #[must_use]
    pub fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let with_checksum = match &bytes[..6] {
            b"070701" => false,
            b"070702" => true,
            _ => return None,
        };
        let field = |index: usize| {
            let text = std::str::from_utf8(bytes.get(6 + index * 8..14 + index * 8)?).ok()?;
            u32::from_str_radix(text, 16).ok()
        };
        Some(Self {
            mode: field(1)?,
            body_length: field(6)?,
            name_length: field(11)?,
            identity: (field(7)?, field(8)?, field(0)?),
            links: field(4)?,
            checksum: if with_checksum { Some(field(12)?) } else { None },
        })
    }
}

/// Writes a newc archive, the same bytes for the same members: times 0, owner 0, inodes counted.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    inode: u32,
}

impl Writer {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory of mode 0755.
    pub fn directory(&mut self, path: &str) {
        self.member(path, TYPE_DIRECTORY | 0o755, 2, &[]);
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.member(path, TYPE_FILE | (permissions & 0o7777), 1, content);
    }

    /// Adds the trailer and gives the archive, its length divisible by four.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = u32::MAX;
        self.member(TRAILER, 0, 1, &[]);
        self.bytes
    }

    fn member(&mut self, path: &str, mode: u32, links: u32, content: &[u8]) {
        // High numbers cannot meet those of the archive's own hard links.
        self.inode = self.inode.wrapping_add(1);
        let inode = if path == TRAILER { 0 } else { self.inode | 0x4000_0000 };
        let body = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(b"070701");
        for field in [inode, mode, 0, 0, links, 0, body, 0, 0, 0, 0, name, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
