//! Texts as inputs: one, or several files divided by a byte that no text holds.

/// Stands between two files of an input.
pub const DIVIDER: u8 = 0x1e;

/// The files of an input: the first byte of each says which of `names` it is.
pub fn files<'i>(
    names: &'static [&'static str],
    input: &'i [u8],
) -> impl Iterator<Item = (&'static str, &'i [u8])> {
    input.split(|byte| *byte == DIVIDER).filter_map(move |part| {
        let (which, content) = part.split_first()?;
        Some((names[usize::from(*which) % names.len()], content))
    })
}
