//! libhivex (LGPL-2.1), which writes hives: the few calls that edits need.
//!
//! It is looked up when it is needed, so that nothing of Replant links to it. It knows nothing of
//! logs, and writes values of up to 16,344 bytes; both is for the caller to see to.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use libloading::Library;

use super::edit::EditError;
use super::value::Value;

/// The library's name; its number is that of its calls' shapes.
pub const LIBRARY: &str = "libhivex.so.0";
const OPEN_WRITE: c_int = 4;

/// `hive_h`.
#[repr(C)]
struct Handle {
    _private: [u8; 0],
}

/// `hive_node_h`: where the key is in the file; 0 is none.
type Node = usize;

/// `hive_set_value`.
#[repr(C)]
struct SetValue {
    key: *const c_char,
    kind: c_int,
    length: usize,
    value: *const c_char,
}

type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut Handle;
type Close = unsafe extern "C" fn(*mut Handle) -> c_int;
type Root = unsafe extern "C" fn(*mut Handle) -> Node;
type Child = unsafe extern "C" fn(*mut Handle, Node, *const c_char) -> Node;
type Delete = unsafe extern "C" fn(*mut Handle, Node) -> c_int;
type SetValues = unsafe extern "C" fn(*mut Handle, Node, usize, *const SetValue, c_int) -> c_int;
type Commit = unsafe extern "C" fn(*mut Handle, *const c_char, c_int) -> c_int;

/// A hive that is being edited, in memory.
pub(super) struct Hivex {
    handle: NonNull<Handle>,
    close: Close,
    root: Root,
    add_child: Child,
    delete_child: Delete,
    set_values: SetValues,
    commit: Commit,
    /// Holds the code that the pointers above point to.
    _library: Library,
}

impl Hivex {
    /// Loads a hive.
    pub(super) fn open(path: &Path) -> Result<Self, EditError> {
        // SAFETY: the library's initialisers do nothing but what C libraries do on loading.
        let library = unsafe { Library::new(LIBRARY) }.map_err(|source| EditError::Library { source })?;
        macro_rules! symbol {
            ($name:literal as $kind:ty) => {
                // SAFETY: the shapes are those of hivex.h of this library version.
                *unsafe { library.get::<$kind>($name) }.map_err(|source| EditError::Library { source })?
            };
        }
        let open = symbol!(b"hivex_open\0" as Open);
        let close = symbol!(b"hivex_close\0" as Close);
        let root = symbol!(b"hivex_root\0" as Root);
        let add_child = symbol!(b"hivex_node_add_child\0" as Child);
        let delete_child = symbol!(b"hivex_node_delete_child\0" as Delete);
        let set_values = symbol!(b"hivex_node_set_values\0" as SetValues);
        let commit = symbol!(b"hivex_commit\0" as Commit);
        let name = text(path.as_os_str().as_bytes())?;
        // SAFETY: the name is a C string that outlives the call.
        let handle = unsafe { open(name.as_ptr(), OPEN_WRITE) };
        let handle = NonNull::new(handle).ok_or_else(|| failed("hivex_open"))?;
        Ok(Self { handle, close, root, add_child, delete_child, set_values, commit, _library: library })
    }

    pub(super) fn root(&self) -> Result<Node, EditError> {
        // SAFETY: the handle is open as long as `self` lives; so in all calls below.
        match unsafe { (self.root)(self.handle.as_ptr()) } {
            0 => Err(failed("hivex_root")),
            node => Ok(node),
        }
    }

    /// Makes a child, which has its parent's security.
    pub(super) fn add_child(&self, parent: Node, name: &str) -> Result<Node, EditError> {
        let name = text(name.as_bytes())?;
        // SAFETY: as above.
        match unsafe { (self.add_child)(self.handle.as_ptr(), parent, name.as_ptr()) } {
            0 => Err(failed("hivex_node_add_child")),
            node => Ok(node),
        }
    }

    /// Takes a key away with all below it.
    pub(super) fn delete(&self, node: Node) -> Result<(), EditError> {
        // SAFETY: as above.
        done("hivex_node_delete_child", unsafe { (self.delete_child)(self.handle.as_ptr(), node) })
    }

    /// Gives a key these values and no other.
    pub(super) fn set_values(&self, node: Node, values: &[Value]) -> Result<(), EditError> {
        let names =
            values.iter().map(|value| text(value.name.as_bytes())).collect::<Result<Vec<CString>, _>>()?;
        let list: Vec<SetValue> = (values.iter().zip(&names))
            .map(|(value, name)| SetValue {
                key: name.as_ptr(),
                kind: value.kind as c_int,
                length: value.bytes.len(),
                value: value.bytes.as_ptr().cast(),
            })
            .collect();
        // SAFETY: as above; `list` points into `names` and `values`, which outlive the call, and the
        // library only reads them.
        let answer = unsafe { (self.set_values)(self.handle.as_ptr(), node, list.len(), list.as_ptr(), 0) };
        done("hivex_node_set_values", answer)
    }

    /// Writes the hive to a file.
    pub(super) fn commit(&self, path: &Path) -> Result<(), EditError> {
        let name = text(path.as_os_str().as_bytes())?;
        // SAFETY: as above.
        done("hivex_commit", unsafe { (self.commit)(self.handle.as_ptr(), name.as_ptr(), 0) })
    }
}

impl Drop for Hivex {
    fn drop(&mut self) {
        // SAFETY: it is closed once, here; nothing of it is used afterwards.
        unsafe { (self.close)(self.handle.as_ptr()) };
    }
}

fn text(bytes: &[u8]) -> Result<CString, EditError> {
    CString::new(bytes).map_err(|_| EditError::Name { name: String::from_utf8_lossy(bytes).into_owned() })
}

fn failed(call: &'static str) -> EditError {
    EditError::Call { call, source: io::Error::last_os_error() }
}

fn done(call: &'static str, answer: c_int) -> Result<(), EditError> {
    if answer == -1 { Err(failed(call)) } else { Ok(()) }
}
